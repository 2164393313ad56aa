from dataclasses import replace

import pytest
import torch

from theriac.detect.inputs.auto import Auto
from theriac.detect.inputs.quantum_entropy import QuantumEntropy
from theriac.detect.inputs.saving import load_detector
from theriac.detect.inputs.surprise import Surprise
from theriac.errors import UserError
from theriac.metrics import auroc
from theriac.run.budget import Budget


@pytest.fixture(scope="module")
def fitted(poisoned_system):
    return Auto().fit(poisoned_system.model, poisoned_system.clean)


def scores(detector, data):
    parts = [detector.aggregate(detector.score(pixels)) for pixels, _ in data.batches(64)]
    return torch.cat(parts)


def test_members_of_different_kinds_judge_together(fitted, poisoned_system):
    assert list(fitted.members_) == ["mahalanobis", "ted", "strip"]
    usual, unusual = scores(fitted, poisoned_system.test), scores(fitted, poisoned_system.triggered[:100])
    truth = torch.cat([torch.zeros(len(usual)), torch.ones(len(unusual))]).bool()
    assert auroc(torch.cat([usual, unusual]), truth) >= 0.99
    assert float((usual > fitted.threshold_).double().mean()) < 0.05


def test_untrusted_inputs_bring_members_that_need_them(poisoned_system):
    untrusted = poisoned_system.test[:200]
    both = Auto().fit(poisoned_system.model, poisoned_system.clean, untrusted)
    assert list(both.members_) == ["mahalanobis", "ted", "strip", "likelihood-ratio"]
    assert both.not_checked() == []


def test_what_it_does_without_is_said(fitted, poisoned_system):
    finding = fitted.scan(poisoned_system.test[:20], budget=Budget(), generator=torch.Generator()).finding
    assert any("likelihood-ratio" in line and "untrusted" in line for line in finding.not_checked)


def test_it_is_saved_with_its_members(fitted, poisoned_system, tmp_path):
    fitted.save(tmp_path / "detector")
    again = load_detector(tmp_path / "detector", poisoned_system.model)
    inputs = poisoned_system.triggered.pixels(slice(0, 20))
    assert torch.allclose(again.aggregate(again.score(inputs)), fitted.aggregate(fitted.score(inputs)))
    assert again.threshold_ == fitted.threshold_


def test_it_is_no_member_of_itself(poisoned_system):
    with pytest.raises(UserError, match="member of itself"):
        Auto(online=("auto",)).fit(poisoned_system.model, poisoned_system.clean)


def test_surprise_is_minus_the_logarithm_of_the_share_above():
    generator = torch.Generator().manual_seed(0)
    usual = -torch.rand(20_000, generator=generator).double().log()  # an exponential distribution is its own surprise
    scale = Surprise().fit(usual)
    new = torch.tensor([0.1, 0.7, 2.0, 5.0, 12.0]).double()
    assert torch.allclose(scale(new), new, rtol=0.05, atol=0.02)
    grid = torch.linspace(-5, 50, 500)
    assert (scale(grid).diff() >= 0).all()
    assert scale(grid).isfinite().all()
    assert float(scale(usual).mean()) == pytest.approx(1, abs=0.05)


def test_surprise_bears_equal_scores():
    scale = Surprise().fit(torch.zeros(50))
    assert scale(torch.tensor([0.0, 1.0])).isfinite().all()


def test_a_promise_that_does_not_hold_on_the_inputs_fitted_on_is_not_made(poisoned_system):
    stream, clean = poisoned_system.test[:60], poisoned_system.clean
    settings = {"budget": Budget(), "generator": torch.Generator()}
    biased = QuantumEntropy().fit(poisoned_system.model, clean, stream)
    assert any("fitted on these inputs" in line for line in biased.scan(stream, **settings).finding.not_checked)
    other = replace(stream, sha256="1" * 64)
    assert not any("fitted on" in line for line in biased.scan(other, **settings).finding.not_checked)
    joined = Auto().fit(poisoned_system.model, clean, stream)
    assert not any("fitted on" in line for line in joined.scan(stream, **settings).finding.not_checked)
