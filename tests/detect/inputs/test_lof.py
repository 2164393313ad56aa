import numpy as np
import pytest
import torch
from sklearn.neighbors import LocalOutlierFactor as Sklearn

from theriac.detect.inputs.lof import LocalOutlierFactor
from theriac.errors import UserError


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(2)
    trusted = torch.randn(300, 6, generator=generator) * torch.linspace(0.1, 3, 300)[:, None] + 50
    trusted[:40] = trusted[0]  # equal rows, more than there are neighbours: infinite density without care
    return trusted, torch.randn(80, 6, generator=generator) * 2 + 50, torch.arange(300) % 2, torch.arange(80) % 2


def fitted(detector, observed, rows, classes):
    observations = observed(rows, classes)
    return detector.fit_observed(observations, observations)


def scores(detector, observed, rows, classes):
    return torch.cat([detector._score(seen)["rest"] for seen in observed(rows, classes)]).numpy()


@pytest.mark.parametrize("neighbours", [1, 20, 1000])
def test_scores_are_those_of_scikit_learn(neighbours, observed, sample):
    trusted, queries, classes, given = sample
    detector = fitted(LocalOutlierFactor(neighbours=neighbours, conditional=False), observed, trusted, classes)
    judge = Sklearn(n_neighbors=min(neighbours, 299), novelty=True).fit(trusted.double().numpy())
    expected = -judge.score_samples(queries.double().numpy())
    assert np.allclose(scores(detector, observed, queries, given), expected, rtol=1e-5)


def test_conditional_scores_are_those_of_scikit_learn_class_by_class(observed, sample):
    trusted, queries, classes, given = sample
    detector = fitted(LocalOutlierFactor(), observed, trusted, classes)
    found = scores(detector, observed, queries, given)
    for class_ in (0, 1):
        judge = Sklearn(n_neighbors=20, novelty=True).fit(trusted[classes == class_].double().numpy())
        expected = -judge.score_samples(queries[given == class_].double().numpy())
        assert np.allclose(found[given.numpy() == class_], expected, rtol=1e-5)


def test_an_input_in_a_gap_is_an_outlier_though_it_is_nearer_than_many(observed):
    """The paper's motive: density is local."""
    generator = torch.Generator().manual_seed(0)
    dense, sparse = torch.randn(200, 2, generator=generator) * 0.1, torch.randn(200, 2, generator=generator) * 5 + 50
    detector = fitted(LocalOutlierFactor(), observed, torch.cat([dense, sparse]), torch.zeros(400).long())
    near_dense, in_sparse = scores(detector, observed, torch.tensor([[1.5, 0], [55, 50]]), torch.zeros(2).long())
    assert near_dense > 3
    assert in_sparse < 1.5


def test_bad_settings_are_told(poisoned_system):
    with pytest.raises(UserError, match="neighbours"):
        LocalOutlierFactor(neighbours=0).fit(poisoned_system.model, poisoned_system.clean)
