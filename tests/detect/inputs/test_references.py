import numpy as np
import pytest
import torch

from theriac.detect.inputs import references as module
from theriac.detect.inputs.references import References, gather_references
from theriac.errors import UserError


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(90, 5, generator=generator) + 300  # far from the origin, where float32 has few digits left
    return References(rows, torch.arange(90) % 3), torch.randn(40, 5, generator=generator) + 300, torch.arange(40) % 3


def brute_force(references, queries):
    return np.linalg.norm(queries.double().numpy()[:, None] - references.rows.double().numpy()[None], axis=2)


def test_nearest_rows_are_those_of_brute_force(sample, monkeypatch):
    references, queries, _ = sample
    monkeypatch.setattr(module, "ELEMENTS", 1000)  # several chunks
    distances, index = references.nearest(queries, 4)
    expected = brute_force(references, queries)
    assert np.allclose(distances.numpy(), np.sort(expected, 1)[:, :4], rtol=1e-9)
    assert np.array_equal(index.numpy(), expected.argsort(1)[:, :4])


def test_only_rows_of_the_class_count_unless_it_has_too_few(sample):
    references, queries, classes = sample
    expected = brute_force(references, queries)
    expected[classes.numpy()[:, None] != references.predicted.numpy()[None]] = np.inf
    assert np.array_equal(references.nearest(queries, 4, classes)[1].numpy(), expected.argsort(1)[:, :4])
    assert torch.equal(references.nearest(queries, 31, classes)[1], references.nearest(queries, 31)[1])


def test_no_row_is_its_own_neighbour(sample, monkeypatch):
    references, _, _ = sample
    monkeypatch.setattr(module, "ELEMENTS", 1000)
    expected = brute_force(references, references.rows)
    np.fill_diagonal(expected, np.inf)
    assert np.array_equal(references.nearest(references.rows, 3, own=True)[1].numpy(), expected.argsort(1)[:, :3])
    ranks, near = references.ranks(references.rows, references.predicted, own=True)
    others = np.where(references.predicted.numpy()[:, None] == references.predicted.numpy()[None], expected, np.inf)
    assert np.array_equal(near.numpy(), others.argmin(1))
    assert np.array_equal(ranks.numpy(), (expected < others.min(1, keepdims=True)).sum(1))


def test_equal_rows_are_not_nearer():
    rows = torch.tensor([[0.1, 0.7]]).repeat(6, 1) + torch.tensor([0, 0, 0, 0, 0, 1])[:, None]
    references = References(rows, torch.tensor([0, 0, 0, 1, 1, 1]))
    ranks, _ = references.ranks(rows[:1].repeat(3, 1), torch.tensor([0, 1, 2]))
    assert ranks.tolist() == [0, 0, 6]  # nobody is of class 2: all are nearer


def test_what_is_kept_is_bounded_and_drawn_alike(observed):
    rows = torch.arange(200.0)[:, None]
    first, second = (gather_references(observed(rows, torch.zeros(200).long()), 50) for _ in range(2))
    assert len(first.rows["rest"]) == 50
    assert torch.equal(first.rows["rest"], second.rows["rest"])
    with pytest.raises(UserError, match="too few"):
        gather_references(observed(rows, torch.zeros(200).long()), 1)
    with pytest.raises(UserError, match="NaN"):
        gather_references(observed(rows / 0, torch.zeros(200).long()), 50)
