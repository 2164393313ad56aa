"""From the splits of the classes to the probability that a class is poisoned."""

import math
from collections.abc import Mapping

from theriac.detect.data.split import Split

# Read off networks trained on clean and poisoned CIFAR-10: 40 clean classes had valleys from 0.46 to 3 and gains up to
# 0.36; classes with dirty-label poison had valleys up to 0.12 and gains from 0.44.
VALLEY, VALLEY_SLOPE = 0.26, 5.0
GAIN, GAIN_SLOPE = 0.12, 4.0


def class_probabilities(splits: Mapping[int, Split]) -> dict[int, float]:
    """Returns class -> probability that its second group is poison.

    There must be a gap between the groups, and two groups must explain the class much better than one. Where classes
    fall apart by nature, half of them having gaps, the bar is what is usual: the median valley. A few poisoned classes
    do not move the median.
    """
    if not splits:
        return {}
    valleys = sorted(split.valley for split in splits.values())
    usual = min(1.0, valleys[len(valleys) // 2]) if len(valleys) >= 4 else 1.0
    return {
        c: _logistic(VALLEY_SLOPE * math.log(VALLEY * usual / split.valley))
        * _logistic(GAIN_SLOPE * math.log(max(split.gain, 1e-6) / GAIN))
        for c, split in splits.items()
    }


def _logistic(x: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, x))))
