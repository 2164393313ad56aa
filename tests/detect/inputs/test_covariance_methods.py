"""Methods of means and covariances against numpy, scipy and scikit-learn, on rows of numbers."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.linalg import expm
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from torch import nn

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.likelihood_ratio import LikelihoodRatio, chance_edge
from theriac.detect.inputs.mahalanobis import Mahalanobis
from theriac.detect.inputs.observing import Observations
from theriac.detect.inputs.quantum_entropy import QuantumEntropy
from theriac.detect.inputs.saving import load_detector
from theriac.detect.inputs.spectral_signature import SpectralSignature
from theriac.detect.shrinkage import whitening_of
from theriac.detect.statistics import ClassMoments
from theriac.errors import UserError

LAYER = "answer:input"
FAMILY = [Mahalanobis, SpectralSignature, QuantumEntropy, LikelihoodRatio]


@dataclass(frozen=True)
class Rows:
    """Rows of numbers as inputs."""

    rows: torch.Tensor
    name: str = "rows"
    sha256: str = "0" * 64

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return replace(self, rows=self.rows[index])

    def batches(self, size=256, device="cpu"):
        for part in self.rows.split(size):
            yield part.to(device), torch.zeros(len(part), dtype=torch.int64)


class Linear(nn.Module):
    """A model whose classes are given by which of its first inputs is largest."""

    name = "linear"
    device = torch.device("cpu")

    def __init__(self, width, classes):
        super().__init__()
        self.classes = [str(c) for c in range(classes)]
        self.answer = nn.Linear(width, max(classes, 1), bias=False)
        with torch.no_grad():
            self.answer.weight.copy_(torch.eye(max(classes, 1), width))

    def head(self):
        return "answer", self.answer

    def forward(self, rows):
        return self.answer(rows)


def draw(n, width, seed, *, classes=3):
    """Returns rows about a mean of their class, with variances from 0.01 to 4, and turned."""
    generator = torch.Generator().manual_seed(seed)
    turn = torch.linalg.qr(torch.randn(width, width, generator=torch.Generator().manual_seed(9)))[0]
    rows = torch.randn(n, width, generator=generator) * torch.logspace(-1, 0.3, width) @ turn
    if classes > 1:
        rows[torch.arange(n), torch.arange(n) % classes] += 15
    return rows


def fitted(method, trusted, held, untrusted=None, *, classes=3, model=None):
    model = model or Linear(trusted.shape[1], classes)
    sets = [None if rows is None else Observations(model, Rows(rows), (LAYER,)) for rows in (trusted, held, untrusted)]
    return method.fit_observed(*sets)


def parts(rows, classes=3):
    """Returns class means, rows less their class's mean, and classes, in numpy and float64."""
    x = rows.double().numpy()
    y = x[:, :classes].argmax(1)
    means = np.stack([x[y == c].mean(0) for c in range(classes)])
    return means, x - means[y], y


def toward_identity(covariance, weight):
    return (1 - weight) * covariance + weight * np.trace(covariance) / len(covariance) * np.eye(len(covariance))


def anomaly_auroc(detector, usual, unusual):
    scores = [detector.aggregate(detector.score(rows)) for rows in (usual, unusual)]
    return roc_auc_score([0] * len(usual) + [1] * len(unusual), torch.cat(scores))


def test_mahalanobis_is_the_distance_to_the_predicted_class():
    trusted, new = draw(600, 12, 0), draw(50, 12, 1) * 1.1
    detector = fitted(Mahalanobis(shrinkage=0.01), trusted, draw(100, 12, 2))
    means, about, _ = parts(trusted)
    precision = np.linalg.inv(toward_identity(about.T @ about / (600 - 3), 0.01))
    away = new.double().numpy() - means[parts(new)[2]]
    known = np.einsum("bi,ij,bj->b", away, precision, away) / 12
    assert np.allclose(detector.score(new)[LAYER], known, rtol=1e-4)


