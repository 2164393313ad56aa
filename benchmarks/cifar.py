"""From the command line only: poison CIFAR-10, train on it, audit, and compare with what the evaluator knows.

Three systems: a 3x3 patch on 2 % of the training rows, a blended picture on 5 %, and a clean twin. The audit sees the
defender's view: the model, its training data, 1000 clean test images, and 2000 recorded inputs, half of them triggered.
Everything is measured on the 9000 other test images. Nothing is tuned per attack.

Every step is skipped if its output exists already; remove the ``*-audit`` folders and files of the work folder to
audit again. ``--data`` is a folder with ``train.parquet`` and ``test.parquet``.
"""

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import recording
from theriac import metrics
from theriac.data.images import ImageData
from theriac.data.poisoning import PoisonManifest, find_manifest
from theriac.data.reading import open_images
from theriac.finding import Record
from theriac.models.classifier import Classifier
from theriac.models.opening import open_model
from theriac.run.device import pick_device
from theriac.training.record import Attack, Measure, TrainingRecord, measure_attack, predict

TARGET, CLEAN_EXAMPLES, INPUTS = 0, 1000, 2000


@dataclass(frozen=True)
class Case:
    """One system.

    Attributes:
        name: Prefix of its files in the work folder.
        trigger: Options of ``theriac poison images``; none for the clean twin.
        rate: Share of poisoned training rows.
        seed: Seed of the poison.
    """

    name: str
    trigger: tuple[str, ...] = ()
    rate: float = 0.0
    seed: int = 0


CASES = (
    Case("patch", ("--trigger", "patch", "--set", "size=3"), 0.02, 1),
    Case("blend", ("--trigger", "blend"), 0.05, 2),
    Case("clean"),
)


class Area(Record):
    """An AUROC with its 95 % interval."""

    value: float
    low: float
    high: float


class Audited(Record):
    """What the audit of one system said, and what the evaluator makes of it."""

    verdict: str
    probability: float
    target: int | None
    data_verdict: str
    input_verdict: str
    data_auroc: Area | None
    input_auroc: Area | None
    estimated_rows: int
    accuracy: Measure | None
    attack: Attack | None
    seconds: float


