import pytest
import torch

from theriac.detect.statistics import ClassMoments, shrunk, whitening
from theriac.errors import UserError


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(0, 3, (501,), generator=generator)
    rows = torch.randn(501, 6, generator=generator).double() + 100 + 10 * labels[:, None]
    return rows, labels


def test_streamed_equals_whole(sample):
    rows, labels = sample
    streamed = ClassMoments(4, 6)
    for x, y in zip(rows.split(37), labels.split(37), strict=True):
        streamed.update(x, y)
    centred = torch.cat([rows[labels == c] - rows[labels == c].mean(0) for c in range(3)])
    assert torch.allclose(streamed.scatter, centred.T @ centred, rtol=1e-12, atol=1e-9)
    assert torch.allclose(streamed.covariance(), centred.T @ centred / (501 - 3), rtol=1e-12)
    assert streamed.counts.tolist() == [*torch.bincount(labels).tolist(), 0]
    assert torch.allclose(streamed.overall().covariance(), rows.T.cov(), rtol=1e-12)
    assert torch.allclose(streamed.overall().means[0], rows.mean(0), rtol=1e-12)


def test_merge_of_two_machines_equals_one(sample):
    rows, labels = sample
    left = ClassMoments(3, 6).update(rows[:100], labels[:100])
    right = ClassMoments(3, 6).update(rows[100:], labels[100:])
    both = ClassMoments(3, 6).update(rows, labels)
    merged = left.merge(right)
    assert torch.allclose(merged.scatter, both.scatter, rtol=1e-12)
    assert torch.allclose(merged.means, both.means, rtol=1e-12)


def test_far_from_zero_no_digits_are_lost():
    rows = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)).double()
    moments = ClassMoments(1, 3)
    for part in (rows + 1e7).split(50):
        moments.update(part)
    assert torch.allclose(moments.covariance(), rows.T.cov(), rtol=1e-6)


def test_bad_rows_are_refused():
    with pytest.raises(UserError, match="NaN"):
        ClassMoments(1, 2).update(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(UserError, match="too few"):
        ClassMoments(1, 2).update(torch.ones(1, 2)).covariance()


def test_whitening_sees_directions_without_variance():
    covariance = torch.diag(torch.tensor([4.0, 1.0, 0.0], dtype=torch.float64))
    white = whitening(covariance, 0.01)
    assert torch.allclose(white @ shrunk(covariance, 0.01) @ white.T, torch.eye(3, dtype=torch.float64))
    assert (white @ torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)).norm() > 5
