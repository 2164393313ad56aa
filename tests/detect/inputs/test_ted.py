import numpy as np
import pytest
import torch

from theriac.detect.inputs.ted import TopologicalEvolution
from theriac.errors import UserError
from theriac.metrics import auroc

LOG2 = np.log(2)


def clusters(counts, spread=0.3, seed=0):
    """Returns points about (0, 0), (10, 0), (20, 0) … and their classes."""
    classes = torch.cat([torch.full((count,), c) for c, count in enumerate(counts)])
    noise = torch.randn(len(classes), 2, generator=torch.Generator().manual_seed(seed)) * spread
    return noise + torch.stack([classes * 10.0, torch.zeros(len(classes))], 1), classes


def fitted(detector, observed, rows, classes):
    known = observed(rows, classes)
    return detector.fit_observed(known, known)


def scores(detector, observed, rows, classes):
    return torch.cat([detector._score(seen)["ranks"] for seen in observed(rows, classes)]).numpy()


def ranks(queries, given, rows, classes, own=False):
    distances = np.linalg.norm(queries.double().numpy()[:, None] - rows.double().numpy()[None], axis=2)
    if own:
        np.fill_diagonal(distances, np.inf)
    same = given.numpy()[:, None] == classes.numpy()[None]
    nearest = np.where(same, distances, np.inf).min(1, keepdims=True)
    return (distances < nearest).sum(1)


def test_scores_are_whitened_log_ranks(observed):
    rows, classes = clusters([40, 30, 30], spread=6)
    queries, given = clusters([10, 10, 10], spread=8, seed=1)
    detector = fitted(TopologicalEvolution(tube=0), observed, rows, classes)
    usual = np.log1p(ranks(rows, classes, rows, classes, own=True))
    assert usual.max() > 0
    expected = np.log1p(ranks(queries, given, rows, classes)) / np.sqrt((np.mean(usual**2)) + LOG2**2 / 100)
    assert np.allclose(scores(detector, observed, queries, given), expected, rtol=1e-9)


def test_defect_18_ranks_are_conditional_on_the_predicted_class(observed):
    """cupbearer's TED ranks the nearest of all trusted inputs, whatever the model says of the input."""
    rows, classes = clusters([50, 40, 60])
    detector = fitted(TopologicalEvolution(tube=0), observed, rows, classes)
    at_home, called_first, called_last = scores(
        detector, observed, torch.tensor([[10.0, 0.0]]).repeat(3, 1), torch.tensor([1, 0, 2])
    )
    assert at_home == 0
    unit = LOG2 / np.sqrt(150)  # all trusted ranks are 0
    for found, called in ((called_first, 0), (called_last, 2)):
        [rank] = ranks(torch.tensor([[10.0, 0.0]]), torch.tensor([called]), rows, classes)
        assert rank >= 40  # at least those of its true class are nearer
        assert found == pytest.approx(np.log1p(rank) / unit)


def test_defect_18_what_is_kept_is_bounded(observed):
    rows, classes = clusters([300, 300])
    detector = fitted(TopologicalEvolution(references=64), observed, rows, classes)
    assert [len(kept) for kept in detector.rows_.values()] == [64]


def test_the_tube_sees_a_far_off_crowd_beside_its_target_class(observed):
    rows, classes = clusters([50, 50, 50])
    crowd, given = torch.tensor([[30.0, 0.0]]), torch.tensor([2])
    assert scores(fitted(TopologicalEvolution(tube=0), observed, rows, classes), observed, crowd, given)[0] == 0
    with_tube = fitted(TopologicalEvolution(tube=0.5), observed, rows, classes)
    usual = scores(with_tube, observed, *clusters([20, 20, 20], seed=1))
    assert scores(with_tube, observed, crowd, given)[0] > usual.max()
    radii = with_tube.radii_["rest"][:50]
    among = np.linalg.norm(rows[:50, None].numpy() - rows[None, :50].numpy(), axis=2)
    assert np.allclose(radii.numpy(), np.sort(among, 1)[:, 25], rtol=1e-5)  # place 0 is the row itself


def test_equal_rows_and_classes_of_one_have_tubes_too(observed):
    rows, classes = torch.zeros(41, 2), torch.arange(41) // 20
    detector = fitted(TopologicalEvolution(), observed, rows, classes)
    same, other = scores(detector, observed, torch.tensor([[0.0, 0.0], [1.0, 0.0]]), torch.tensor([0, 0]))
    assert same < other < np.inf
    assert np.isfinite(scores(detector, observed, torch.ones(1, 2), torch.tensor([2]))).all()


def test_triggered_inputs_score_higher_and_so_when_loaded_again(poisoned_system, tmp_path):
    detector = TopologicalEvolution().fit(poisoned_system.model, poisoned_system.clean)
    test, triggered = poisoned_system.test.pixels(slice(0, 150)), poisoned_system.triggered.pixels(slice(0, 150))
    usual, unusual = detector.aggregate(detector.score(test)), detector.aggregate(detector.score(triggered))
    assert float(auroc(torch.cat([usual, unusual]), torch.arange(300) >= 150)) >= 0.95
    detector.save(tmp_path / "ted")
    loaded = TopologicalEvolution.load(tmp_path / "ted", poisoned_system.model)
    assert torch.equal(loaded.aggregate(loaded.score(triggered)), unusual)


def test_bad_settings_are_told(poisoned_system):
    with pytest.raises(UserError, match="share"):
        TopologicalEvolution(tube=20).fit(poisoned_system.model, poisoned_system.clean)
