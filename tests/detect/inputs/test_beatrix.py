import numpy as np
import pytest
import torch

from theriac.detect.inputs.beatrix import FLOOR, OFFSET, Beatrix, bounds, deviations
from theriac.errors import UserError
from theriac.metrics import auroc


def fitted(observed, rows, classes, **settings):
    known = observed(rows, classes, "rest@places:4")
    return Beatrix(**settings).fit_observed(known, known)


def scores(detector, observed, rows, classes):
    seen = observed(rows, classes, "rest@places:4")
    return torch.cat([detector._score(part)["rest@places:4"] for part in seen]).numpy()


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(120) % 2
    rows = torch.randn(120, 5, generator=generator) + torch.tensor([1.0, 3.0])[classes, None]
    return rows, classes


def test_gram_matrices_are_the_papers():
    detector = Beatrix(powers=3)
    detector.scales_ = {"layer": torch.tensor(1.0)}
    maps = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0))
    found = detector._grams("layer", maps).numpy()
    for k, x in enumerate(maps.double().numpy()):
        expected = []
        for power in (1, 2, 3):
            gram = (x**power) @ (x**power).T
            expected += list((np.sign(gram) * np.abs(gram) ** (1 / power))[np.triu_indices(3)])
        assert np.allclose(found[k], expected, rtol=1e-4)


def paper_deviation(grams, known, k, floor):
    """The paper's deviation of each row of grams from the bounds that the rows of known set, floor added."""
    median = np.quantile(known, 0.5, axis=0, method="lower")
    mad = np.quantile(abs(known - median), 0.5, axis=0, method="lower")
    low, high = median - k * mad, median + k * mad
    below, above = (low - grams).clip(0) / (abs(low) + floor), (grams - high).clip(0) / (abs(high) + floor)
    return (below + above).mean(1)


def test_scores_are_deviations_from_the_bounds_of_the_predicted_class(observed, sample):
    rows, classes = sample
    detector = fitted(observed, rows, classes, powers=1)
    queries, given = torch.randn(30, 5, generator=torch.Generator().manual_seed(1)) * 2, torch.arange(30) % 2
    scale = np.sqrt((rows.double().numpy() ** 2).mean())
    pairs = np.triu_indices(5)

    def grams(x):
        x = x.double().numpy() / scale
        return (x[:, :, None] * x[:, None, :])[:, pairs[0], pairs[1]]

    found = scores(detector, observed, queries, given)
    floor = FLOOR * abs(grams(rows)).mean()
    for class_ in (0, 1):
        known = grams(rows[classes == class_])
        folds = known[::2], known[1::2]
        usual = np.concatenate([paper_deviation(a, b, 1.5, floor) for a, b in (folds, folds[::-1])]).mean()
        expected = paper_deviation(grams(queries[given == class_]), known, 1.5, floor)
        unit = expected / (found[given.numpy() == class_] - OFFSET)
        assert np.allclose(unit, unit[0], rtol=1e-4)
        assert unit[0] == pytest.approx(usual, rel=0.3)  # its folds are drawn at random


def test_a_class_with_too_few_inputs_is_compared_with_all(observed, sample):
    rows, classes = sample
    rare = torch.where(torch.arange(120) < 4, 2, classes)
    detector = fitted(observed, rows, rare)
    assert detector.places_.tolist() == [1, 2, 0]
    assert np.isfinite(scores(detector, observed, rows, rare)).all()


def test_defect_17_bounds_near_zero_do_not_decide(observed):
    """cupbearer divides by |bound|: one entry whose bound is next to 0 outweighs all others."""
    grams = torch.tensor([[-0.1], [0.0], [0.1]]) + torch.tensor([0.1, 50.0])
    limits = bounds(grams, 1, torch.tensor(1.0))
    assert torch.allclose(limits[:2, 0], torch.tensor([0.0, 0.2]), atol=1e-6)
    slightly_below, far_above = deviations(torch.tensor([[-1e-3, 50.0], [0.1, 100.0]]), limits[:, None]).tolist()
    assert slightly_below == pytest.approx(5e-4, rel=1e-2)
    assert far_above > 100 * slightly_below


def test_defect_17_deviations_are_conditional_on_the_predicted_class(observed, sample):
    rows, classes = sample
    detector = fitted(observed, rows, classes)
    right, wrong = (scores(detector, observed, rows, given) for given in (classes, 1 - classes))
    assert (wrong > right).mean() > 0.9


def test_defect_17_wide_layers_stay_small(observed):
    generator = torch.Generator().manual_seed(0)
    rows, classes = torch.randn(60, 4096, generator=generator), torch.arange(60) % 2
    detector = fitted(observed, rows, classes)
    assert detector.bounds_["rest@places:4"].shape == (4, 3, 2 * 32 * 33 // 2)  # not 8.4 million entries
    projection = detector.projections_["rest@places:4"]
    assert torch.allclose(projection.T @ projection, torch.eye(32), atol=1e-5)


@pytest.mark.parametrize("factor", [0.0, 1e-12, 1e12])
def test_any_magnitude_gives_finite_scores(factor, observed, sample):
    rows, classes = sample
    detector = fitted(observed, rows * factor, classes, powers=8)
    found = scores(detector, observed, torch.cat([rows * factor, rows * 1e3]), torch.cat([classes, classes]))
    assert np.isfinite(found).all()
    assert all(values.isfinite().all() for values in detector.bounds_.values())
    if factor:
        plain = fitted(observed, rows, classes, powers=8)
        assert np.allclose(found[:120], scores(plain, observed, rows, classes), rtol=1e-3)


def test_defect_17_triggered_inputs_of_a_cnn_score_higher(poisoned_system, tmp_path):
    """cupbearer's Beatrix is inverted on CNNs: AUROC .32 to .34."""
    detector = Beatrix().fit(poisoned_system.model, poisoned_system.clean)
    assert all(layer.endswith("@places:16") for layer in detector.layers_)
    test, triggered = poisoned_system.test.pixels(slice(0, 150)), poisoned_system.triggered.pixels(slice(0, 150))
    usual, unusual = detector.score(test), detector.score(triggered)
    labels = torch.arange(300) >= 150
    assert float(auroc(torch.cat([detector.aggregate(usual), detector.aggregate(unusual)]), labels)) >= 0.95
    detector.save(tmp_path / "beatrix")
    loaded = Beatrix.load(tmp_path / "beatrix", poisoned_system.model)
    assert torch.equal(loaded.aggregate(loaded.score(triggered)), detector.aggregate(unusual))


def test_bad_settings_are_told(poisoned_system):
    for settings in ({"powers": 0}, {"width": 0.0}, {"per_class": 1}, {"channels": 0}):
        with pytest.raises(UserError, match="must be positive"):
            Beatrix(**settings).fit(poisoned_system.model, poisoned_system.clean)
