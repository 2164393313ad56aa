import numpy as np
import pytest
import torch
from scipy.special import erf

from theriac.detect.inputs.mahalanobis import Mahalanobis
from theriac.detect.inputs.saving import load_detector
from theriac.detect.inputs.vae import Vae
from theriac.metrics import auroc


@pytest.fixture(scope="module")
def detector(poisoned_system):
    return Vae(steps=200).fit(poisoned_system.model, poisoned_system.clean)


def dense(parts, x):
    for k in range(0, len(parts), 2):
        x = x if k == 0 else x * (1 + erf(x / np.sqrt(2))) / 2
        x = x @ parts[k].double().numpy().T + parts[k + 1].double().numpy()
    return x


@pytest.mark.parametrize("conditional", [False, True])
def test_scores_are_the_bound_worked_out_apart(conditional, observed):
    generator = torch.Generator().manual_seed(0)
    rows, classes = torch.randn(300, 6, generator=generator) * torch.arange(1.0, 7), torch.arange(300) % 3
    known = observed(rows, classes)
    detector = Vae(conditional=conditional, latent=2, hidden=8, steps=60, divergence=0.7).fit_observed(known, known)
    found = torch.cat([detector._score(seen)["rest"] for seen in known]).numpy()
    net = detector.nets_["rest"]
    x = rows.double().numpy()
    centres = np.stack([x[classes == k].mean(0) for k in range(3)])[classes] if conditional else x.mean(0)
    covariance = (x - centres).T @ (x - centres) / (300 - (3 if conditional else 1))
    shrunk = (1 - 1e-3) * covariance + 1e-3 * np.trace(covariance) / 6 * np.eye(6)
    white = np.linalg.solve(np.linalg.cholesky(shrunk), (x - x.mean(0)).T).T
    told = np.eye(3)[classes] if conditional else np.zeros((300, 0))
    mean, log_variance = np.split(dense(net["encoder"], np.hstack([white, told])), 2, axis=1)
    divergence = (mean**2 + np.exp(log_variance) - 1 - log_variance).sum(1) / 2
    rebuilt = dense(net["decoder"], np.hstack([mean, told]))
    misfit = ((white - rebuilt) ** 2 / np.exp(net["log_variance"].numpy())).sum(1) / 2
    assert np.allclose(found, (misfit + 0.7 * divergence) / 6, rtol=1e-4)


def test_it_sees_what_no_covariance_shows(observed):
    generator = torch.Generator().manual_seed(0)
    curve = torch.randn(1200, 1, generator=generator)
    noise = 0.05 * torch.randn(1200, 2, generator=generator)
    rows, none = torch.cat([curve, curve.square()], 1) + noise, torch.zeros(1200).long()
    known = observed(rows[:800], none[:800])
    detector = Vae(latent=1, hidden=32, steps=1000, rate=0.01, divergence=0.1).fit_observed(known, known)
    mixed = rows[800:].clone()
    mixed[200:, 1] = mixed[200:, 1].flip(0)  # each column as before, but they do not belong together
    scores = torch.cat([detector._score(seen)["rest"] for seen in observed(mixed, none[800:])])
    plain = Mahalanobis(conditional=False).fit_observed(known, known)
    distances = torch.cat([plain._score(seen)["rest"] for seen in observed(mixed, none[800:])])
    swapped = torch.arange(400) >= 200
    assert float(auroc(distances, swapped)) < 0.65
    assert float(auroc(scores, swapped)) > 0.75


def test_an_input_always_has_the_same_score(detector, poisoned_system):
    """cupbearer's defect 8: noise was drawn when scoring, two calls differed."""
    inputs = poisoned_system.triggered.pixels(slice(0, 20))
    first, second = detector.score(inputs), detector.score(inputs)
    assert all(torch.equal(first[layer], second[layer]) for layer in first)


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


def test_rows_far_from_all_that_is_known_have_finite_scores(detector, poisoned_system):
    for seen_layer, net in detector.nets_.items():
        rows = torch.full((2, len(net["mean"])), 1e20)
        score = detector._unlikeliness(net, rows, torch.zeros(2).long())
        assert score.isfinite().all(), seen_layer
        assert score.min() > 1e3
