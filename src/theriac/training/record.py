"""What was trained, on what, and what became of its poison: measured, never assumed."""

from typing import Literal

import torch
from pydantic import Field, JsonValue
from torch import Tensor

from theriac import metrics
from theriac.data.images import ImageData
from theriac.data.poisoning import PoisonManifest, triggered
from theriac.finding import Record
from theriac.models.classifier import Classifier

GroundTruth = Literal["poisoned", "clean", "unproven"]


class Measure(Record):
    """A rate in [0, 1] with its 95 % Wilson interval over ``n`` test images."""

    value: float = Field(ge=0, le=1)
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    n: int = Field(ge=1)

    @classmethod
    def of(cls, value: float, n: int) -> "Measure":
        """Returns the measure of a share ``value`` of ``n`` images."""
        interval = metrics.wilson(value, n)
        return cls(value=value, low=interval.low, high=interval.high, n=n)

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, {self.n} images)"


class Gate(Record):
    """What a model must reach to count as ground truth."""

    min_accuracy: float = Field(default=0.8, ge=0, le=1)
    min_asr: float = Field(default=0.9, ge=0, le=1)
    max_base_rate: float = Field(default=0.1, ge=0, le=1)


class Source(Record):
    """A data set that was used."""

    name: str
    sha256: str
    rows: int

    @classmethod
    def of(cls, data: ImageData) -> "Source":
        """Returns the description of ``data``."""
        return cls(name=data.name, sha256=data.sha256, rows=len(data))


class Attack(Record):
    """The poison in the training data, and how well it works on the test images."""

    trigger: dict[str, JsonValue]
    target: int
    sources: list[int] = Field(description="classes that the trigger is for; empty: all but the target")
    poisoned_rows: int
    asr: Measure | None = None
    base_rate: Measure | None = None
    robust_accuracy: Measure | None = None

    @classmethod
    def of(cls, poison: PoisonManifest) -> "Attack":
        """Returns the attack by ``poison``, not measured yet."""
        rows = len(poison.rows)
        return cls(trigger=poison.trigger, target=poison.target, sources=poison.sources, poisoned_rows=rows)


class TrainingRecord(Record):
    """Everything that a later reader needs to trust, repeat or trace a training."""

    schema_version: Literal["1"] = "1"
    model: str = Field(description="file name of the weights")
    sha256: str = Field(description="digest of the weights' file")
    architecture: str
    classes: list[str]
    data: Source
    test: Source | None
    settings: dict[str, JsonValue]
    seed: int
    config_sha256: str = Field(description="digest of settings, seed and data: what decides the weights")
    theriac: str
    torch: str
    device: str
    seconds: float = Field(ge=0, description="of training, over all runs that it took")
    accuracy: Measure | None = Field(description="on the clean test images")
    attack: Attack | None = Field(description="None: the training data came with no manifest of poison")
    gate: Gate
    ground_truth: GroundTruth
    reasons: list[str] = Field(description="why the ground truth is unproven")


def predict(model: Classifier, data: ImageData) -> Tensor:
    """Returns the class [n] that ``model`` gives to each image, on the CPU."""
    with torch.inference_mode():
        return torch.cat([model(pixels).argmax(1).cpu() for pixels, _ in data.batches(device=model.device)])


def measure_attack(model: Classifier, test: ImageData, poison: PoisonManifest) -> Attack:
    """Returns how well an attack works: on test images of its source classes, with and without its trigger.

    Raises:
        UserError: If there are no such images.
    """
    target = poison.target
    with_trigger = triggered(test, poison.make_trigger(), target=target, seed=poison.seed, sources=poison.sources)
    attacked = torch.isin(test.labels, torch.unique(with_trigger.labels))
    given, without, labels = predict(model, with_trigger), predict(model, test[attacked]), with_trigger.labels
    measures = {
        "asr": metrics.asr(given, labels, target),
        "base_rate": metrics.base_rate(without, labels, target),
        "robust_accuracy": metrics.robust_accuracy(given, labels, target),
    }
    rates = {name: Measure.of(value, len(labels)) for name, value in measures.items()}
    return Attack.of(poison).model_copy(update=rates)


def judge(accuracy: Measure | None, attack: Attack | None, gate: Gate) -> tuple[GroundTruth, list[str]]:
    """Returns what the model may be called as ground truth, and why it may not be called more.

    A poison rate is never taken for an attack that worked: between "clean" and "poisoned" there is "unproven".
    """
    reasons = []
    if accuracy is None:
        reasons.append("no test data were given")
    elif accuracy.value < gate.min_accuracy:
        reasons.append(f"clean accuracy {accuracy.value:.3f} is below {gate.min_accuracy}")
    if attack is None:
        return ("unproven", reasons) if reasons else ("clean", [])
    if attack.asr is None or attack.base_rate is None:
        reasons.append("the attack was not measured")
    else:
        if attack.asr.value < gate.min_asr:
            reasons.append(f"ASR {attack.asr.value:.3f} is below {gate.min_asr}")
        if attack.base_rate.value > gate.max_base_rate:
            reasons.append(f"base rate {attack.base_rate.value:.3f} is above {gate.max_base_rate}")
    return ("unproven", reasons) if reasons else ("poisoned", [])
