"""Training is repeatable, survives being killed, and says clearly what it cannot learn from."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from theriac.data.images import ImageData
from theriac.errors import UserError
from theriac.models.classifier import Classifier
from theriac.run.budget import Budget
from theriac.training.checkpoint import Checkpoint
from theriac.training.classifier import Unfinished, one_cycle, train_classifier
from theriac.training.settings import Settings

SIZE, ROWS = 16, 96
QUICK = Settings(epochs=3, batch_size=32, crop=2, lr=0.1)


def shapes(rows: int = ROWS, seed: int = 0) -> ImageData:
    """Returns noisy images of three classes: a disc, a cross and stripes."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SIZE), torch.linspace(-1, 1, SIZE), indexing="ij")
    masks = torch.stack([x**2 + y**2 < 0.4, (x.abs() < 0.2) | (y.abs() < 0.2), (y * 4).round() % 2 == 0]).float()
    labels = torch.arange(rows) % 3
    colours = torch.rand(rows, 3, 1, 1, generator=generator) * 0.5 + 0.5
    images = masks[labels][:, None] * colours + 0.1 * torch.randn(rows, 3, SIZE, SIZE, generator=generator)
    return ImageData((images.clamp(0, 1) * 255).byte(), labels, ("disc", "cross", "stripes"), "shapes", "a" * 64)


def weights(model: Classifier) -> dict[str, torch.Tensor]:
    return model.state_dict()


def same(one: Classifier, other: Classifier) -> bool:
    return all(torch.equal(a, weights(other)[name]) for name, a in weights(one).items())


def test_it_learns() -> None:
    model = train_classifier(shapes(240), replace(QUICK, epochs=5))
    test = shapes(90, seed=1)
    with torch.no_grad():
        right = (model(test.pixels()).argmax(1) == test.labels).float().mean()
    assert not model.training
    assert model.architecture == "theriac:resnet14"
    assert right > 0.9


def test_one_seed_gives_one_result_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = train_classifier(shapes(), QUICK, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    assert same(first, train_classifier(shapes(), QUICK, seed=1))
    assert not same(first, train_classifier(shapes(), QUICK, seed=2))


def test_a_killed_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    checkpoint = tmp_path / "state.safetensors"
    script = f"""
import importlib.util, pathlib
spec = importlib.util.spec_from_file_location("tests_of_training", {__file__!r})
tests = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tests)
tests.train_classifier(tests.shapes(), tests.LONG, seed=3, checkpoint=pathlib.Path({str(checkpoint)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 60
    while not checkpoint.exists() or Checkpoint.load(checkpoint).epochs == 0:
        assert process.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    state = Checkpoint.load(checkpoint)
    assert 1 <= state.epochs < LONG.epochs
    resumed_from: list[float] = []
    resumed = train_classifier(
        shapes(), LONG, seed=3, checkpoint=checkpoint, progress=lambda share, step: resumed_from.append(share)
    )
    assert resumed_from[0] > state.epochs / LONG.epochs
    assert same(resumed, train_classifier(shapes(), LONG, seed=3))
    assert Checkpoint.load(checkpoint).epochs == LONG.epochs


LONG = replace(QUICK, epochs=8)


def test_a_budget_stops_the_training_and_the_next_run_goes_on(tmp_path: Path) -> None:
    checkpoint = tmp_path / "state.safetensors"
    budget = Budget(3600)

    def stop_in_the_second_epoch(share: float, step: str) -> None:
        if share > 0.4:
            budget.seconds = 0

    with pytest.raises(Unfinished, match="epoch 2 of 3"):
        train_classifier(
            shapes(), QUICK, seed=1, checkpoint=checkpoint, budget=budget, progress=stop_in_the_second_epoch
        )
    resumed = train_classifier(shapes(), QUICK, seed=1, checkpoint=checkpoint)
    assert same(resumed, train_classifier(shapes(), QUICK, seed=1))


@pytest.mark.parametrize(
    ("changed", "seed"),
    [(replace(QUICK, lr=0.05), 0), (replace(QUICK, flip=True), 0), (QUICK, 1)],
    ids=["rate", "flip", "seed"],
)
def test_another_training_does_not_take_over_a_checkpoint(tmp_path: Path, changed: Settings, seed: int) -> None:
    checkpoint = tmp_path / "state.safetensors"
    train_classifier(shapes(), replace(QUICK, epochs=1), checkpoint=checkpoint)
    before = checkpoint.read_bytes()
    with pytest.raises(UserError, match="other data, settings or seed"):
        train_classifier(shapes(), replace(changed, epochs=1), seed=seed, checkpoint=checkpoint)
    assert checkpoint.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\2\0\0\0\0\0\0\0{}"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    checkpoint = tmp_path / "state.safetensors"
    checkpoint.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.safetensors: is not a checkpoint"):
        train_classifier(shapes(), QUICK, checkpoint=checkpoint)


def test_other_sizes_get_other_networks() -> None:
    data = shapes(12)
    wide = replace(data, images=data.images.repeat(1, 1, 4, 5))
    model = train_classifier(wide, Settings(epochs=1, batch_size=8))
    assert model.architecture == "theriac:resnet14_s2"
    assert model.image_size == 80
    named = train_classifier(data, Settings(epochs=1, batch_size=8, architecture="torchvision:resnet18"))
    assert named.architecture == "torchvision:resnet18"


def test_a_diverging_training_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"diverged.*lower --lr"):
        train_classifier(shapes(), replace(QUICK, lr=1e12, epochs=2), checkpoint=tmp_path / "state.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("data", "settings", "words"),
    [
        (shapes(5), QUICK, "5 rows are too few for 3 classes"),
        (shapes()[shapes().labels == 1], QUICK, "holds 1 classes"),
        (shapes(), replace(QUICK, crop=SIZE), "a crop of 16 pixels does not fit"),
        (shapes(), replace(QUICK, architecture="theriac:nothing"), "no architecture"),
    ],
)
def test_what_cannot_be_trained_on_is_named(data: ImageData, settings: Settings, words: str) -> None:
    with pytest.raises(UserError, match=words):
        train_classifier(data, settings)


@pytest.mark.parametrize(
    "values",
    [{"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}, {"lr": float("nan")}, {"weight_decay": -1.0}, {"crop": -1}],
)
def test_settings_out_of_range_are_named(values: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"training: .* got"):
        Settings(**values)  # type: ignore[arg-type]


def test_the_learning_rate_rises_once_and_ends_at_nothing() -> None:
    rates = [one_cycle(k / 100) for k in range(101)]
    assert max(rates) == rates[25] == 1.0
    assert rates[:26] == sorted(rates[:26])
    assert rates[25:] == sorted(rates[25:], reverse=True)
    assert rates[-1] == pytest.approx(0)
