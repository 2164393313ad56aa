import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors as Sklearn
from sklearn.preprocessing import normalize

from theriac.detect.inputs.knn import NearestNeighbours
from theriac.errors import UserError
from theriac.metrics import auroc


@pytest.mark.parametrize("conditional", [False, True])
def test_scores_are_distances_to_the_kth_of_scikit_learn(conditional, observed):
    generator = torch.Generator().manual_seed(0)
    trusted, queries = torch.randn(150, 4, generator=generator), torch.randn(60, 4, generator=generator)
    classes, given = torch.arange(150) % 3, torch.arange(60) % 3
    known = observed(trusted, classes)
    detector = NearestNeighbours(neighbours=7, conditional=conditional).fit_observed(known, known)
    found = torch.cat([detector._score(seen)["rest"] for seen in observed(queries, given)]).numpy()
    for class_ in range(3):
        among = classes == class_ if conditional else torch.ones(150).bool()
        judge = Sklearn(n_neighbors=7).fit(normalize(trusted[among].double().numpy()))
        expected = judge.kneighbors(normalize(queries[given == class_].double().numpy()))[0][:, -1]
        assert np.allclose(found[given.numpy() == class_], expected, rtol=1e-5)


def test_triggered_inputs_score_higher(poisoned_system):
    detector = NearestNeighbours().fit(poisoned_system.model, poisoned_system.clean)
    usual, unusual = (
        detector.aggregate(detector.score(data.pixels(slice(0, 150))))
        for data in (poisoned_system.test, poisoned_system.triggered)
    )
    labels = torch.arange(300) >= 150
    assert float(auroc(torch.cat([usual, unusual]), labels)) >= 0.95


def test_bad_settings_are_told(poisoned_system):
    with pytest.raises(UserError, match="neighbours"):
        NearestNeighbours(neighbours=0).fit(poisoned_system.model, poisoned_system.clean)
