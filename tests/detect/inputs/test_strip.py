import numpy as np
import pytest
import torch
from scipy.stats import entropy

from theriac.detect.inputs.saving import load_detector
from theriac.detect.inputs.strip import Strip
from theriac.errors import UserError
from theriac.metrics import auroc


@pytest.fixture(scope="module")
def detector(poisoned_system):
    return Strip().fit(poisoned_system.model, poisoned_system.clean)


def test_triggered_inputs_score_higher(detector, poisoned_system):
    usual, unusual = (
        detector.aggregate(detector.score(data.pixels(slice(0, 150))))
        for data in (poisoned_system.test, poisoned_system.triggered)
    )
    assert float(auroc(torch.cat([usual, unusual]), torch.arange(300) >= 150)) >= 0.95


def test_scores_are_the_entropies_of_scipy(detector, poisoned_system):
    images = poisoned_system.test.pixels(slice(0, 6))
    with torch.no_grad():
        predicted = poisoned_system.model(images).argmax(1)
        found = detector.score(images)
    for weight, key in ((0.5, "brightness 0.5"), (1.0, "brightness 1")):
        for k, image in enumerate(images.numpy()):
            mixed = np.minimum(image + weight * detector.references_.numpy() / np.float32(255), 1)
            with torch.no_grad():
                answers = poisoned_system.model(torch.from_numpy(mixed.astype(np.float32))).softmax(1)
            expected = float(detector.usual_[key][predicted[k]]) - entropy(answers.double().numpy(), axis=1).mean()
            assert float(found[key][k]) == pytest.approx(expected, abs=1e-4)


def test_usual_inputs_of_every_class_score_alike(detector, poisoned_system):
    """The paper's one scale for all classes finds the classes that survive superposition."""
    inputs = poisoned_system.test.pixels()
    scores = detector.score(inputs)["brightness 0.5"]
    predicted = poisoned_system.model(inputs).argmax(1)
    means = torch.stack([scores[predicted == k].mean() for k in range(5)])
    entropies = detector.usual_["brightness 0.5"]
    assert float(means.std()) < float(entropies.std())


def test_references_are_trusted_bytes_and_other_sizes_work(detector, poisoned_system, tmp_path):
    assert detector.references_.dtype == torch.uint8
    trusted = poisoned_system.clean.images
    assert all(bool((one == trusted).flatten(1).all(1).any()) for one in detector.references_)
    detector.save(tmp_path)
    again = load_detector(tmp_path, poisoned_system.model)
    large = torch.rand(3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    assert torch.equal(again.aggregate(again.score(large)), detector.aggregate(detector.score(large)))


def test_what_cannot_be_superimposed_is_told(observed, poisoned_system):
    known = observed(torch.randn(60, 4), torch.arange(60) % 2)
    with pytest.raises(UserError, match="lays images"):
        Strip().fit(known.model, known.data)
    for settings in ({"count": 0}, {"weights": ()}, {"weights": (1.0, -1.0)}):
        with pytest.raises(UserError, match="above 0"):
            Strip(**settings).fit(poisoned_system.model, poisoned_system.clean)