def test_relative_distance_is_that_of_ren_et_al():
    """Defect 4: it is class distance less background distance, both with full covariances, both shrunk alike."""
    trusted, new = draw(600, 12, 0), draw(50, 12, 1)
    detector = fitted(Mahalanobis(shrinkage=0.01, relative=True), trusted, draw(100, 12, 2))
    means, about, _ = parts(trusted)
    x, z = trusted.double().numpy(), new.double().numpy()
    inner = np.linalg.inv(toward_identity(about.T @ about / (600 - 3), 0.01))
    outer = np.linalg.inv(toward_identity(np.cov(x.T), 0.01))
    away, back = z - means[parts(new)[2]], z - x.mean(0)
    known = np.einsum("bi,ij,bj->b", away, inner, away) - np.einsum("bi,ij,bj->b", back, outer, back)
    assert np.allclose(detector.score(new)[LAYER], known / 12, rtol=1e-3, atol=1e-4)
    assert (detector.score(new)[LAYER] < 0).any()
    with pytest.raises(UserError, match="compare one class with all"):
        Mahalanobis(relative=True, conditional=False)


def test_much_shrinkage_does_not_drown_the_distance():
    """Defect 4: with ``trace(C) I`` as target a shrinkage of 0.1 left no more than the Euclidean distance."""
    trusted, new = draw(2000, 60, 0, classes=1), draw(400, 60, 1, classes=1)
    quiet = torch.linalg.eigh(trusted.T.cov())[1][:, :20]
    detector = fitted(Mahalanobis(shrinkage=0.1), trusted, draw(200, 60, 2, classes=1), classes=0)
    unusual = draw(400, 60, 3, classes=1) + quiet.sum(1) * 0.4
    assert anomaly_auroc(detector, new, unusual) > 0.99
    covariance = trusted.double().T.cov()
    drowned = torch.linalg.inv(0.9 * covariance + 0.1 * covariance.trace() * torch.eye(60))
    away = torch.cat([new, unusual]).double() - trusted.double().mean(0)
    assert roc_auc_score([0] * 400 + [1] * 400, ((away @ drowned) * away).sum(1)) < 0.9


@pytest.fixture(scope="module")
def digits():
    """Real pictures with pixels that are always black, and the same with one of these switched on."""
    pixels = torch.tensor(load_digits().data).float() / 16
    dark = (pixels.std(0) == 0).nonzero()[0, 0]
    triggered = pixels[1200:].clone()
    triggered[:, dark] = 0.5
    return pixels[:600], pixels[600:1200], pixels[1200:], triggered


@pytest.mark.parametrize(
    ("settings", "trusted", "least"),
    [
        ({}, 600, 0.99),
        ({"shrinkage": "oas"}, 600, 0.99),
        ({"shrinkage": 1e-3}, 600, 0.99),
        ({"shrinkage": 0.2}, 600, 0.7),
        ({"shrinkage": 0.2, "residual": True}, 600, 0.99),
        ({"shrinkage": 1e-3}, 50, 0.95),  # fewer inputs than pixels
        ({"residual": True}, 50, 0.95),
    ],
)
def test_a_trigger_where_trusted_inputs_never_vary_is_seen(digits, settings, trusted, least):
    """Defect 5: the pseudo-inverse drops directions without variance, also where there are fewer inputs than pixels."""
    known, held, usual, triggered = digits
    detector = fitted(Mahalanobis(**settings), known[:trusted], held, classes=0)
    assert anomaly_auroc(detector, usual, triggered) > least
    inverse = np.linalg.pinv(np.cov(known.double().numpy().T), rcond=1e-5)
    blind = [np.einsum("bi,ij,bj->b", x, inverse, x) for x in ((usual - known.mean(0)), (triggered - known.mean(0)))]
    assert roc_auc_score([0] * len(usual) + [1] * len(usual), np.concatenate(blind)) < 0.55


def test_the_residual_is_added(digits):
    known, held, _, triggered = digits
    plain, detector = (fitted(Mahalanobis(residual=on), known, held, classes=0) for on in (False, True))
    added = detector.score(triggered)[LAYER] - plain.score(triggered)[LAYER]
    values, vectors = np.linalg.eigh(np.cov(known.double().numpy().T))
    limit = 1e-3 * values.mean()
    away = triggered.double().numpy() - known.double().numpy().mean(0)
    assert np.allclose(added, np.square(away @ vectors[:, values < limit]).sum(1) / limit / 64, rtol=1e-2)


