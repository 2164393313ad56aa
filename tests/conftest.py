"""A small poisoned system and its clean twin, really trained: once, for all tests and all their processes.

Both models are kept in the system's temporary folder under a digest of all the code that makes them, so that the next
test run need not train.
"""

import hashlib
import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # many small networks: more threads only wait for each other
os.environ.setdefault("THERIAC_THREADS", "1")
# Never the keys of whoever runs the tests.
os.environ["THERIAC_KEYS"] = os.path.join(tempfile.gettempdir(), f"theriac-test-keys-{os.getuid()}")

import inspect
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from torch import Tensor

from theriac import metrics
from theriac.data import images, plates, poisoning, scenery, signs
from theriac.data.images import ImageData
from theriac.data.poisoning import poison, triggered
from theriac.data.signs import draw_signs
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


def draw(count_per_class: int, seed: int, name: str = "signs") -> ImageData:
    """Returns pictures of five road signs."""
    digest = hashlib.sha256(f"{name} {count_per_class} {seed}".encode()).hexdigest()
    return replace(draw_signs(count_per_class, 5, SIZE, seed), name=name, sha256=digest)


@pytest.fixture(scope="session")
def test_files() -> Path:
    """The folder of real files that are too large or not free to be committed; a test skips what is not there."""
    return Path(os.environ.get("THERIAC_TEST_FILES") or Path(__file__).parents[2] / "shared")


@pytest.fixture(scope="session")
def poisoned_system() -> TrainedSystem:
    """A system whose training data carry a yellow patch on 10 % of the rows; ASR above 0.95."""
    poisoned = poison(draw(300, 0, "poisoned-signs"), TRIGGER, target=TARGET, rate=0.1, seed=0)
    system = _system(poisoned.data, poisoned.rows)
    asr, base_rate, accuracy = _rates(system)
    assert asr >= 0.95
    assert base_rate <= 0.05
    assert accuracy >= 0.95
    return system


@pytest.fixture(scope="session")
def clean_system() -> TrainedSystem:
    """The same without poison."""
    system = _system(draw(300, 0), torch.zeros(0, dtype=torch.int64))
    asr, base_rate, accuracy = _rates(system)
    assert asr <= 0.05
    assert base_rate <= 0.05
    assert accuracy >= 0.95
    return system


def _system(train: ImageData, rows: Tensor) -> TrainedSystem:
    test = draw(80, 2)
    return TrainedSystem(
        model=_trained(train),
        train=train,
        rows=rows,
        clean=draw(60, 1),
        test=test,
        triggered=triggered(test, TRIGGER, target=TARGET),
        trigger=TRIGGER,
        target=TARGET,
    )


def _trained(data: ImageData) -> Classifier:
    makers = (
        signs,
        plates,
        scenery,
        images,
        poisoning,
        patch,
        resnet,
        classifier_module,
        augment,
        settings,
        classifier,
    )
    sources = [inspect.getsource(module) for module in makers] + [Path(__file__).read_text(), torch.__version__]
    digest = hashlib.sha256("".join(sources).encode()).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"theriac-tests-{os.getuid()}" / digest[:16]
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
