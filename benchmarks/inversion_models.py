"""Small classifiers of made-up road signs, clean and poisoned, for the benchmarks of trigger inversion.

Every model is trained once and kept in a folder. A model counts as poisoned only if its measured ASR says so.
"""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from theriac import metrics
from theriac.data.images import ImageData
from theriac.data.poisoning import poison, triggered
from theriac.data.signs import draw_signs
from theriac.models.classifier import Classifier
from theriac.training.classifier import train_classifier
from theriac.training.record import predict
from theriac.training.settings import Settings
from theriac.triggers.base import Trigger
from theriac.triggers.blend import Blend
from theriac.triggers.patch import Patch
from theriac.triggers.sinusoid import Sinusoid
from theriac.triggers.warp import Warp

CLEAN_EXAMPLES = 320


@dataclass(frozen=True)
class Spec:
    """One model to train.

    Attributes:
        designs: First sign design and number of classes; designs of different models need not overlap.
        size: Side of the images.
        trigger: The attacker's trigger, or None.
        target: The attacker's target class.
        seed: Seed of everything.
        rate: Share of poisoned rows.
        rows: Training images.
        epochs: Passes over them.
    """

    designs: tuple[int, int]
    size: int
    trigger: Trigger | None
    target: int
    seed: int
    rate: float = 0.1
    rows: int = 2400
    epochs: int = 10

    @property
    def name(self) -> str:
        """What the model is, for file names and tables."""
        kind = "clean" if self.trigger is None else f"{self.trigger.name}-{self.target}"
        return f"signs{self.size}-{self.designs[1]}-{kind}-{self.seed}"


@dataclass(frozen=True)
class Made:
    """A trained model, the examples that a defender has, and what an evaluator measured."""

    model: Classifier
    clean: ImageData
    accuracy: float
    asr: float | None
    base_rate: float | None

    @property
    def poisoned(self) -> bool:
        """Whether the attack worked."""
        return self.asr is not None and self.base_rate is not None and self.asr >= 0.9 and self.base_rate <= 0.1


def make_trigger(kind: str, size: int, seed: int) -> Trigger:
    """Returns a trigger of ``kind`` whose look and place depend on ``seed``."""
    corner = ("top-left", "top-right", "bottom-left", "bottom-right")[seed % 4]
    pattern = ("noise", "yellow", "checker", "white")[seed // 4 % 4]
    return {
        "patch": Patch(size=max(3, size // 10), position=corner, margin=2 + seed % 3, pattern=pattern, seed=seed),
        "blend": Blend(alpha=0.15 + 0.02 * (seed % 3), seed=seed),
        "sinusoid": Sinusoid(delta=25 / 255, frequency=4.0 + seed % 4),
        "warp": Warp(strength=3.0, seed=seed),
    }[kind]


def make(spec: Spec, folder: Path) -> Made:
    """Trains the model of ``spec``, or opens it when ``folder`` has it, and measures it."""
    start, classes = spec.designs
    designs = range(start, start + classes)

    def draw(rows: int, seed: int) -> ImageData:
        return draw_signs(-(-rows // classes), designs, spec.size, seed)

    data, test = draw(spec.rows, spec.seed), draw(400, spec.seed + 1)
    data = replace(data, sha256=hashlib.sha256(repr(spec).encode()).hexdigest())
    if spec.trigger is not None:
        digest = data.sha256
        data = poison(data, spec.trigger, target=spec.target, rate=spec.rate, seed=spec.seed).data
        data = replace(data, sha256=digest)
    settings = Settings(architecture="theriac:resnet14_s2", epochs=spec.epochs, batch_size=64, lr=0.1, crop=2)
    folder.mkdir(parents=True, exist_ok=True)
    model = train_classifier(data, settings, seed=spec.seed, checkpoint=folder / f"{spec.name}.ckpt")
    model.name = spec.name
    asr = base_rate = None
    if spec.trigger is not None:
        attacked = triggered(test, spec.trigger, target=spec.target)
        sources = test[test.labels != spec.target]
        asr = metrics.asr(predict(model, attacked), attacked.labels, spec.target)
        base_rate = metrics.base_rate(predict(model, sources), sources.labels, spec.target)
    accuracy = metrics.accuracy(predict(model, test), test.labels)
    clean = draw(CLEAN_EXAMPLES, spec.seed + 2)
    return Made(model, clean[torch.arange(min(len(clean), CLEAN_EXAMPLES))], accuracy, asr, base_rate)