def test_wide_layers_are_sketched_and_scored_as_exactly():
    """A layer of 5,000: with fewer inputs than the sketch has columns it misses nothing (Woodbury's identity)."""
    generator = torch.Generator().manual_seed(0)
    basis = torch.randn(30, 5000, generator=generator)
    trusted, held, new = (
        torch.randn(n, 30, generator=generator) @ basis + 0.1 * torch.randn(n, 5000, generator=generator)
        for n in (200, 40, 20)
    )
    detector = fitted(Mahalanobis(shrinkage=0.1), trusted, held, classes=0)
    assert set(detector.whitening_[LAYER]) == {"basis", "gain", "rest"}
    assert detector.whitening_[LAYER]["basis"].numel() < 5000**2 / 10
    x = (trusted - trusted.mean(0)).double().numpy() / np.sqrt(199)
    away = (new - trusted.mean(0)).double().numpy()
    least = 0.1 * np.square(x).sum() / 5000
    inner = np.linalg.inv(np.eye(200) * least / 0.9 + x @ x.T)
    known = (np.square(away).sum(1) - np.einsum("bi,ij,bj->b", away @ x.T, inner, away @ x.T)) / least / 5000
    assert np.allclose(detector.score(new)[LAYER], known, rtol=1e-2)


@pytest.mark.parametrize("method", FAMILY)
def test_the_whole_family_works_on_wide_layers_and_few_inputs(method, tmp_path):
    generator = torch.Generator().manual_seed(0)
    usual = torch.randn(700, 4200, generator=generator) * torch.linspace(0.1, 1, 4200)
    untrusted = usual[400:].clone()
    shift = torch.randn(4200, generator=generator) * 0.3
    untrusted[::5] += shift
    model = Linear(4200, 2)
    detector = fitted(method(), usual[:200], usual[200:400], untrusted, model=model)
    assert anomaly_auroc(detector, usual[400:500], usual[500:600] + shift) > 0.95
    detector.save(tmp_path / "saved")
    again = load_detector(tmp_path / "saved", model)
    assert torch.equal(again.score(untrusted)[LAYER], detector.score(untrusted)[LAYER])


def whitened(trusted, rows, weight, classes=3):
    """Returns ``rows`` made white by what class means and covariance of ``trusted`` are, by numpy."""
    means, about, _ = parts(trusted, classes)
    values, vectors = np.linalg.eigh(toward_identity(about.T @ about / (len(trusted) - classes), weight))
    return (rows.double().numpy() - means[parts(rows, classes)[2]]) @ vectors / np.sqrt(values)


def test_quantum_entropy_is_that_of_spectre():
    """Defect 2: the untrusted second moment is that of whitened activations, as the scored ones are."""
    trusted, untrusted, new = draw(600, 12, 0), draw(400, 12, 1) * 1.05, draw(50, 12, 2)
    untrusted[::20, 7] += 2
    detector = fitted(QuantumEntropy(shrinkage=0.01, alpha=3.0), trusted, draw(100, 12, 3), untrusted)
    h, u = whitened(trusted, new, 0.01), whitened(trusted, untrusted, 0.01)
    second = u.T @ u / len(u)
    q = expm(3.0 * (second - np.eye(12)) / (np.linalg.norm(second, 2) - 1))
    known = np.einsum("bi,ij,bj->b", h, q, h) / np.trace(q)
    assert np.allclose(detector.score(new)[LAYER], known, rtol=1e-3)


def test_quantum_entropy_per_class_leans_on_all_where_there_are_few():
    trusted, untrusted, new = draw(600, 12, 0), draw(400, 12, 1), draw(50, 12, 2)
    untrusted[::21, 7] += 2  # of all three classes
    detector = fitted(QuantumEntropy(shrinkage=0.01, per_class=True), trusted, draw(100, 12, 3), untrusted)
    h, u = whitened(trusted, new, 0.01), whitened(trusted, untrusted, 0.01)
    given, known = parts(untrusted)[2], []
    for row, c in zip(h, parts(new)[2], strict=True):
        own = u[given == c]
        second = (own.T @ own + 12 * u.T @ u / len(u)) / (len(own) + 12)
        q = expm(4.0 * (second - np.eye(12)) / (np.linalg.norm(second, 2) - 1))
        known.append(row @ q @ row / np.trace(q))
    assert np.allclose(detector.score(new)[LAYER], known, rtol=1e-3)


