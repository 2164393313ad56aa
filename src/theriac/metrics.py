"""How good a model, an attack or a detector is: pure functions from arrays to floats, with confidence intervals.

Arrays may be torch tensors on any device, NumPy arrays or plain sequences. Higher scores are more suspicious.
"""

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theriac.errors import UserError

Array = NDArray[Any]


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


def accuracy(predictions: ArrayLike, labels: ArrayLike) -> float:
    """Returns the share of ``predictions`` [n] that equal ``labels`` [n].

    >>> accuracy([0, 1, 1, 2], [0, 1, 2, 2])
    0.75
    """
    given, true = _pair(predictions, labels)
    return float((given == true).mean())


def asr(predictions: ArrayLike, labels: ArrayLike, target: int) -> float:
    """Returns the attack success rate: the share of triggered inputs that the model gives to ``target``.

    Inputs whose true label is the target are left out: they would count as successes of an attack that does nothing.

    Args:
        predictions: Classes [n] given to the triggered inputs.
        labels: True classes [n].
        target: Class that the attacker wants.

    >>> asr([0, 0, 0, 1], [0, 1, 2, 2], target=0)
    0.6666666666666666
    """
    given, _ = _attacked(predictions, labels, target)
    return float((given == target).mean())


def base_rate(predictions: ArrayLike, labels: ArrayLike, target: int) -> float:
    """Returns what the ASR is to be compared with: the share of the same inputs given to ``target`` without trigger.

    Args:
        predictions: Classes [n] given to the inputs without trigger.
        labels: True classes [n].
        target: Class that the attacker wants.
    """
    return asr(predictions, labels, target)


def robust_accuracy(predictions: ArrayLike, labels: ArrayLike, target: int) -> float:
    """Returns the share of triggered inputs, true label not ``target``, still given their true label.

    >>> robust_accuracy([0, 0, 0, 2], [0, 1, 2, 2], target=0)
    0.3333333333333333
    """
    given, true = _attacked(predictions, labels, target)
    return float((given == true).mean())


def wilson(share: float, n: int, confidence: float = 0.95) -> Interval:
    """Returns the Wilson score interval of a ``share`` in [0, 1] seen in ``n`` independent trials.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    >>> [round(x, 3) for x in wilson(1.0, 20)]
    [0.839, 1.0]
    """
    if n < 1 or not 0 <= share <= 1:
        raise UserError(f"a share of {share} in {n} trials has no confidence interval")
    z2 = _z(confidence) ** 2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def auroc(scores: ArrayLike, positives: ArrayLike) -> float:
    """Returns the area under the ROC curve: P(positive scores above negative) + P(tie) / 2.

    Args:
        scores: [n]; infinite values are allowed, NaN is not.
        positives: [n], true for what the scores should find.

    >>> auroc([0.1, 0.4, 0.4, 0.8], [False, False, True, True])
    0.875
    """
    return float(_area(*_curve(scores, positives)))


def auroc_interval(area: float, positives: int, negatives: int, confidence: float = 0.95) -> Interval:
    """Returns the score interval of an AUROC ``area`` measured on so many positives and negatives.

    Newcombe, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part 2", Statistics
    in Medicine 2006, method 5. Unlike DeLong's, it keeps a width when the area is 0 or 1, as with few models it often
    is.

    >>> [round(x, 3) for x in auroc_interval(1.0, 4, 4)]
    [0.582, 1.0]
    """
    from scipy.optimize import brentq

    if positives < 1 or negatives < 1 or not 0 <= area <= 1:
        raise UserError(f"an area of {area} over {positives} positives and {negatives} negatives has no interval")
    z2, extra = _z(confidence) ** 2, (positives + negatives) / 2 - 1

    def distance(x: float) -> float:
        spread = x * (1 - x) * (1 + extra * ((1 - x) / (2 - x) + x / (1 + x))) / (positives * negatives)
        return (area - x) ** 2 - z2 * spread

    step = 1e-12  # the area itself is a root too when it is 0 or 1
    low = 0.0 if area == 0 else float(brentq(distance, 0.0, area - area * step))
    high = 1.0 if area == 1 else float(brentq(distance, area + (1 - area) * step, 1.0))
    return Interval(low, high)


