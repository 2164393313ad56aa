import copy

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch.func import functional_call

from theriac.detect.inputs.finetuning import Finetuning
from theriac.detect.inputs.saving import RECORD, load_detector
from theriac.errors import Refused, UserError
from theriac.metrics import auroc


@pytest.fixture(scope="module")
def fine(poisoned_system):
    """The detector, and what the model was before it was fitted, left in a mode of its own."""
    model = copy.deepcopy(poisoned_system.model)
    model.train()
    model.net.layer2.eval()
    for parameter in model.net.layer1.parameters():
        parameter.requires_grad_(False)
    before = copy.deepcopy(model)
    return Finetuning().fit(model, poisoned_system.clean), before


def test_triggered_inputs_score_higher(fine, poisoned_system):
    detector, _ = fine
    usual, unusual = (
        detector.aggregate(detector.score(data.pixels(slice(0, 150))))
        for data in (poisoned_system.test, poisoned_system.triggered)
    )
    assert float(auroc(torch.cat([usual, unusual]), torch.arange(300) >= 150)) >= 0.95


def test_scores_are_the_divergence_of_scipy(fine, poisoned_system):
    detector, before = fine
    pixels = poisoned_system.triggered.pixels(slice(0, 10))
    before = copy.deepcopy(before).eval()
    with torch.no_grad():
        original = softmax(before(pixels).double().numpy(), 1)
        tuned = softmax(functional_call(before, detector.tuned_, (pixels,)).double().numpy(), 1)
    found = detector.score(pixels)["output"].numpy()
    assert np.allclose(found, rel_entr(original, tuned).sum(1), rtol=1e-4, atol=1e-9)


def test_the_model_stays_as_it_was(fine, poisoned_system):
    """cupbearer's defect 9: models were left in training mode and their statistics changed."""
    detector, before = fine
    detector.score(poisoned_system.clean.pixels(slice(0, 10)))
    now, then = detector.model_.state_dict(), before.state_dict()
    assert all(torch.equal(now[name], then[name]) for name in then)
    assert [m.training for m in detector.model_.modules()] == [m.training for m in before.modules()]
    assert [p.requires_grad for p in detector.model_.parameters()] == [p.requires_grad for p in before.parameters()]
    assert all(parameter.grad is None for parameter in detector.model_.parameters())


def test_every_step_learns_from_fresh_batches(poisoned_system):
    """cupbearer's defect 13: only the first epoch trained, because its iterator was used up."""
    after = [Finetuning(steps=steps).fit(poisoned_system.model, poisoned_system.clean[::3]).tuned_ for steps in (1, 10)]
    counted = [int(tuned["net.bn1.num_batches_tracked"]) for tuned in after]
    assert counted[1] - counted[0] == 9, "10 steps of 64 are more than ten epochs of these 50 inputs"


def test_a_saved_detector_scores_the_same_and_damage_is_seen(fine, poisoned_system, tmp_path):
    detector, _ = fine
    detector.save(tmp_path)
    again = load_detector(tmp_path, detector.model_)
    inputs = poisoned_system.triggered.pixels(slice(0, 10))
    assert torch.equal(again.score(inputs)["output"], detector.score(inputs)["output"])
    text = (tmp_path / RECORD).read_text()
    (tmp_path / RECORD).write_text(text.replace('"net.conv1.weight"', '"net.nowhere"', 1))
    with pytest.raises(Refused, match="damaged"):
        load_detector(tmp_path, detector.model_)


def test_what_holds_no_images_is_told(observed):
    known = observed(torch.randn(60, 4), torch.arange(60) % 2)
    with pytest.raises(UserError, match="labelled images"):
        Finetuning().fit(known.model, known.data)