def test_quantum_entropy_finds_what_varies_little():
    """Defect 2: without whitening, the directions in which everything varies most drown the poison."""
    trusted, held, usual = (draw(n, 40, seed, classes=1) * 3 for n, seed in ((2000, 0), (500, 1), (1000, 2)))
    quiet = torch.linalg.eigh(trusted.T.cov())[1][:, 0]
    unusual = draw(500, 40, 3, classes=1) * 3 + 2 * quiet
    untrusted = torch.cat([draw(950, 40, 4, classes=1) * 3, unusual[:50]])
    detector = fitted(QuantumEntropy(), trusted, held, untrusted, classes=0)
    assert anomaly_auroc(detector, usual, unusual[50:]) > 0.99
    raw = untrusted.T.cov()
    away = torch.cat([usual, unusual]) - trusted.mean(0)
    white = away @ torch.linalg.inv(torch.linalg.cholesky(trusted.T.cov())).T
    mixed = ((white @ torch.matrix_exp(4 * raw / torch.linalg.matrix_norm(raw, 2))) * white).sum(1)
    assert roc_auc_score([0] * 1000 + [1] * 500, mixed) < 0.9


@pytest.mark.parametrize("settings", [{}, {"per_class": True}, {"conditional": False}])
def test_quantum_entropy_is_saved_whole(settings, tmp_path):
    """Defect 3: what untrusted inputs look like was not saved, so that a loaded detector could not score."""
    untrusted = draw(400, 12, 1)
    untrusted[::20, 7] += 2
    model = Linear(12, 3)
    detector = fitted(QuantumEntropy(**settings), draw(600, 12, 0), draw(100, 12, 3), untrusted, model=model)
    detector.save(tmp_path / "saved")
    again = load_detector(tmp_path / "saved", model)
    assert again == detector
    assert torch.equal(again.score(untrusted)[LAYER], detector.score(untrusted)[LAYER])


def test_quantum_entropy_of_the_same_inputs_alarms_nobody():
    """Nothing stands out: the largest excess variance may even be negative."""
    trusted = draw(600, 12, 0)
    detector = fitted(QuantumEntropy(), trusted, draw(200, 12, 1), trusted * 0.9)
    assert detector.predict(draw(500, 12, 2)).float().mean() < 0.05
    with pytest.raises(UserError, match="negative"):
        QuantumEntropy(alpha=-1)


def test_the_likelihood_ratio_is_that_of_two_normal_distributions():
    trusted, untrusted, new = draw(600, 12, 0), draw(400, 12, 1) * 1.05, draw(50, 12, 2)
    untrusted[::20, 7] += 2
    detector = fitted(LikelihoodRatio(shrinkage=0.01), trusted, draw(100, 12, 3), untrusted)
    h, u = whitened(trusted, new, 0.01), whitened(trusted, untrusted, 0.01)
    values, vectors = np.linalg.eigh(np.cov(u.T))
    assert 1 <= (values > chance_edge(12, 399, 597)).sum() < 6, "some variances count and some are chance"
    values[values < chance_edge(12, 399, 597)] = 1
    covariance = vectors * values @ vectors.T
    length, noise = np.square(u.mean(0)).sum(), np.trace(np.cov(u.T)) * (1 / 399 + 1 / 597)
    assert length > 2 * noise
    mean = u.mean(0) * (1 - noise / length)
    known = multivariate_normal(mean, covariance).logpdf(h) - multivariate_normal(np.zeros(12)).logpdf(h)
    assert np.allclose(detector.score(new)[LAYER], known, rtol=1e-3, atol=1e-3)