def theriac(*arguments: str | Path, statuses: tuple[int, ...] = (0,)) -> str:
    """Runs the command and returns what it printed."""
    print("theriac", *arguments, file=sys.stderr, flush=True)
    command = [Path(sys.executable).with_name("theriac"), *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in statuses:
        sys.exit(f"theriac {arguments[0]} ended with {done.returncode}")
    return done.stdout


def split_test(data: Path, work: Path) -> None:
    """Splits the test images into clean examples, recorded inputs and what is only measured on."""
    test = pq.read_table(data / "test.parquet")
    parts = {
        "examples": test.slice(0, CLEAN_EXAMPLES),
        "stream": test.slice(CLEAN_EXAMPLES, INPUTS),
        "held-out": test.slice(CLEAN_EXAMPLES),
    }
    for name, part in parts.items():
        if not (work / f"{name}.parquet").exists():
            pq.write_table(part, work / f"{name}.parquet")


def make(case: Case, data: Path, work: Path, epochs: int, seed: int) -> TrainingRecord:
    """Poisons the training data and the recorded inputs, and trains."""
    test, out = data / "test.parquet", work / f"{case.name}.safetensors"
    if case.trigger:
        for source, name, rate in (
            (data / "train.parquet", "data", case.rate),
            (work / "stream.parquet", "inputs", 0.5),
        ):
            destination = work / f"{case.name}-{name}"
            if not destination.exists():
                how = (*case.trigger, "--target", str(TARGET), "--rate", str(rate), "--seed", str(case.seed))
                theriac("poison", "images", source, destination, *how)
    record = work / f"{case.name}.json"
    if not record.exists():
        how = ("--epochs", str(epochs), "--seed", str(seed))
        theriac("train", "classifier", training_data(case, data, work), "--test", test, "--out", out, *how)
    return TrainingRecord.model_validate_json(record.read_bytes())


def training_data(case: Case, data: Path, work: Path) -> Path:
    """Returns what the model of ``case`` is trained on."""
    return work / f"{case.name}-data" if case.trigger else data / "train.parquet"


def audit(case: Case, data: Path, work: Path, seed: int) -> dict[str, Any]:
    """Audits the system and returns what the command printed, and how long it took."""
    result = work / f"{case.name}-audit.json"
    if not result.exists():
        inputs = work / (f"{case.name}-inputs" if case.trigger else "stream.parquet")
        parts = {
            "model": work / f"{case.name}.safetensors",
            "clean_examples": work / "examples.parquet",
            "training_data": training_data(case, data, work),
            "inputs": inputs,
        }
        described = [f"name = {json.dumps(f'CIFAR-10, {case.name}')}"]
        described += [f"[{part}]\npath = {json.dumps(str(path.resolve()))}" for part, path in parts.items()]
        system = work / f"{case.name}.toml"
        system.write_text("\n\n".join(described) + "\n")
        start = time.monotonic()
        how = ("--out", work / f"{case.name}-audit", "--keys", work / "keys", "--seed", str(seed), "--json")
        printed = json.loads(theriac("audit", system, *how, statuses=(0, 1, 3)))
        result.write_text(json.dumps(printed | {"seconds": time.monotonic() - start}))
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def judge(case: Case, printed: dict[str, Any], held_out: ImageData, work: Path, seconds: float) -> Audited:
    """Compares what an audit printed with the truth."""
    findings = {finding["subject"]["kind"]: finding for finding in printed["findings"]}
    suspected = evidence(findings["model"], "suspected_classes")
    folder, accuracy, attack = work / f"{case.name}-audit", None, None
    poison = find_manifest(work / f"{case.name}-data") if case.trigger else None
    stream = find_manifest(work / f"{case.name}-inputs") if case.trigger else None
    if printed["repaired"] is not None and poison is not None:
        repaired = open_model(printed["repaired"]).to(pick_device())
        accuracy, attack = measured(repaired, held_out), measure_attack(repaired, held_out, poison)
    return Audited(
        verdict=findings["model"]["verdict"],
        probability=findings["model"]["probability"],
        target=suspected["target"] if suspected else None,
        data_verdict=findings["data"]["verdict"],
        input_verdict=findings["input"]["verdict"],
        data_auroc=ranking(findings["data"], folder, poison),
        input_auroc=ranking(findings["input"], folder, stream),
        estimated_rows=(evidence(findings["data"], "examples") or {}).get("estimated_poisoned", 0),
        accuracy=accuracy,
        attack=attack,
        seconds=seconds,
    )


def evidence(finding: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """Returns the first piece of evidence of one kind."""
    return next((piece for piece in finding["evidence"] if piece["kind"] == kind), None)


def ranking(finding: dict[str, Any], folder: Path, truth: PoisonManifest | None) -> Area | None:
    """Returns the AUROC of a finding's scores for the rows that are truly poisoned, with its interval."""
    examples = evidence(finding, "examples")
    if truth is None or examples is None:
        return None
    scores = pq.read_table(folder / examples["scores_file"]).sort_by("row")["score"].to_numpy()
    poisoned = {row.row for row in truth.rows}
    positives = [row in poisoned for row in range(len(scores))]
    area = metrics.auroc(scores, positives)
    interval = metrics.auroc_interval(area, len(poisoned), len(scores) - len(poisoned))
    return Area(value=area, low=interval.low, high=interval.high)


def measured(model: Classifier, test: ImageData) -> Measure:
    """Returns the clean accuracy of ``model``."""
    return Measure.of(metrics.accuracy(predict(model, test), test.labels), len(test))


def claims(case: Case, trained: TrainingRecord, before: Measure, audited: Audited) -> list[list[Any]]:
    """Returns [system, claim, measured, 95 % interval, bound, holds] of everything that must hold."""
    found: list[tuple[str, float | str | None, str | None, str, bool]] = []

    def at_least(what: str, measure: Measure | Area | None, bound: float) -> None:
        holds = measure is not None and measure.value >= bound
        found.append((what, measure.value if measure else None, interval(measure), f"at least {bound}", holds))

    def at_most(what: str, measure: Measure | None, bound: float) -> None:
        holds = measure is not None and measure.value <= bound
        found.append((what, measure.value if measure else None, interval(measure), f"at most {bound}", holds))

    at_least("clean accuracy", trained.accuracy, 0.80)
    if not case.trigger:
        verdicts = {"model": audited.verdict, "data": audited.data_verdict, "inputs": audited.input_verdict}
        for subject, verdict in verdicts.items():
            found.append((f"verdict on the {subject}", verdict, None, "not poisoned", verdict != "poisoned"))
        return [[case.name, *line] for line in found]
    at_least("ASR", trained.attack.asr if trained.attack else None, 0.95)
    found.append(("verdict on the model", audited.verdict, None, "poisoned", audited.verdict == "poisoned"))
    found.append(("suspected target", audited.target, None, f"class {TARGET}", audited.target == TARGET))
    at_least("AUROC of the data ranking", audited.data_auroc, 0.99)
    at_least("AUROC of the input detector", audited.input_auroc, 0.95)
    at_most("ASR after the repair", audited.attack.asr if audited.attack else None, 0.05)
    drop = None if audited.accuracy is None else round(before.value - audited.accuracy.value, 6)
    found.append(("accuracy lost by the repair", drop, None, "at most 0.02", drop is not None and drop <= 0.02))
    return [[case.name, *line] for line in found]


def interval(measure: Measure | Area | None) -> str | None:
    """Returns the interval in words."""
    return None if measure is None else f"{measure.low:.3f} to {measure.high:.3f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with train.parquet and test.parquet")
    parser.add_argument("--work", type=Path, default=Path("bench-cifar"), help="where models and audits are kept")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    split_test(options.data, options.work)
    held_out = open_images(options.work / "held-out.parquet")
    figures, lines = {}, []
    for case in CASES:
        trained = make(case, options.data, options.work, options.epochs, options.seed)
        before = measured(open_model(str(options.work / f"{case.name}.safetensors")).to(pick_device()), held_out)
        printed = audit(case, options.data, options.work, options.seed)
        audited = judge(case, printed, held_out, options.work, printed["seconds"])
        lines += claims(case, trained, before, audited)
        figures[case.name] = {
            "trained": trained.model_dump(mode="json", exclude={"classes"}),
            "accuracy_before_repair": before.model_dump(),
            "audit": audited.model_dump(mode="json"),
        }
    shown = recording.table(
        "What must hold", ["system", "figure", "measured", "95 % interval", "bound", "holds"], lines
    )
    title = "CIFAR-10 end to end: poison, train, audit, repair"
    print(recording.write("cifar", title, seed=options.seed, tables=[shown], figures=figures))


if __name__ == "__main__":
    main()
