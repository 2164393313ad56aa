"""Shrunk covariances against scikit-learn's, and whitening by them."""

import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.covariance import oas as sklearn_oas

from theriac.detect.shrinkage import ledoit_wolf, oas, shrunk, weight_of, white, whitening, whitening_of
from theriac.detect.statistics import ClassMoments
from theriac.errors import UserError


@pytest.fixture(params=[40, 300, 3000])
def grouped(request):
    """Heavy-tailed rows, of four classes, and the rows less their class's mean."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.arange(request.param) % 4
    rows = torch.randn(request.param, 30, generator=generator).double() * torch.linspace(0.1, 3, 30)
    rows = rows * (1 + torch.rand(request.param, 1, generator=generator)) + 20 * labels[:, None]
    return rows, labels, torch.cat([rows[labels == c] - rows[labels == c].mean(0) for c in range(4)])


def test_weights_are_those_of_scikit_learn(grouped):
    _, _, about = grouped
    n, energy = len(about), float((about.T @ about / len(about)).square().sum())
    trace, fourth = float(about.square().sum()) / n, float(about.square().sum(1).square().sum())
    known = ledoit_wolf_shrinkage(about.numpy(), assume_centered=True)
    assert ledoit_wolf(trace, energy, fourth, n, 30) == pytest.approx(known, rel=1e-9)
    assert oas(trace, energy, n, 30) == pytest.approx(sklearn_oas(about.numpy(), assume_centered=True)[1], rel=1e-9)


@pytest.mark.parametrize("rule", ["ledoit-wolf", "oas"])
def test_streamed_weights_are_those_of_scikit_learn(grouped, rule):
    """On class-centred rows; they differ by the four degrees of freedom that the class means take."""
    rows, labels, about = grouped
    moments = ClassMoments(4, 30)
    moments.block = 64
    for x, y in zip(rows.split(50), labels.split(50), strict=True):
        moments.update(x, y)
    of = {"ledoit-wolf": ledoit_wolf_shrinkage, "oas": lambda x, **kw: sklearn_oas(x, **kw)[1]}[rule]
    known = of(about.numpy(), assume_centered=True)
    assert weight_of(rule, moments) == pytest.approx(known, rel=6 / len(rows))


def test_trace_is_divided_by_the_dimension():
    """Defect 4: shrinkage towards ``trace(C) I`` instead of ``trace(C)/d I`` drowns everything else."""
    covariance = torch.diag(torch.linspace(0.5, 1.5, 100)).double()
    kept = shrunk(covariance, 0.1)
    assert torch.allclose(kept.trace(), covariance.trace())
    assert torch.allclose(kept, 0.9 * covariance + 0.1 * torch.eye(100).double())


def test_whitening_sees_directions_without_variance():
    covariance = torch.diag(torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64))
    by = whitening(covariance, 0.01)
    assert torch.allclose(by @ shrunk(covariance, 0.01) @ by.T, torch.eye(3, dtype=torch.float64))
    assert (by @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)).norm() > 5


@pytest.mark.parametrize("rule", [0.05, "ledoit-wolf", "oas"])
def test_a_sketch_makes_rows_as_white_as_the_whole_covariance(rule):
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(20, 120, generator=generator).double()
    rows = torch.randn(500, 20, generator=generator).double() @ basis  # of rank 20: the sketch misses nothing
    full, full_weight = whitening_of(ClassMoments(1, 120).update(rows), rule)
    thin, thin_weight = whitening_of(ClassMoments(1, 120, rank=60).update(rows), rule)
    assert thin_weight == pytest.approx(full_weight, rel=1e-3)
    others = torch.cat([rows[:5].float(), torch.randn(5, 120, generator=generator)])
    assert torch.allclose(white(others, thin).norm(dim=1), white(others, full).norm(dim=1), rtol=1e-2)


@pytest.mark.parametrize("wrong", [0.0, -1.0, 1.5, "trace"])
def test_unusable_shrinkage_is_told(wrong):
    with pytest.raises(UserError, match="shrinkage"):
        weight_of(wrong, ClassMoments(1, 2).update(torch.randn(9, 2)))
