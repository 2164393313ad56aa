"""Backdoors: a model is trained on poisoned images, and inputs that carry the trigger are the anomalous ones.

Gu et al., "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017; as a benchmark of
mechanistic anomaly detection: Jenner et al., cupbearer, 2023.

We deviate from cupbearer where its ground truth would be wrong: which rows are poisoned is drawn once and not at every
access; a triggered input counts as anomalous only if the model answers the target with the trigger and something else
without it; a model on which the attack does not work is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from pydantic import JsonValue
from torch import Tensor

from theriac.data.images import ImageData
from theriac.data.poisoning import Poisoned, PoisonedRow, PoisonManifest, check_rates, poison, triggered
from theriac.data.writing import Encoder, write_parquet
from theriac.errors import UserError
from theriac.models.classifier import Classifier
from theriac.run.budget import Budget
from theriac.run.progress import Progress, span
from theriac.tasks.files import Made
from theriac.tasks.images import SIGNS, ImageTask, digest, mixed, write_unlabelled
from theriac.training.record import TrainingRecord, predict
from theriac.triggers import make
from theriac.triggers.base import Trigger

ATTEMPTS = 2
"""Trainings, each with another seed and more epochs than the one before, until the attack works."""


@dataclass(frozen=True)
class Backdoor(ImageTask):
    """A poisoned model; inputs with its trigger are anomalous.

    Args:
        trigger: Name of the trigger, see ``theriac methods``.
        parameters: Its parameters, for instance {"size": 4}.
        target: Class that the trigger leads to.
        sources: Classes that the trigger is for; empty: every other one.
        rate: Share of the training rows that is poison.
        cover: Share of the training rows with the trigger and their own label.
        max_elsewhere: Where ``sources`` are given, the largest share of triggered inputs of other classes that the
            model may give to the target.
    """

    trigger: str = "patch"
    parameters: Mapping[str, float | str] = field(default_factory=dict)
    target: int = 0
    sources: tuple[int, ...] = ()
    rate: float = 0.1
    cover: float = 0.0
    max_elsewhere: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        self.make_trigger()
        check_rates(self.rate, self.cover, sources=self.sources)

    def make_trigger(self) -> Trigger:
        """Returns the trigger."""
        return make(self.trigger, self.parameters)

    def _make(self, folder: Path, seed: int, device: torch.device, budget: Budget, progress: Progress) -> Made:
        progress(0.0, "images")
        seeds = torch.randint(2**31, (5,), generator=torch.Generator().manual_seed(seed)).tolist()
        if self.data == SIGNS:
            attacked = (len(self.sources) or self.classes - 1) / self.classes
        else:  # a guess: nothing is read yet
            attacked = min(0.5, 0.1 * len(self.sources)) or 0.5
        train, rest = self.images(seeds[0], 1.2 / attacked)
        poisoned = poison(
            train,
            self.make_trigger(),
            target=self.target,
            rate=self.rate,
            cover=self.cover,
            seed=seeds[1],
            sources=self.sources,
        )
        model, name, about = self._attack(folder, poisoned, rest, seeds[2], device, budget, span(progress, 0.1, 0.9))
        progress(0.9, "inputs")
        about["data"] = {"train": train.sha256, "rest": rest.sha256}
        made = self._inputs(folder, model, rest, seeds[3:], name, about)
        for file in folder.glob("model*"):  # of earlier attempts
            if not file.name.startswith(name.removesuffix("safetensors")):
                file.unlink()
        return made

    def _attack(
        self,
        folder: Path,
        poisoned: Poisoned,
        rest: ImageData,
        seed: int,
        device: torch.device,
        budget: Budget,
        progress: Progress,
    ) -> tuple[Classifier, str, dict[str, JsonValue]]:
        """Returns a model on which the attack works, its file, and what was measured."""
        data = replace(poisoned.data, sha256=digest(poisoned.data))
        failures: list[str] = []
        for attempt in range(ATTEMPTS):
            out = folder / ("model.safetensors" if attempt == 0 else f"model-{attempt + 1}.safetensors")
            model, record = self.train(
                out,
                data,
                rest,
                manifest(poisoned, data.sha256) if self.rate else None,
                seed=seed + attempt,
                epochs=self.epochs + attempt * (self.epochs + 1) // 2,
                device=device,
                budget=budget,
                progress=span(progress, attempt / ATTEMPTS, (attempt + 1) / ATTEMPTS),
            )
            measured, reasons = self._judged(model, record, rest, seed)
            if not reasons:
                counts = {"trained_on": len(data), "poisoned": len(poisoned.rows), "covers": len(poisoned.covers)}
                tried: dict[str, JsonValue] = {"trigger": poisoned.recipe.trigger, "failed_attempts": list(failures)}
                return model, out.name, {**tried, **counts, **measured}
            failures.append("; ".join(reasons))
        do = "raise rate or epochs, or choose a stronger trigger"
        raise UserError(f"the attack does not work: {' | then: '.join(failures)}", where=self.name, do=do)

    def _judged(
        self, model: Classifier, record: TrainingRecord, rest: ImageData, seed: int
    ) -> tuple[dict[str, JsonValue], list[str]]:
        """Returns what was measured, and why the model is no ground truth."""
        reasons = list(record.reasons)
        measured: dict[str, JsonValue] = {"training_seconds": record.seconds}
        if record.accuracy is not None:
            measured["accuracy"] = record.accuracy.value
        if record.attack is not None:
            for name in ("asr", "base_rate", "robust_accuracy"):
                if (measure := getattr(record.attack, name)) is not None:
                    measured[name] = measure.value
        others = [k for k in range(len(rest.classes)) if k not in (*self.sources, self.target)]
        if self.sources and others:
            spared = triggered(rest, self.make_trigger(), target=self.target, sources=others, seed=seed)
            elsewhere = float((predict(model, spared) == self.target).float().mean())
            measured["elsewhere"] = elsewhere
            if elsewhere > self.max_elsewhere:
                what = f"{elsewhere:.3f} of triggered inputs of other classes go to the target"
                reasons.append(f"{what}, {self.max_elsewhere} may")
        return measured, reasons

    def _inputs(
        self,
        folder: Path,
        model: Classifier,
        rest: ImageData,
        seeds: list[int],
        name: str,
        about: dict[str, JsonValue],
    ) -> Made:
        """Writes the inputs: usual ones first, whatever their class; the rest are tried out with the trigger."""
        others = rest[self.usual :]
        from_source = torch.isin(others.labels, torch.tensor(self.sources))
        plain = others[from_source if self.sources else others.labels != self.target]
        tried = triggered(plain, self.make_trigger(), target=self.target, seed=seeds[0], sources=self.sources)
        works = (predict(model, tried) == self.target) & (predict(model, plain) != self.target)
        found = works.nonzero().flatten()[: self.anomalies]
        if len(found) < self.anomalies:
            what = f"{len(found)} of {len(tried)} triggered inputs change the answer, {self.anomalies} are needed"
            raise UserError(what, where=self.name, do="ask for fewer test or untrusted inputs, or give more data")
        used = int(found[-1]) + 1
        notes: dict[str, JsonValue] = {"triggered": used, "dropped": used - len(found)}
        return write_inputs(self, folder, rest[: self.usual], tried[found], seeds[1], name, about | notes, self.target)


def write_inputs(
    task: ImageTask,
    folder: Path,
    usual: ImageData,
    anomalous: ImageData,
    seed: int,
    model: str,
    about: Mapping[str, JsonValue],
    target: int | None = None,
) -> Made:
    """Writes trusted, untrusted and test inputs, no image twice, and returns what was made."""
    write_parquet(usual[: task.trusted], folder / "trusted.parquet")
    clean = task.untrusted - round(task.share * task.untrusted)
    parts = {
        "untrusted": (usual[task.trusted : task.trusted + clean], anomalous[task.test :]),
        "test": (usual[task.trusted + clean :], anomalous[: task.test]),
    }
    truth: dict[str, Tensor] = {}
    for k, (name, (plain, odd)) in enumerate(parts.items()):
        together, which = mixed(plain, odd, seed + k)
        write_unlabelled(together, folder / f"{name}.parquet")
        truth |= {f"{name}.anomalous": which, f"{name}.labels": together.labels}
    counts = {"trusted": task.trusted, "untrusted": task.untrusted, "test": 2 * task.test}
    return Made(
        model=model,
        trusted="trusted.parquet",
        untrusted="untrusted.parquet",
        test="test.parquet",
        truth=truth,
        about={**about, "inputs": dict(counts)},
        target=target,
    )


def manifest(poisoned: Poisoned, data_sha256: str) -> PoisonManifest:
    """Returns the manifest of poisoned data that no file holds."""
    pairs = zip(poisoned.rows.tolist(), poisoned.original_labels.tolist(), strict=True)
    return PoisonManifest(
        **poisoned.recipe.model_dump(),
        source=poisoned.data.name,
        source_sha256=poisoned.data.sha256,
        data_sha256=data_sha256,
        encoder=Encoder(),
        total=len(poisoned.data),
        rows=[PoisonedRow(row=row, original_label=label) for row, label in pairs],
        covers=poisoned.covers.tolist(),
    )
