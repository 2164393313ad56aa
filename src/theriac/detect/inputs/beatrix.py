"""Gram matrices: do channels occur together as they do in trusted inputs of the predicted class?

Ma et al., "The 'Beatrix' Resurrections: Robust Backdoor Detection via Gram Matrices", NDSS 2023. The p-th Gram matrix
of a feature map X [channels, places] is (X^p (X^p)^T)^(1/p), elementwise powers, signs kept. Each entry of its upper
triangle, the diagonal included, has bounds, median +- k MAD over trusted inputs of one class; an input deviates by how
far its entries are outside, relative to the bounds.

We deviate from the paper where its score cannot be relied on:

- A bound near 0 makes any deviation from it infinite: a floor, a tenth of the layer's mean entry, is added to bounds.
- k is 1.5, not 10: with 10 hardly an entry of any input is outside, and nothing is left to tell inputs apart by.
- Classes differ in how far their own inputs are outside: deviations are divided by the class's own, measured on trusted
  inputs that did not set the bounds (two folds).
- Maps are averaged to a few places and projected to a few channels at random, so that entries are hundreds and not
  millions. A layer without places has Gram matrices of rank one.
- Powers end at 2, not 8, which costs four times as much and, on our tasks, finds no more.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.inputs.references import gather_references
from theriac.errors import UserError

PLACES = 16
FLOOR = 0.1
"""Share of a layer's mean entry that is added to bounds."""

LARGEST = 1e34
"""Products of two entries are kept below this."""

FEWEST = 10
"""Trusted inputs that a class needs for bounds of its own; others have those of all inputs together."""

OFFSET = 1e-3
"""Added to scores, which are about 1 for trusted inputs: those without any deviation would have no logarithm."""


