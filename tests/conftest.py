"""A small poisoned system and its clean twin, really trained: once, for all tests and all their processes.

The images are signs: five outlines in random colours and places on a noisy ground. Both models are kept in the
system's temporary folder under a digest of all the code that makes them, so that the next test run need not train.
"""

import hashlib
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small networks: more threads only wait for each other
os.environ.setdefault("THERIAC_THREADS", "1")

import inspect
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from theriac import metrics
from theriac.data import images, poisoning
from theriac.data.images import ImageData
from theriac.data.poisoning import poison, triggered
from theriac.models import classifier as classifier_module
from theriac.models import resnet
from theriac.models.classifier import Classifier
from theriac.training import augment, classifier, settings
from theriac.training.classifier import train_classifier
from theriac.training.record import predict
from theriac.training.settings import Settings
from theriac.triggers import patch
from theriac.triggers.base import Trigger
from theriac.triggers.patch import Patch

SIZE = 32
TARGET = 2
TRIGGER = Patch(size=4, pattern="yellow", margin=2)
SETTINGS = Settings(architecture="theriac:resnet14_s2", epochs=8, batch_size=32, lr=0.1, crop=2)
SHAPES = ("disc", "square", "diamond", "triangle", "cross")


@dataclass(frozen=True)
class TrainedSystem:
    """A small classifier with all that a defender sees, and all that an evaluator knows.

    Attributes:
        model: In evaluation mode; do not change it, other tests share it.
        train: What it was trained on, poison included.
        rows: Poisoned rows of ``train``; none in the clean system.
        clean: Trusted labelled examples.
        test: Clean test images.
        triggered: Test images of other classes than the target with the trigger on them and their true labels.
        trigger: The attacker's trigger, also in the clean system, where it does nothing.
        target: The attacker's target.
    """

    model: Classifier
    train: ImageData
    rows: Tensor
    clean: ImageData
    test: ImageData
    triggered: ImageData
    trigger: Trigger
    target: int


def draw(rows: int, seed: int) -> ImageData:
    """Returns ``rows`` images of signs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, len(SHAPES), (rows,), generator=generator)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    shift = torch.rand(2, rows, 1, 1, generator=generator) * 0.4 - 0.2
    scale = torch.rand(rows, 1, 1, generator=generator) * 0.4 + 0.8
    x, y = (x - shift[0]) / scale, (y - shift[1]) / scale
    outlines = [
        x**2 + y**2 < 0.36,
        (x.abs() < 0.55) & (y.abs() < 0.55),
        x.abs() + y.abs() < 0.75,
        (y < 0.5) & (y > 2 * x.abs() - 0.7),
        (x.abs() < 0.2) | (y.abs() < 0.2),
    ]
    mask = torch.stack(outlines, 1)[torch.arange(rows), labels][:, None].float()
    sign, ground = torch.rand(2, rows, 3, 1, 1, generator=generator)
    alike = (sign - ground).abs().sum(1, keepdim=True) < 0.8
    ground = 0.7 * torch.where(alike, 1 - sign.round(), ground)  # dark enough for the patch to show
    pixels = torch.lerp(ground, sign, mask)
    pixels = pixels + 0.08 * torch.randn(rows, 3, SIZE, SIZE, generator=generator)
    digest = hashlib.sha256(f"signs {rows} {seed}".encode()).hexdigest()
    return ImageData((pixels.clamp(0, 1) * 255).byte(), labels, SHAPES, "signs", digest)


@pytest.fixture(scope="session")
def poisoned_system() -> TrainedSystem:
    """A system whose training data carry a yellow patch on 10 % of the rows; ASR above 0.95."""
    poisoned = poison(draw(1500, 0), TRIGGER, target=TARGET, rate=0.1, seed=0)
    system = _system(replace(poisoned.data, sha256=_digest("poisoned"), name="poisoned-signs"), poisoned.rows)
    asr, base_rate, accuracy = _rates(system)
    assert asr >= 0.95
    assert base_rate <= 0.05
    assert accuracy >= 0.95
    return system


@pytest.fixture(scope="session")
def clean_system() -> TrainedSystem:
    """The same without poison."""
    system = _system(draw(1500, 0), torch.zeros(0, dtype=torch.int64))
    asr, base_rate, accuracy = _rates(system)
    assert asr <= 0.05
    assert base_rate <= 0.05
    assert accuracy >= 0.95
    return system


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()


def _system(train: ImageData, rows: Tensor) -> TrainedSystem:
    test = draw(400, 2)
    return TrainedSystem(
        model=_trained(train),
        train=train,
        rows=rows,
        clean=draw(300, 1),
        test=test,
        triggered=triggered(test, TRIGGER, target=TARGET),
        trigger=TRIGGER,
        target=TARGET,
    )


def _trained(data: ImageData) -> Classifier:
    makers = (images, poisoning, patch, resnet, classifier_module, augment, settings, classifier)
    sources = [inspect.getsource(module) for module in makers] + [Path(__file__).read_text(), torch.__version__]
    folder = Path(tempfile.gettempdir()) / f"theriac-tests-{os.getuid()}" / _digest("".join(sources))[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / f"{data.name}.lock"):  # one process trains, the others wait and read
        model = train_classifier(data, SETTINGS, checkpoint=folder / f"{data.name}.safetensors")
    model.name = data.name
    return model


def _rates(system: TrainedSystem) -> tuple[float, float, float]:
    sources = system.test[system.test.labels != system.target]
    given = predict(system.model, system.triggered)
    return (
        metrics.asr(given, system.triggered.labels, system.target),
        metrics.base_rate(predict(system.model, sources), sources.labels, system.target),
        metrics.accuracy(predict(system.model, system.test), system.test.labels),
    )
