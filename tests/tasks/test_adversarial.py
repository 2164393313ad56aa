"""Adversarial examples: PGD against a problem with a known solution, and the task."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from theriac.errors import UserError
from theriac.models.classifier import Classifier
from theriac.tasks.adversarial import Adversarial, pgd
from theriac.tasks.files import read_tensors
from theriac.training.record import predict


def linear(size: int = 4) -> Classifier:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * size**2, 2))
    return Classifier(net, architecture="test", classes=("a", "b"), image_size=size).eval()


def test_on_a_linear_model_it_finds_the_corner_of_the_ball() -> None:
    """The loss of a linear model is largest where every pixel goes epsilon against the right class's weight."""
    model = linear()
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.rand(6, 3, 4, 4, generator=generator), torch.tensor([0, 1] * 3)
    found = pgd(model, images, labels, 8 / 255, 2 / 255, 40, generator)
    weight = model.net[1].weight.detach()  # type: ignore[index]
    direction = (weight[1 - labels] - weight[labels]).sign().view(6, 3, 4, 4)
    torch.testing.assert_close(found, (images + 8 / 255 * direction).clamp(0, 1))
    assert all(parameter.grad is None for parameter in model.parameters())


def test_one_step_stays_in_the_ball_and_the_range_and_starts_at_random() -> None:
    model, images = linear(), torch.rand(5, 3, 4, 4).round()
    one, same, other = (
        pgd(model, images, torch.zeros(5).long(), 0.1, 0.02, 1, torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    )
    assert (one - images).abs().max() <= 0.1 + 1e-6
    assert 0 <= one.min() <= one.max() <= 1
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_task(tiny: dict[str, Any], tmp_path: Path) -> None:
    attack = {"epsilon": 16 / 255, "step_size": 4 / 255, "steps": 10}
    task = Adversarial(**tiny, **attack).make(tmp_path / "a", seed=0)
    labels = read_tensors(tmp_path / "a" / "truth.safetensors")["test.labels"]
    given = predict(task.model, task.test.inputs)  # type: ignore[arg-type]
    assert int(task.test.anomalous.sum()) == 20
    assert (given != labels)[task.test.anomalous].all(), "only what fools the model counts"
    assert (given == labels)[~task.test.anomalous].float().mean() > 0.9
    assert 0 < task.about["robust_accuracy"] < 0.75
    with pytest.raises(UserError, match=r"the attack fails: the model stays right about 1\.000 of"):
        Adversarial(**tiny, epsilon=0.002, step_size=0.002, steps=1).make(tmp_path / "b", seed=0)


def test_wrong_settings() -> None:
    with pytest.raises(UserError, match="0 < step_size <= epsilon"):
        Adversarial(epsilon=0.01, step_size=0.1)