@dataclass
class Beatrix(LayerDetector):
    """Scores inputs by how far their Gram matrices are outside the bounds of their predicted class, layer by layer.

    Learned state: ``bounds_``, of each layer the lower and upper bounds and the weights of deviations from them
    [4, 1 + classes with bounds, entries], ``places_`` [classes], which of these are a class's, ``scales_``, what maps
    are divided by, and ``projections_`` of wide layers.

    Args:
        powers: The Gram matrices' powers are 1 to this.
        width: Half the distance between bounds, in MADs.
        channels: Wider layers are projected to this many channels.
        per_class: Trusted inputs that set the bounds of a class.
        references: Trusted inputs looked at in all, drawn at random.
    """

    powers: int = 2
    width: float = 1.5
    channels: int = 32
    per_class: int = 200
    references: int = 2000

    name: ClassVar[str] = "beatrix"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Ma et al. 2023, arXiv:2209.11715"
    learned: ClassVar[tuple[str, ...]] = ("bounds_", "places_", "scales_", "projections_")

    def chosen_layers(self, model: Any) -> tuple[str, ...]:
        """Returns the layers that are looked at, their places kept."""
        layers = super().chosen_layers(model)
        return tuple(layer if "@" in layer else f"{layer}@places:{PLACES}" for layer in layers)

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        if self.powers < 1 or self.channels < 1 or self.per_class < FEWEST or not self.width > 0:
            raise UserError(
                f"powers, channels and width must be positive, per_class at least {FEWEST}", where=self.name
            )
        self.projections_: dict[str, Tensor] = {}
        kept = gather_references(_Narrowed(trusted, self), self.references)
        order = torch.randperm(len(kept.predicted), generator=torch.Generator().manual_seed(0)).to(
            kept.predicted.device
        )
        given = kept.predicted[order]  # files are often sorted by class, and the first rows must stand for all
        classes = max(1, len(trusted.model.classes))
        counts = given.bincount(minlength=classes)
        known = (counts >= FEWEST).nonzero().flatten()
        self.places_ = torch.zeros_like(counts)  # place 0 is that of all inputs together
        self.places_[known] = torch.arange(1, len(known) + 1, device=known.device)
        self.bounds_: dict[str, Tensor] = {}
        self.scales_: dict[str, Tensor] = {}
        for layer, rows in kept.rows.items():
            maps = rows[order]
            scale = maps.double().square().mean().sqrt().float()
            self.scales_[layer] = torch.where(scale > 0, scale, torch.ones_like(scale))
            groups = [maps[: 2 * self.per_class]]
            groups += [maps[given == class_][: self.per_class] for class_ in known.tolist()]
            grams = [self._grams(layer, group) for group in groups]
            mean = grams[0].abs().mean()
            floor = torch.where(mean > 0, FLOOR * mean, torch.ones_like(mean))
            usual = [expected_deviation(group, self.width, floor) for group in grams]
            self.bounds_[layer] = torch.stack(
                [
                    bounds(group, self.width, floor, torch.maximum(own, FLOOR * usual[0]))
                    for group, own in zip(grams, usual, strict=True)
                ],
                1,
            )

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        places = self.places_[seen.predicted]
        scores = {}
        for layer in self.layers_:
            grams = self._grams(layer, self.narrowed(layer, seen.rows[layer]))
            scores[layer] = deviations(grams, self.bounds_[layer][:, places]) + OFFSET
        return scores

    def narrowed(self, layer: str, rows: Tensor) -> Tensor:
        """Returns maps [b, channels, places] of at most ``channels`` channels of what was seen of a layer."""
        maps = rows[:, :, None] if rows.ndim == 2 else rows
        wide = maps.shape[1]
        if wide <= self.channels:
            return maps
        if layer not in self.projections_:
            random = torch.randn(wide, self.channels, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
            self.projections_[layer] = torch.linalg.qr(random)[0].float().to(maps.device)
        return self.projections_[layer].T @ maps

    def _grams(self, layer: str, maps: Tensor) -> Tensor:
        """Returns the upper triangles of the Gram matrices of all powers [b, powers * entries]."""
        largest = LARGEST ** (1 / (2 * self.powers))  # so that no power overflows
        maps = (maps / self.scales_[layer]).clamp(-largest, largest)
        row, column = torch.triu_indices(maps.shape[1], maps.shape[1], device=maps.device)
        parts = []
        for power in range(1, self.powers + 1):
            raised = maps**power
            gram = (raised @ raised.mT)[:, row, column]
            parts.append(gram if power == 1 else gram.abs().pow(1 / power).copysign(gram))
        return torch.cat(parts, 1)

    def try_out(self) -> None:
        """Scores made-up maps; see the base class."""
        device = self.model_.device
        rows = {layer: torch.zeros(2, width, 1, device=device) for layer, width in self.widths_.items()}
        classes = torch.tensor([0, len(self.places_) - 1], device=device)
        self.aggregate(self._score(Seen(rows, classes, classes)))


class _Narrowed(Observations):
    """Other observations, narrowed, so that little is kept of wide layers."""

    def __init__(self, source: Observations, detector: Beatrix) -> None:
        super().__init__(source.model, source.data, source.layers, source.batch_size)
        self.source, self.detector = source, detector

    def __iter__(self) -> Iterator[Seen]:
        for seen in self.source:
            rows = {layer: self.detector.narrowed(layer, rows) for layer, rows in seen.rows.items()}
            yield Seen(rows, seen.predicted, seen.labels)


def bounds(grams: Tensor, width: float, floor: Tensor, usual: Tensor | float = 1.0) -> Tensor:
    """Returns lower bounds, upper bounds, and the weights of deviations from each [4, entries] of trusted ``grams``.

    Args:
        grams: [n, entries].
        width: In MADs.
        floor: Added to bounds before they divide.
        usual: The deviation that shall count as 1.

    >>> grams = torch.tensor([[1.0], [2.0], [3.0], [4.0], [9.0]])
    >>> bounds(grams, 2, torch.tensor(0.0)).flatten().tolist()
    [1.0, 5.0, 1.0, 0.20000000298023224]
    """
    median = grams.median(0).values
    away = width * (grams - median).abs().median(0).values
    low, high = median - away, median + away
    return torch.stack([low, high, 1 / ((low.abs() + floor) * usual), 1 / ((high.abs() + floor) * usual)])


def deviations(grams: Tensor, limits: Tensor) -> Tensor:
    """Returns the mean relative distance [b] of ``grams`` [b, entries] from inside the bounds [4, b or 1, entries].

    >>> limits = torch.tensor([1.0, 5.0, 1.0, 0.2])[:, None, None]
    >>> deviations(torch.tensor([[3.0], [0.5], [10.0]]), limits).tolist()
    [0.0, 0.5, 1.0]
    """
    low, high, below, above = limits
    excess = grams - grams.clamp(low, high)
    return torch.maximum(excess * above, excess * -below).mean(1)


def expected_deviation(grams: Tensor, width: float, floor: Tensor) -> Tensor:
    """Returns the mean deviation of each half of trusted ``grams`` from the other's bounds; a small number if 0."""
    one, other = grams[::2], grams[1::2]
    found = [deviations(left, bounds(right, width, floor)[:, None]) for left, right in ((one, other), (other, one))]
    return torch.cat(found).mean().clamp(min=torch.finfo(grams.dtype).eps)
