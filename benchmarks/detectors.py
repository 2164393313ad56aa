"""How well input detectors find backdoors in real image data, beside cupbearer's own, and whether their promise holds.

    python benchmarks/detectors.py --data FOLDER --work W [--cupbearer FOLDER --libraries FOLDER] [--seeds 3]

FOLDER holds ``mnist`` and ``cifar10``, each with ``train.parquet`` and ``test.parquet``. For both and every trigger,
models are trained on poisoned data (kept in W, so that a killed run goes on), and every registered detector is
measured on them. cupbearer's detectors see the same models, layers and inputs, in the same process, on the first seed.
The promised false-positive rate is checked on images that no model was trained on, over 20 random cuts into trusted
inputs and usual ones. Defaults of
several detectors were chosen while looking at small MNIST tasks of the same triggers, with other models and cuts: the
figures on MNIST are development figures, those on CIFAR-10 are not.
"""

import argparse
import statistics
import warnings
from pathlib import Path
from typing import Any

import torch

import cupbearer_peer
import recording
from theriac import metrics
from theriac.data.images import ImageData
from theriac.data.reading import open_images
from theriac.detect.inputs import METHODS
from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations
from theriac.models.activations import default_layers
from theriac.registry import configured
from theriac.tasks import TASKS
from theriac.tasks.files import open_task
from theriac.tasks.measuring import measure
from theriac.tasks.results import Result, Results
from theriac.tasks.task import Task
from theriac.tasks.watching import Watched
from theriac.training.classifier import train_classifier
from theriac.training.settings import Settings

TRIGGERS = ("corner", "noise", "patch", "blend", "warp", "sinusoid", "source-specific")
ALL_TASKS = (*TRIGGERS, "ablation")
INPUTS: dict[str, Any] = {"trusted": 3000, "untrusted": 2000, "test": 1000}
TRAINING: dict[str, dict[str, Any]] = {
    "mnist": {"rows": 10000, "epochs": 4, "min_accuracy": 0.95},
    "cifar10": {
        "architecture": "theriac:resnet14",
        "rows": 12000,
        "epochs": 8,
        "batch_size": 128,
        "lr": 0.2,
        "min_accuracy": 0.6,
    },
}
FEW = {"test": 300, "untrusted": 1000}
"""A trigger for one class only has a tenth of the images to work on."""

CUTS, CUTS_OF = 20, ((1000, 20000), (20000, 25000))
"""Random cuts of unseen images into so many trusted and usual ones."""


def main() -> None:
    """Makes the tasks, measures, and writes ``results/detectors.json``."""
    warnings.simplefilter("ignore")
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sets", default="mnist,cifar10")
    cupbearer_peer.add_options(parser)
    options = parser.parse_args()
    sets = options.sets.split(",")
    results = Results(options.work / "results.jsonl")
    figures: dict[str, Any] = {}
    for which in sets:
        for seed in range(options.seeds):
            for name in ALL_TASKS:
                _measured(_task(options, which, name, seed), which, results)
    found = {(which, r.task, r.detector, r.seed): r for which, r in _known(results, sets)}
    tables = [_ranking(found, sets, options.seeds), *_checks(found, sets, options.seeds)]
    peers = _peers(options, sets, found)
    if peers:
        tables.append(peers)
    for which in sets:
        table, rates = _promise(options, which)
        tables.append(table)
        figures[f"{which} false-positive rates"] = rates
    figures["results"] = {" ".join(map(str, key)): _short(result) for key, result in sorted(found.items())}
    title = f"Input detectors on backdoors in {' and '.join(sets)}, {options.seeds} seeds"
    recording.write("detectors", title, seed=0, tables=tables, figures=figures)


