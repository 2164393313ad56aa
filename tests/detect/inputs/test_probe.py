from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from theriac.detect.inputs.observing import Observations, gather
from theriac.detect.inputs.probe import Probe
from theriac.detect.inputs.saving import load_detector
from theriac.errors import UserError
from theriac.metrics import auroc


def mixture(system):
    usual, unusual = system.test[:100], system.triggered[:40]
    images, labels = torch.cat([usual.images, unusual.images]), torch.cat([usual.labels, unusual.labels])
    return replace(usual, images=images, labels=labels), torch.arange(140) >= 100


@pytest.fixture(scope="module")
def detector(poisoned_system):
    return Probe().fit(poisoned_system.model, poisoned_system.clean, *mixture(poisoned_system))


def test_it_is_the_best_that_can_be_known(detector, poisoned_system):
    usual, unusual = (
        detector.aggregate(detector.score(data.pixels(slice(110, 260))))
        for data in (poisoned_system.test, poisoned_system.triggered)
    )
    assert float(auroc(torch.cat([usual, unusual]), torch.arange(300) >= 150)) >= 0.999


def test_all_layers_and_the_scaler_are_used_and_saved(detector, poisoned_system, tmp_path):
    """cupbearer's defect 15: one layer only, and the scaler was not saved."""
    assert len(detector.layers_) > 3
    assert all(float(detector.weights_[layer].abs().sum()) > 0 for layer in detector.layers_)
    detector.save(tmp_path)
    again = load_detector(tmp_path, poisoned_system.model)
    inputs = poisoned_system.triggered.pixels(slice(0, 30))
    assert torch.equal(again.score(inputs)["all layers"], detector.score(inputs)["all layers"])


def test_scores_are_the_logits_of_scikit_learn(poisoned_system):
    layers = ("net.layer2", "net.layer3")
    data, anomalous = mixture(poisoned_system)
    model, trusted = poisoned_system.model, poisoned_system.clean
    known, held, mixed = (Observations(model, part, layers) for part in (trusted[::2], trusted[1::2], data))
    detector = Probe(strength=0.003, layers=layers).fit_observed(known, held, mixed, anomalous)
    wide = [torch.cat([gather(part).rows[layer] for layer in layers], 1).double().numpy() for part in (known, mixed)]
    scaler = StandardScaler().fit(wide[0])
    x = np.clip(np.concatenate([scaler.transform(part) for part in wide]), -20, 20)
    y = np.concatenate([np.zeros(len(known), bool), anomalous.numpy()])
    judge = LogisticRegression(C=0.003, class_weight="balanced", max_iter=1000).fit(x, y)
    expected = judge.decision_function(x[len(known) :])
    found = torch.cat([detector._score(seen)["all layers"] for seen in mixed]).numpy()
    assert np.allclose(found, expected, atol=0.02)  # the scaler's n or n - 1


def test_it_must_be_told_the_anomalies(poisoned_system):
    data, anomalous = mixture(poisoned_system)
    model, trusted = poisoned_system.model, poisoned_system.clean
    with pytest.raises(UserError, match="must be told"):
        Probe().fit(model, trusted, data)
    with pytest.raises(UserError, match="untrusted inputs too"):
        Probe().fit(model, trusted)
    with pytest.raises(UserError, match="mark every"):
        Probe().fit(model, trusted, data, anomalous[:-1])
    with pytest.raises(UserError, match="mark every"):
        Probe().fit(model, trusted, data, torch.zeros(140, dtype=torch.bool))
