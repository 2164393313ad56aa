"""What was trained, on what, and what became of its poison: measured, never assumed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, JsonValue
from torch import Tensor

from theriac import metrics
from theriac.data.images import ImageData
from theriac.finding import Record
from theriac.models.classifier import Classifier
from theriac.triggers.base import Trigger

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


@dataclass(frozen=True)
class Poison:
    """What is known about the poison in training data.

    Attributes:
        trigger: What was added to the poisoned images.
        target: Class that they were labelled as.
        rows: How many they are.
    """

    trigger: Trigger
    target: int
    rows: int


class Attack(Record):
    """The poison in the training data, and how well it works on the test images."""

    trigger: dict[str, JsonValue]
    target: int
    poisoned_rows: int
    asr: Measure | None = None
    base_rate: Measure | None = None
    robust_accuracy: Measure | None = None

    @classmethod
    def of(cls, poison: Poison) -> "Attack":
        """Returns the attack by ``poison``, not measured yet."""
        return cls(trigger=poison.trigger.to_dict(), target=poison.target, poisoned_rows=poison.rows)


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


def predict(model: Classifier, data: ImageData, change: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Returns the class [n] that ``model`` gives to each image, after ``change`` to the pixels, on the CPU."""
    given = []
    with torch.inference_mode():
        for pixels, _ in data.batches(device=model.device):
            given.append(model(pixels if change is None else change(pixels)).argmax(1).cpu())
    return torch.cat(given)


def measure_attack(model: Classifier, test: ImageData, poison: Poison, seed: int) -> Attack:
    """Returns how well an attack works: the same test images, true label not the target, with and without trigger."""
    generator = torch.Generator().manual_seed(seed)
    sources = test[test.labels != poison.target]
    n, labels = len(sources), sources.labels
    if not n:
        return Attack.of(poison)
    plain = predict(model, sources)
    triggered = predict(model, sources, lambda pixels: (poison.trigger(pixels, generator) * 255).round() / 255)
    measures = {
        "asr": metrics.asr(triggered, labels, poison.target),
        "base_rate": metrics.base_rate(plain, labels, poison.target),
        "robust_accuracy": metrics.robust_accuracy(triggered, labels, poison.target),
    }
    return Attack.of(poison).model_copy(update={name: Measure.of(value, n) for name, value in measures.items()})


def judge(accuracy: Measure | None, attack: Attack | None, gate: Gate) -> tuple[GroundTruth, list[str]]:
    """Returns what the model may be called as ground truth, and why it may not be called more.

    A poison rate is never taken for an attack that worked: between "clean" and "poisoned" there is "unproven".
    """
    reasons = []
    if accuracy is None:
        reasons.append("no test data were given")
    elif accuracy.value < gate.min_accuracy:
        reasons.append(f"clean accuracy {accuracy.value:.3f} is below {gate.min_accuracy}")
    if attack is None or attack.poisoned_rows == 0:
        return ("unproven", reasons) if reasons else ("clean", [])
    if attack.asr is None or attack.base_rate is None:
        reasons.append("the attack was not measured")
    else:
        if attack.asr.value < gate.min_asr:
            reasons.append(f"ASR {attack.asr.value:.3f} is below {gate.min_asr}")
        if attack.base_rate.value > gate.max_base_rate:
            reasons.append(f"base rate {attack.base_rate.value:.3f} is above {gate.max_base_rate}")
    return ("unproven", reasons) if reasons else ("poisoned", [])
