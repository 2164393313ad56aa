"""Metrics agree with scikit-learn, and their intervals cover what they should."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from sklearn.metrics import brier_score_loss, log_loss

from theriac import metrics
from theriac.errors import UserError


def scores_with_ties(seed: int, n: int = 200, levels: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = rng.random(n) < 0.3
    return np.round(rng.normal(positive * 0.8, 1.0) * levels / 6) / 2, positive


@pytest.mark.parametrize("seed", range(5))
def test_ranking_metrics_equal_scikit_learn(seed: int) -> None:
    scores, positive = scores_with_ties(seed)
    assert metrics.auroc(scores, positive) == pytest.approx(sk.roc_auc_score(positive, scores), abs=1e-12)
    expected = sk.average_precision_score(positive, scores)
    assert metrics.average_precision(scores, positive) == pytest.approx(expected, abs=1e-12)
    fprs, tprs, _ = sk.roc_curve(positive, scores, drop_intermediate=False)
    assert np.allclose(metrics.roc(scores, positive), (fprs, tprs), atol=1e-12)
    for fpr in (0.0, 0.01, 0.1, 0.5, 1.0):
        assert metrics.tpr_at_fpr(scores, positive, fpr) == pytest.approx(tprs[fprs <= fpr].max(), abs=1e-12)
    for tpr in (0.0, 0.5, 0.95, 1.0):
        assert metrics.fpr_at_tpr(scores, positive, tpr) == pytest.approx(fprs[tprs >= tpr].min(), abs=1e-12)


def test_ranking_metrics_are_plain_floats() -> None:
    """Cupbearer's evaluation calls ``.item()`` on what scikit-learn returns, and crashes with its current versions."""
    scores, positive = scores_with_ties(0)
    for value in (
        metrics.auroc(scores, positive),
        metrics.average_precision(scores, positive),
        metrics.tpr_at_fpr(scores, positive, 0.01),
        metrics.fpr_at_tpr(scores, positive, 0.95),
        *metrics.bootstrap(metrics.auroc, scores, positive, repeats=5),
    ):
        assert type(value) is float


def test_shares_that_are_not_exact_in_binary_count_whole_inputs() -> None:
    scores, positive = np.arange(200.0), np.arange(200) % 2 == 1
    allowed = sorted(scores[~positive])[-29]  # 29 of the 100 negatives lie at or above it
    hits = (scores[positive] > sorted(scores[~positive])[-30]).mean()
    assert metrics.tpr_at_fpr(scores, positive, 0.29) == hits > (scores[positive] > allowed).mean()


@pytest.mark.parametrize(
    ("metric", "settings"),
    [
        (metrics.auroc, {}),
        (metrics.average_precision, {}),
        (metrics.tpr_at_fpr, {"fpr": 0.1}),
        (metrics.fpr_at_tpr, {"tpr": 0.9}),
    ],
)
def test_the_bootstrap_is_that_of_scipy(metric, settings: dict[str, float]) -> None:
    """Against scipy's, which draws both samples separately too, one at a time."""
    from scipy.stats import bootstrap

    scores, positive = scores_with_ties(1, n=120)

    def of_two(usual: np.ndarray, unusual: np.ndarray) -> float:
        marks = np.arange(len(usual) + len(unusual)) >= len(usual)
        return metric(np.concatenate([usual, unusual]), marks, **settings)

    expected = bootstrap(
        (scores[~positive], scores[positive]), of_two, method="percentile", n_resamples=600, vectorized=False, rng=0
    ).confidence_interval
    found = metrics.bootstrap(metric, scores, positive, repeats=4000, **settings)
    assert found == pytest.approx(tuple(expected), abs=0.04)


def test_the_bootstrap_covers_the_true_area_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    true = 0.5 * (1 + math.erf(1 / 2))
    covered = 0
    for k in range(300):
        scores = np.concatenate([rng.normal(1, 1, 60), rng.normal(0, 1, 80)])
        low, high = metrics.bootstrap(metrics.auroc, scores, np.arange(140) < 60, seed=k, repeats=200)
        covered += low <= true <= high
    assert 0.90 <= covered / 300 <= 0.98


