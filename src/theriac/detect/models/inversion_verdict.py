"""From the sizes of inverted triggers to a calibrated probability.

Neural Cleanse divides each class's distance from the median size by the MAD of the same model's sizes. With four to
ten classes that MAD is little but noise, so we take the spread from clean models instead:
``benchmarks/inversion_calibrate.py`` measures on a set of small models how far the smallest trigger lies below the
others in each space, and fits the logistic map to probabilities. Its result is ``inversion_calibration.json``.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import torch
from torch import Tensor

from theriac.detect.inversion import Triggers


@dataclass(frozen=True)
class Reading:
    """What the sizes of one search say.

    Attributes:
        triggers: The search's result.
        best: Its most anomalous task.
        shortfalls: By how much each task's log size lies below the others' [t].
        index: ``shortfalls`` of the best task in spreads of clean models.
    """

    triggers: Triggers
    best: int
    shortfalls: Tensor
    index: float

    @property
    def kind(self) -> str:
        """The space, marked when the triggers were searched for one source class each."""
        return kind_of(self.triggers)

    @property
    def target(self) -> int:
        """The target class of the most anomalous task."""
        return int(self.triggers.targets[self.best])

    @property
    def source(self) -> int:
        """The source class, or -1 for all."""
        return int(self.triggers.sources[self.best])


def kind_of(triggers: Triggers) -> str:
    """Returns the name under which calibration keeps this kind of search."""
    return triggers.space.name + (" from one class" if bool((triggers.sources >= 0).any()) else "")


def shortfalls(sizes: Tensor, targets: Tensor, ceiling: float) -> Tensor:
    """Returns by how much each log size lies below those of other targets, [t].

    It is the mean of the distances to the smallest and to the median size of the other targets. Sizes above ``ceiling``
    count as ``ceiling``: how much larger a change is that ruins the image says nothing.

    >>> shortfalls(torch.tensor([1.0, 10.0, 10.0, 99.0]), torch.arange(4), 10.0).numpy().round(1)
    array([ 2.3, -1.2, -1.2, -1.2], dtype=float32)
    """
    logs = sizes.clamp(min=1e-6, max=ceiling).log()
    found = []
    for size, target in zip(logs, targets, strict=True):
        others = logs[targets != target]
        found.append((others.min() + others.median()) / 2 - size)
    return torch.stack(found)


def read(triggers: Triggers, h: int, w: int) -> Reading:
    """Compares the sizes of one search on ``h`` x ``w`` images with each other and with those of clean models."""
    below = shortfalls(triggers.sizes, triggers.targets, triggers.space.ceiling(h, w))
    best = int(below.argmax())
    usual = calibration()["kinds"].get(kind_of(triggers), {"centre": 0.0, "spread": 1.0})
    return Reading(triggers, best, below, (float(below[best]) - usual["centre"]) / usual["spread"])


def probability(readings: list[Reading]) -> float:
    """Returns the calibrated probability that the model is poisoned, from the most anomalous reading."""
    index = max(reading.index for reading in readings)
    fit = calibration()
    return 1 / (1 + math.exp(-max(-30.0, min(30.0, fit["slope"] * index + fit["intercept"]))))


@cache
def calibration() -> dict[str, Any]:
    """Returns centre and spread of clean models' shortfalls by kind of search, and the logistic map's coefficients."""
    loaded: dict[str, Any] = json.loads(files(__package__).joinpath("inversion_calibration.json").read_text())
    return loaded
