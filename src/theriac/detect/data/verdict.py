"""From the splits of the classes to the probability that a class is poisoned."""

import math
from collections.abc import Mapping

from theriac.detect.data.split import Split

# Calibrated on small networks trained on clean and poisoned CIFAR-10 (see docs/calibration): of clean classes the gain
# stayed below 0.28 and the separation below 5.5, whatever the network; dirty-label poison began at 0.5 and 6.
GAIN, GAIN_SLOPE = 0.36, 6.0
SEPARATION, SEPARATION_SLOPE = 5.6, 1.6
CLEAN_MEDIAN = 0.15


def class_probabilities(splits: Mapping[int, Split]) -> dict[int, float]:
    """Returns class -> probability that its second group is poison.

    Both the gain and the separation must stand out. When most classes divide well by nature, the bar rises: the gain is
    divided by the classes' median where that is above what is usual. A few poisoned classes do not move the median.
    """
    if not splits:
        return {}
    gains = sorted(split.gain for split in splits.values())
    usual = max(1.0, gains[(len(gains) - 1) // 2] / CLEAN_MEDIAN) if len(gains) >= 4 else 1.0
    return {
        c: _logistic(GAIN_SLOPE * math.log(max(split.gain, 1e-6) / usual / GAIN))
        * _logistic(SEPARATION_SLOPE * (split.separation - SEPARATION))
        for c, split in splits.items()
    }


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, x))))