def test_one_seed_gives_one_interval() -> None:
    scores, positive = scores_with_ties(2)
    first, again, other = (metrics.bootstrap(metrics.auroc, scores, positive, seed=seed) for seed in (0, 0, 1))
    assert first == again != other


def test_only_metrics_of_rankings_have_a_bootstrap() -> None:
    with pytest.raises(UserError, match="no bootstrap of brier"):
        metrics.bootstrap(metrics.brier, [0.1, 0.2], [True, False])


def test_probability_metrics_equal_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    p, true = rng.random(50), rng.random(50) < 0.5
    assert metrics.brier(p, true) == pytest.approx(brier_score_loss(true, p))
    assert metrics.cross_entropy(p, true) == pytest.approx(log_loss(true, p))


def test_cross_entropy_of_a_certain_error_is_finite() -> None:
    assert metrics.cross_entropy([0.0], [True]) == pytest.approx(-math.log(1e-12))


def test_rates_leave_out_inputs_of_the_target_class() -> None:
    labels = torch.tensor([0, 0, 1, 1, 2, 2])
    triggered = torch.tensor([0, 0, 0, 0, 0, 2])
    untriggered = torch.tensor([0, 0, 1, 0, 2, 2])
    assert metrics.accuracy(untriggered, labels) == pytest.approx(5 / 6)
    assert metrics.asr(triggered, labels, 0) == pytest.approx(3 / 4)
    assert metrics.base_rate(untriggered, labels, 0) == pytest.approx(1 / 4)
    assert metrics.robust_accuracy(triggered, labels, 0) == pytest.approx(1 / 4)


def test_tensors_arrays_and_lists_agree() -> None:
    scores, positive = [0.25, 0.5, 0.5, 1.0], [False, True, False, True]
    values = {
        metrics.auroc(scores, positive),
        metrics.auroc(np.array(scores), np.array(positive)),
        metrics.auroc(torch.tensor(scores, dtype=torch.bfloat16, requires_grad=True), torch.tensor(positive)),
    }
    assert values == {0.875}


def test_infinite_scores_rank_at_the_ends() -> None:
    assert metrics.auroc([-math.inf, 0.0, math.inf], [False, False, True]) == 1.0


@pytest.mark.parametrize("share", [0.0, 0.05, 0.5, 1.0])
def test_wilson_equals_scipy(share: float) -> None:
    from scipy.stats import binomtest

    expected = binomtest(int(share * 40), 40).proportion_ci(method="wilson")
    assert metrics.wilson(share, 40) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_auroc_interval_covers_the_true_area_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    shift = 1.5
    true = 0.5 * (1 + math.erf(shift / 2))  # P(N(shift, 1) > N(0, 1))
    covered = 0
    for _ in range(400):
        scores = np.concatenate([rng.normal(shift, 1, 20), rng.normal(0, 1, 30)])
        low, high = metrics.auroc_interval(metrics.auroc(scores, np.arange(50) < 20), 20, 30)
        covered += low <= true <= high
    assert 0.91 <= covered / 400 <= 0.99


def test_auroc_interval_is_symmetric_and_narrows() -> None:
    low, high = metrics.auroc_interval(0.8, 10, 15)
    mirrored = metrics.auroc_interval(0.2, 10, 15)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high))
    narrow = metrics.auroc_interval(0.8, 100, 150)
    assert low < narrow.low < 0.8 < narrow.high < high


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: metrics.accuracy([], []), "no rows"),
        (lambda: metrics.accuracy([1, 2], [1]), r"got \[2\] and \[1\]"),
        (lambda: metrics.asr([0, 0], [0, 0], 0), "every input has the target class 0"),
        (lambda: metrics.auroc([0.1, 0.2], [True, True]), "both positives and negatives"),
        (lambda: metrics.auroc([0.1, math.nan], [True, False]), "1 of 2 scores are NaN"),
        (lambda: metrics.brier([1.5], [True]), r"in \[0, 1\]"),
        (lambda: metrics.brier([math.nan], [True]), r"in \[0, 1\]"),
        (lambda: metrics.wilson(0.5, 0), "no confidence interval"),
        (lambda: metrics.auroc_interval(0.5, 0, 3), "no interval"),
    ],
)
def test_bad_input_is_named(call, words: str) -> None:
    with pytest.raises(UserError, match=words):
        call()
