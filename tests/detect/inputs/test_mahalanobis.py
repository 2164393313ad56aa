from dataclasses import replace

import pytest
import torch

from theriac.detect.inputs.mahalanobis import Mahalanobis
from theriac.detect.inputs.stream import conformal_threshold, probability_of_anomalies
from theriac.errors import UserError
from theriac.finding import Histogram, RankedExamples, SuspectedClasses
from theriac.metrics import auroc
from theriac.run.budget import Budget


@pytest.fixture(scope="module")
def detector(poisoned_system):
    return Mahalanobis().fit(poisoned_system.model, poisoned_system.clean)


def scan(detector, inputs):
    return detector.scan(inputs, budget=Budget(), generator=torch.Generator().manual_seed(0))


def values(detector, data):
    return scan(detector, data).scores.values


def test_triggered_inputs_score_higher(detector, poisoned_system):
    usual, unusual = values(detector, poisoned_system.test), values(detector, poisoned_system.triggered)
    labels = torch.cat([torch.zeros(len(usual)), torch.ones(len(unusual))]).bool()
    assert float(auroc(torch.cat([usual, unusual]), labels)) >= 0.95


def test_clean_streams_are_clean_and_mixed_ones_are_not(detector, poisoned_system):
    clean = scan(detector, poisoned_system.test)
    assert clean.finding.verdict != "poisoned"
    assert clean.scores.suspected.float().mean() < 0.05
    test, triggered = poisoned_system.test[:200], poisoned_system.triggered[:50]
    images, labels = torch.cat([test.images, triggered.images]), torch.cat([test.labels, triggered.labels])
    mixed = scan(detector, replace(test, images=images, labels=labels))
    assert mixed.finding.verdict == "poisoned"
    [suspected] = [e for e in mixed.finding.evidence if isinstance(e, SuspectedClasses)]
    assert suspected.target == poisoned_system.target
    [ranked] = [e for e in mixed.finding.evidence if isinstance(e, RankedExamples)]
    assert min(example.row for example in ranked.examples) >= 200
    [histogram] = [e for e in mixed.finding.evidence if isinstance(e, Histogram)]
    assert histogram.threshold == pytest.approx(detector.threshold_, abs=1e-4)
    assert sum(histogram.series["inputs"]) == 250


@pytest.mark.parametrize("settings", [{"combine": "max"}, {"conditional": False}, {"layers": ("net.layer3",)}])
def test_variants_work_and_are_recorded(settings, poisoned_system):
    variant = Mahalanobis(**settings).fit(poisoned_system.model, poisoned_system.clean)
    finding = scan(variant, poisoned_system.triggered).finding
    key, value = next(iter(settings.items()))
    assert finding.method.settings[key] == (list(value) if isinstance(value, tuple) else value)
    assert finding.verdict == "poisoned"


def test_what_is_missing_is_told(poisoned_system):
    with pytest.raises(UserError, match="not fitted"):
        Mahalanobis().score(torch.zeros(1, 3, 32, 32))
    with pytest.raises(UserError, match="too few"):
        Mahalanobis().fit(poisoned_system.model, poisoned_system.clean[:5])
    small = Mahalanobis().fit(poisoned_system.model, poisoned_system.clean[:60])
    finding = scan(small, poisoned_system.test[:20]).finding
    assert any("cannot be promised" in line for line in finding.not_checked)


def test_the_conformal_threshold_keeps_its_rate():
    generator = torch.Generator().manual_seed(0)
    above = []
    for _ in range(200):
        scores = torch.randn(600, generator=generator)
        above.append(float((scores[200:] > conformal_threshold(scores[:200], 0.05)).float().mean()))
    assert sum(above) / len(above) == pytest.approx(0.05, abs=0.01)


def test_the_probability_grows_with_the_share_and_the_evidence():
    shares = [probability_of_anomalies(n, 1000, 0.01, 500) for n in (5, 10, 20, 40, 80)]
    assert shares == sorted(shares)
    assert shares[1] < 0.1 < 0.9 < shares[-1]
    assert probability_of_anomalies(0, 0, 0.01, 500) == 0.5