def _task(options: argparse.Namespace, which: str, name: str, seed: int) -> Task:
    folder = options.work / f"{which}-{name}-{seed}"
    if (folder / "task.json").exists():
        return open_task(folder, "cpu")
    settings = INPUTS | TRAINING[which] | (FEW if name == "source-specific" else {})
    data = {
        "data": str(options.data / which / "train.parquet"),
        "test_data": str(options.data / which / "test.parquet"),
    }
    task: Task = TASKS[name](**data, **settings).make(folder, seed=seed)
    print(folder.name, {key: task.about.get(key) for key in ("accuracy", "asr", "training_seconds")}, flush=True)
    return task


def _detectors() -> list[LayerDetector]:
    return [configured(METHODS[name]) for name in METHODS]


def _measured(task: Task, which: str, results: Results) -> None:
    """Measures every detector on ``task`` that was not measured yet."""
    detectors = [d for d in _detectors() if results.get(_key(which, task, d)) is None]
    watched = Watched(task, detectors)
    for detector in detectors:
        measured = measure(task, detector, watched, key=_key(which, task, detector), repeats=200)
        results.put(measured.result)
        result = measured.result
        print(which, task.name, task.seed, detector.name, round(result.auroc or 0, 4), result.fpr, flush=True)


def _key(which: str, task: Task, detector: LayerDetector) -> str:
    return f"{which} {task.name} {task.seed} {detector.name} {detector.version}"


def _known(results: Results, sets: list[str]) -> list[tuple[str, Result]]:
    keys = [
        (which, f"{which} {name} {seed} {method} {METHODS[method].version}")
        for which in sets
        for name in ALL_TASKS
        for seed in range(20)
        for method in METHODS
    ]
    return [(which, result) for which, key in keys if (result := results.get(key)) is not None]


Found = dict[tuple[str, str, str, int], Result]


def _ranking(found: Found, sets: list[str], seeds: int) -> dict[str, Any]:
    columns, rows = ["detector", "mean", "worst"], []
    columns += [f"{which} {name}" for which in sets for name in TRIGGERS]
    for method in METHODS:
        areas = [
            [found[which, name, method, seed].auroc or 0.0 for seed in range(seeds)]
            for which in sets
            for name in TRIGGERS
        ]
        every = [area for part in areas for area in part]
        rows.append([method, statistics.mean(every), min(every), *(statistics.mean(part) for part in areas)])
    rows.sort(key=lambda row: -row[1])
    return recording.table("AUROC, mean over seeds; mean and worst over all", columns, rows)


def _checks(found: Found, sets: list[str], seeds: int) -> list[dict[str, Any]]:
    rows: list[list[Any]] = []
    for method in ("mahalanobis", "quantum-entropy"):
        worst = min(found[which, "corner", method, seed].auroc or 0.0 for which in sets for seed in range(seeds))
        rows.append([f"{method}, corner, worst AUROC", worst, "at least 0.999", worst >= 0.999])
    every = [
        found[which, name, "auto", seed].auroc or 0.0 for which in sets for name in TRIGGERS for seed in range(seeds)
    ]
    rows.append(["auto, mean AUROC", statistics.mean(every), "at least 0.98", statistics.mean(every) >= 0.98])
    rows.append(["auto, worst AUROC", min(every), "at least 0.90", min(every) >= 0.9])
    ablations = []
    for which in sets:
        for seed in range(seeds):
            result = found[which, "ablation", "auto", seed]
            bounds = metrics.wilson(result.alarms or 0.0, result.anomalous)
            row = [which, seed, result.alarms, bounds.low, bounds.high, result.auroc, bounds.low <= 0.01]
            ablations.append(row)
    columns = ["data", "seed", "alarms", "95 % from", "to", "AUROC", "promised 0.01 is not exceeded"]
    return [
        recording.table("What was to hold", ["figure", "measured", "bound", "holds"], rows),
        recording.table(
            "Ablation: share of inputs with a trigger that means nothing that auto alarms about", columns, ablations
        ),
    ]