def test_few_untrusted_inputs_are_not_taken_for_anomalies():
    """With hardly more inputs than features, the likeliest normal distribution fits whatever they are."""
    trusted, held, untrusted, usual = (draw(n, 100, k, classes=1) for k, n in enumerate((2000, 500, 120, 500)))
    detector = fitted(LikelihoodRatio(), trusted, held, untrusted, classes=0)
    assert detector.predict(untrusted).float().mean() < 0.05
    assert detector.predict(usual).float().mean() < 0.05
    seen = ClassMoments(1, 100).update(torch.from_numpy(whitened(trusted, untrusted, 1e-6, classes=1)))
    known = multivariate_normal(seen.means[0], seen.covariance()).logpdf
    fit, new = (
        known(h) - multivariate_normal(np.zeros(100)).logpdf(h)
        for h in (whitened(trusted, rows, 1e-6, classes=1) for rows in (untrusted, usual))
    )
    assert fit.min() > new.max()


def test_chance_is_what_two_samples_of_one_distribution_show():
    for width, rows, trusted in ((50, 200, 400), (100, 400, 10_000), (60, 50, 300)):
        usual = ClassMoments(1, width).update(draw(trusted, width, 1, classes=1))
        h = draw(rows, width, 2, classes=1) @ whitening_of(usual, 1e-6)[0]["matrix"].T
        largest = float(torch.linalg.eigvalsh(h.T.cov())[-1])
        assert 0.8 * chance_edge(width, rows, trusted) < largest < chance_edge(width, rows, trusted)


def test_the_spectral_signature_is_that_of_tran_et_al_within_predicted_classes():
    trusted, untrusted = draw(600, 12, 0), draw(400, 12, 1)
    untrusted[::20, 7] += 6
    detector = fitted(SpectralSignature(centre="untrusted"), trusted, draw(100, 12, 3), untrusted)
    _, about, given = parts(untrusted)
    scores = detector.score(untrusted)[LAYER].numpy()
    for c in range(3):
        direction = np.linalg.svd(about[given == c], full_matrices=False)[2][0]
        along = np.square(about[given == c] @ direction)
        _, spread, classes = parts(trusted)
        own, every = np.square(spread[classes == c] @ direction), detector.scales_[LAYER][c]
        assert np.allclose(scores[given == c] * float(every), along, rtol=1e-3, atol=1e-5)
        assert float(every) == pytest.approx(own.mean(), rel=0.2)  # it leans a little on all classes'


def test_the_spectral_signature_is_that_of_a_class():
    """1.13: over all classes together the main direction is between classes and says nothing of poison."""
    trusted, held, usual, untrusted = (draw(n, 12, k) for k, n in enumerate((900, 300, 300, 900)))
    target = untrusted[:, :3].argmax(1) == 0
    poisoned = target & (torch.arange(900) % 4 == 0)
    untrusted[poisoned, 8] += 6
    unusual = draw(300, 12, 7)
    unusual = unusual[unusual[:, :3].argmax(1) == 0]
    unusual[:, 8] += 6
    for centre, least in (("trusted", 0.95), ("untrusted", 0.8)):
        detector = fitted(SpectralSignature(centre=centre), trusted, held, untrusted)
        assert anomaly_auroc(detector, usual, unusual) > least
    main = torch.linalg.eigh(untrusted.T.cov())[1][:, -1]
    everywhere = ((torch.cat([usual, unusual]) - untrusted.mean(0)) @ main).square()
    assert roc_auc_score([0] * len(usual) + [1] * len(unusual), everywhere) < 0.7


@pytest.mark.parametrize("method", FAMILY)
def test_classes_that_no_trusted_input_is_given_to(method):
    trusted, held, untrusted = draw(300, 12, 0), draw(100, 12, 1), draw(200, 12, 2)
    trusted = trusted[trusted[:, :3].argmax(1) > 0]
    untrusted = untrusted[untrusted[:, :3].argmax(1) < 2]
    detector = fitted(method(), trusted, held, untrusted)
    assert detector.aggregate(detector.score(draw(60, 12, 3))).isfinite().all()


@pytest.mark.parametrize("method", [SpectralSignature, QuantumEntropy, LikelihoodRatio])
def test_untrusted_inputs_are_asked_for(method):
    assert issubclass(method, LayerDetector)
    with pytest.raises(UserError, match="needs untrusted inputs"):
        method().fit(Linear(12, 3), Rows(draw(100, 12, 0)))