def roc(scores: ArrayLike, positives: ArrayLike) -> tuple[Array, Array]:
    """Returns false and true positive rates of every threshold, from above the highest score down.

    >>> [rates.tolist() for rates in roc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])]
    [[0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0]]
    """
    hits, alarms = _curve(scores, positives)
    false, true = (np.concatenate([[0.0], counts / counts[-1]]) for counts in (alarms, hits))
    return false, true


def average_precision(scores: ArrayLike, positives: ArrayLike) -> float:
    """Returns the average precision: precision at each threshold, weighted by the recall gained there.

    >>> average_precision([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
    0.8333333333333333
    """
    return float(_precision(*_curve(scores, positives)))


def tpr_at_fpr(scores: ArrayLike, positives: ArrayLike, fpr: float) -> float:
    """Returns the largest true positive rate of a threshold whose false positive rate is at most ``fpr`` in [0, 1].

    >>> tpr_at_fpr([0.1, 0.4, 0.35, 0.8], [False, False, True, True], fpr=0.0)
    0.5
    """
    return float(_tpr(*_curve(scores, positives), fpr=fpr))


def fpr_at_tpr(scores: ArrayLike, positives: ArrayLike, tpr: float) -> float:
    """Returns the smallest false positive rate of a threshold whose true positive rate is at least ``tpr`` in [0, 1].

    >>> fpr_at_tpr([0.1, 0.4, 0.35, 0.8], [False, False, True, True], tpr=0.95)
    0.5
    """
    return float(_fpr(*_curve(scores, positives), tpr=tpr))


def bootstrap(
    metric: Callable[..., float],
    scores: ArrayLike,
    positives: ArrayLike,
    *,
    seed: int = 0,
    repeats: int = 1000,
    confidence: float = 0.95,
    **settings: float,
) -> Interval:
    """Returns the percentile interval of a ranking metric, positives and negatives drawn again separately.

    Efron & Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. All draws are computed together. A perfect
    ranking stays perfect in every draw, so its interval has no width: see :func:`auroc_interval` and :func:`wilson`.

    Args:
        metric: ``auroc``, ``average_precision``, ``tpr_at_fpr`` or ``fpr_at_tpr``.
        scores: [n].
        positives: [n].
        seed: Of the draws.
        repeats: How many draws.
        confidence: Of the interval.
        settings: What else ``metric`` takes, for instance ``fpr=0.01``.

    >>> low, high = bootstrap(auroc, [0.1, 0.4, 0.5, 0.8] * 20, [False, True, False, True] * 20)
    >>> low < 0.75 < high
    True
    """
    if metric not in _OF_CURVE:
        raise UserError(f"no bootstrap of {getattr(metric, '__name__', metric)}", do="name a metric of rankings")
    values, positive = _scored(scores, positives)
    distinct, place = np.unique(-values, return_inverse=True)  # 0 is the place of the highest score
    generator = np.random.default_rng(seed)
    chunk = max(1, _DRAWN_AT_ONCE // len(values))
    found: list[Array] = []
    for start in range(0, repeats, chunk):
        count = min(chunk, repeats - start)
        hits, alarms = (_drawn(place[kind], len(distinct), count, generator) for kind in (positive, ~positive))
        found.append(_OF_CURVE[metric](hits, alarms, **settings))
    low, high = np.quantile(np.concatenate(found), [0.5 - confidence / 2, 0.5 + confidence / 2])
    return Interval(float(low), float(high))


def brier(probabilities: ArrayLike, truth: ArrayLike) -> float:
    """Returns the Brier score: the mean squared error of ``probabilities`` [n] of events that were true or not.

    >>> brier([0.0, 0.5], [False, True])
    0.125
    """
    p, true = _probabilities(probabilities, truth)
    return float(((p - true) ** 2).mean())


def cross_entropy(probabilities: ArrayLike, truth: ArrayLike, epsilon: float = 1e-12) -> float:
    """Returns the mean binary cross-entropy in nats.

    Like NIST's scoring, it keeps probabilities ``epsilon`` away from 0 and 1, so that no single error is infinite.

    >>> round(cross_entropy([0.5, 0.5], [False, True]), 4)
    0.6931
    """
    p, true = _probabilities(probabilities, truth)
    p = p.clip(epsilon, 1 - epsilon)
    return float(-np.log(np.where(true, p, 1 - p)).mean())


def _array(values: Any) -> Array:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.double() if values.is_floating_point() else values
    return np.asarray(values)


def _pair(one: ArrayLike, other: ArrayLike) -> tuple[Array, Array]:
    a, b = _array(one), _array(other)
    if a.ndim != 1 or a.shape != b.shape:
        raise UserError(f"expected two arrays [n] of one length, got {list(a.shape)} and {list(b.shape)}")
    if len(a) == 0:
        raise UserError("nothing to measure: there are no rows")
    return a, b


def _attacked(predictions: ArrayLike, labels: ArrayLike, target: int) -> tuple[Array, Array]:
    given, true = _pair(predictions, labels)
    sources = true != target
    if not sources.any():
        raise UserError(f"every input has the target class {target}: an attack has nothing to gain")
    return given[sources], true[sources]


def _scored(scores: ArrayLike, positives: ArrayLike) -> tuple[Array, Array]:
    values, positive = _pair(scores, positives)
    values, positive = values.astype(np.float64), positive.astype(bool)
    if np.isnan(values).any():
        raise UserError(f"{int(np.isnan(values).sum())} of {len(values)} scores are NaN")
    if positive.all() or not positive.any():
        raise UserError("a ranking needs both positives and negatives")
    return values, positive


def _probabilities(probabilities: ArrayLike, truth: ArrayLike) -> tuple[Array, Array]:
    p, true = _pair(probabilities, truth)
    p, true = p.astype(np.float64), true.astype(bool)
    if not ((p >= 0) & (p <= 1)).all():
        raise UserError("probabilities must be in [0, 1]")
    return p, true


def _curve(scores: ArrayLike, positives: ArrayLike) -> tuple[Array, Array]:
    """Returns true and false positives at or above each distinct score, from the highest score down."""
    values, positive = _scored(scores, positives)
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(values) - 1)
    hits = positive[order].cumsum()[ends]
    return hits, ends + 1 - hits