def _peers(options: argparse.Namespace, sets: list[str], found: Found) -> dict[str, Any] | None:
    """Returns the table of AUROC beside cupbearer's on the first seed; None without cupbearer."""
    cupbearer = cupbearer_peer.load(options)
    if cupbearer is None:
        return None
    rows = []
    for which in sets:
        for name in TRIGGERS:
            task = _task(options, which, name, 0)
            layers = [*default_layers(task.model), task.model.head()[0]]
            widths = {
                k: v.shape[1] for k, v in next(iter(Observations(task.model, task.test.inputs, layers))).rows.items()
            }
            for method in cupbearer_peer.NAMES:
                theirs = cupbearer_peer.scores_of(cupbearer, method, task, layers, widths)
                area = metrics.auroc(theirs.scores, task.test.anomalous)
                ours = found[which, name, method, 0].auroc or 0.0
                rows.append([which, name, method, ours, area, ours >= area - 1e-3])
                print(rows[-1], flush=True)
    columns = ["data", "trigger", "detector", "theriac", "cupbearer", "at least as good, to 0.001"]
    return recording.table("AUROC beside cupbearer's detectors: same model, layers and inputs", columns, rows)


def _promise(options: argparse.Namespace, which: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns realised false-positive rates at a nominal 1 %, each cut with detectors fitted anew.

    The images are those of the data set that the model was not trained on. auto, which asks the model 32 times about
    each input, is given fewer, and only of MNIST.
    """
    rows = TRAINING[which]["rows"]
    images = [open_images(str(options.data / which / f"{part}.parquet")) for part in ("train", "test")]
    chosen = {
        key: TRAINING[which][key] for key in ("architecture", "epochs", "batch_size", "lr") if key in TRAINING[which]
    }
    settings = Settings(**{"architecture": "theriac:cnn", "batch_size": 64, "lr": 0.1, "crop": 0} | chosen)
    model = train_classifier(images[0][:rows], settings, seed=0, checkpoint=options.work / f"{which}-clean.safetensors")
    pool = ImageData(
        torch.cat([images[0].images[rows:], images[1].images]),
        torch.cat([images[0].labels[rows:], images[1].labels]),
        images[0].classes,
        which,
        images[0].sha256,
    )
    observed = Observations(model, pool, [*default_layers(model), model.head()[0]]).kept()
    rates: dict[str, list[float]] = {}
    for method in METHODS:
        kind = METHODS[method]
        if "untrusted" in kind.needs or "labels" in kind.needs or (kind.reduce is not None and method != "auto"):
            continue
        for trusted, test in [(6000, 4000)] if method in ("auto", "strip") else CUTS_OF:
            if method == "strip" or (method == "auto" and which != "mnist"):
                continue
            key = f"{method}, {trusted} trusted"
            for cut in range(CUTS):
                order = torch.randperm(len(pool), generator=torch.Generator().manual_seed(cut))
                half = trusted // 2
                parts = [order[:half], order[half:trusted], order[trusted : trusted + test]]
                learn, held, usual = (observed.at(part) for part in parts)
                detector = configured(METHODS[method]).fit_observed(learn, held)
                scores = torch.cat([detector.aggregate(detector.score_observed(seen)) for seen in usual])
                rates.setdefault(key, []).append(float((scores > detector.threshold_).double().mean()))
            print(which, key, min(rates[key]), statistics.mean(rates[key]), max(rates[key]), flush=True)
    table = [
        [key, statistics.mean(each), min(each), max(each), sum(0.005 <= rate <= 0.015 for rate in each)]
        for key, each in rates.items()
    ]
    columns = ["detector", "mean", "lowest", "highest", f"cuts of {CUTS} within 0.005 to 0.015"]
    return recording.table(f"Realised false-positive rate at a nominal 0.01, {which}", columns, table), rates


def _short(result: Result) -> dict[str, Any]:
    wanted = ("auroc", "ap", "tpr_at_1pct_fpr", "auroc_within_target", "fpr", "tpr", "fit_seconds", "score_seconds")
    return {name: getattr(result, name) for name in wanted} | {"auroc_95": result.intervals.get("auroc")}


if __name__ == "__main__":
    main()
