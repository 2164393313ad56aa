import numpy as np
import pytest
import torch

from theriac.detect.inputs.abstraction import Abstraction
from theriac.detect.inputs.saving import load_detector
from theriac.errors import UserError
from theriac.metrics import auroc


@pytest.fixture(scope="module")
def detector(poisoned_system):
    return Abstraction(steps=200).fit(poisoned_system.model, poisoned_system.clean)


def test_triggered_inputs_score_higher_and_a_saved_detector_agrees(detector, poisoned_system, tmp_path):
    usual, unusual = (
        detector.aggregate(detector.score(data.pixels(slice(0, 150))))
        for data in (poisoned_system.test, poisoned_system.triggered)
    )
    assert float(auroc(torch.cat([usual, unusual]), torch.arange(300) >= 150)) >= 0.99
    detector.save(tmp_path)
    again = load_detector(tmp_path, poisoned_system.model)
    inputs = poisoned_system.triggered.pixels(slice(0, 150))
    assert torch.equal(again.aggregate(again.score(inputs)), unusual)


def two_layers(detector, first, second, predicted):
    """Returns the scores of ``second`` [n, width], when it comes after ``first``."""
    from theriac.detect.inputs.observing import Seen

    return detector._score(Seen({"first": first, "second": second}, predicted, predicted))["second"]


class Pair:
    """Observations of two layers, in memory."""

    layers, batch_size = ("first", "second"), 256

    def __init__(self, model, first, second, predicted):
        from theriac.detect.inputs.observing import Seen

        self.model, self.seen = model, Seen({"first": first, "second": second}, predicted, predicted)

    def __len__(self):
        return len(self.seen)

    def __iter__(self):
        yield self.seen


def test_a_linear_step_is_scored_as_least_squares_says(poisoned_system):
    """Without descent and classes, scores are Mahalanobis distances of the residuals of a linear regression."""
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(400, 4, generator=generator)
    second = first @ torch.randn(4, 3, generator=generator) + 0.3 * torch.randn(400, 3, generator=generator)
    none = torch.zeros(400).long()
    known = Pair(poisoned_system.model, first, second, none)
    detector = Abstraction(conditional=False, steps=0, shrinkage=1e-9).fit_observed(known, known)
    found = two_layers(detector, first, second, none).numpy()
    x, y = (t.double().numpy() - t.double().numpy().mean(0) for t in (first, second))
    residuals = y - x @ np.linalg.lstsq(x, y, rcond=None)[0]
    expected = (residuals @ np.linalg.inv(np.cov(residuals.T)) * residuals).mean(1)
    assert np.corrcoef(found, expected)[0, 1] > 0.995  # a little ridge sets them apart
    assert abs(expected.mean() / found.mean() - 1) < 0.1


def test_an_unusual_mechanism_is_seen_where_no_layer_alone_is_unusual(poisoned_system):
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(1000, 3, generator=generator)
    second = (2 * first).tanh() + 0.05 * torch.randn(1000, 3, generator=generator)
    none = torch.zeros(1000).long()
    known = Pair(poisoned_system.model, first[:600], second[:600], none[:600])
    detector = Abstraction(conditional=False).fit_observed(known, known)
    swapped = torch.cat([second[600:800], second[800:].flip(0)])  # usual values, of other inputs
    scores = two_layers(detector, first[600:], swapped, none[600:])
    assert float(auroc(scores, torch.arange(400) >= 200)) > 0.95


def test_abstractions_cannot_collapse(detector):
    """Maps learned together with the prediction may end in a constant; these vary by 1 in every direction."""
    for layer, known in detector.maps_.items():
        assert len(known["directions"]) > 0, layer
        assert bool((known["directions"].norm(dim=1) > 0).all())
        if layer in detector.layers_[1:]:
            assert float(detector.steps_[layer]["linear"].norm()) > 0


def test_abstractions_of_trusted_rows_are_white(poisoned_system):
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(500, 5, generator=generator) * torch.tensor([1.0, 2, 3, 4, 1e-6])
    none = torch.zeros(500).long()
    known = Pair(poisoned_system.model, rows, rows, none)
    detector = Abstraction(conditional=False, steps=1, size=3).fit_observed(known, known)
    taus = detector._abstract("first", rows).double()
    assert taus.shape == (500, 3)
    assert torch.allclose(taus.T.cov(), torch.eye(3).double(), atol=1e-4)
    assert detector._abstract("second", rows).shape == (500, 4), "the last layer keeps all but its constant direction"


def test_one_layer_is_refused(poisoned_system):
    with pytest.raises(UserError, match="there is one"):
        Abstraction(layers=("net.layer3",)).fit(poisoned_system.model, poisoned_system.clean)