def _drawn(places: Array, distinct: int, count: int, generator: np.random.Generator) -> Array:
    """Returns, for ``count`` draws with replacement from ``places`` [n], how many lie at or above each [count, m]."""
    draws = places[generator.integers(0, len(places), (count, len(places)), dtype=np.int32)]
    draws += np.arange(count)[:, None] * distinct
    counts = np.bincount(draws.ravel(), minlength=count * distinct)
    summed: Array = counts.reshape(count, distinct).cumsum(1)
    return summed


# Metrics of curves: hits and alarms [..., m] at or above each score, from the highest down; the result is [...].


def _area(hits: Array, alarms: Array) -> Array:
    before = np.concatenate([np.zeros_like(hits[..., :1]), hits[..., :-1]], -1)
    steps = np.diff(alarms, prepend=0, axis=-1)
    area: Array = (steps * (hits + before)).sum(-1) / (2 * hits[..., -1] * alarms[..., -1])
    return area


def _precision(hits: Array, alarms: Array) -> Array:
    gained = np.diff(hits, prepend=0, axis=-1)
    precision: Array = (gained * (hits / np.maximum(hits + alarms, 1))).sum(-1) / hits[..., -1]
    return precision


def _tpr(hits: Array, alarms: Array, fpr: float) -> Array:
    allowed = alarms <= fpr * alarms[..., -1:] + _ROUNDING
    rate: Array = np.where(allowed, hits, 0).max(-1) / hits[..., -1]
    return rate


def _fpr(hits: Array, alarms: Array, tpr: float) -> Array:
    enough = hits >= tpr * hits[..., -1:] - _ROUNDING
    rate: Array = np.where(enough, alarms, alarms[..., -1:]).min(-1) / alarms[..., -1]
    return rate * (tpr > 0)  # a threshold above every score is one too


_ROUNDING = 1e-9
"""A share of a count is not exact: 0.29 * 100 is a little below 29, 0.1 * 30 a little above 3."""

_DRAWN_AT_ONCE = 1 << 21

_OF_CURVE: dict[Callable[..., float], Callable[..., Array]] = {
    auroc: _area,
    average_precision: _precision,
    tpr_at_fpr: _tpr,
    fpr_at_tpr: _fpr,
}


def _z(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
