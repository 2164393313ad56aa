"""Thresholds with a stated false-positive rate, and what a whole stream says against one."""

import math

import torch
from torch import Tensor

DRIFT = 200
"""Honest streams drift: the rate above the threshold is taken to be known no better than from this many inputs."""

SMALLEST_SHARE = 0.01
"""Share of anomalous inputs, the smallest, that a stream is tested for."""


def conformal_threshold(scores: Tensor, rate: float) -> float:
    """Returns the value that a new trusted score exceeds with probability at most ``rate``.

    That holds for exchangeable scores [n] when n >= 1/rate - 1; with fewer, the largest score is returned.
    Vovk, Gammerman & Shafer, "Algorithmic Learning in a Random World", 2005.

    >>> conformal_threshold(torch.arange(1.0, 100.0), 0.05)
    95.0
    """
    n = len(scores)
    rank = min(n, math.ceil((n + 1) * (1 - rate)))
    return float(scores.double().sort().values[rank - 1])


def probability_of_anomalies(above: int, total: int, rate: float, calibration: int) -> float:
    """Returns P(the stream holds anomalous inputs), given that ``above`` of ``total`` exceed the threshold.

    Both hypotheses are equally likely beforehand. Without anomalies the rate above the threshold follows a Beta
    distribution about ``rate``, as well known as ``calibration`` inputs (at most ``DRIFT``) allow; with anomalies a
    share of all inputs, log-uniform in [``SMALLEST_SHARE``, 1], is above it too.

    >>> probability_of_anomalies(10, 1000, 0.01, 500) < 0.1, probability_of_anomalies(100, 1000, 0.01, 500) > 0.99
    (True, True)
    """
    if total == 0:
        return 0.5
    weight = min(calibration, DRIFT)
    steps = (torch.arange(400, dtype=torch.float64) + 0.5) / 400
    rates = steps**3 * (1 - 1e-9)  # finer where rates are small
    density = (weight * rate + 0.5 - 1) * rates.log() + (weight * (1 - rate) + 0.5 - 1) * (1 - rates).log()
    density = (density + 2 * steps.log()).log_softmax(0)  # the Jacobian of the cube
    shares = torch.logspace(math.log10(SMALLEST_SHARE), -1e-6, 100, dtype=torch.float64)
    mixed = rates + shares[:, None] * (1 - rates)

    def likelihood(p: Tensor) -> Tensor:
        return above * p.log() + (total - above) * (1 - p).log()

    usual = torch.logsumexp(density + likelihood(rates), 0)
    unusual = torch.logsumexp(density + likelihood(mixed), 1).logsumexp(0) - math.log(len(shares))
    return float(torch.sigmoid(unusual - usual))
