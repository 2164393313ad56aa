"""Local outlier factor: how much sparser trusted inputs are around an input than around its neighbours.

Breunig, Kriegel, Ng & Sander, "LOF: Identifying Density-Based Local Outliers", SIGMOD 2000.

The novelty form: densities are those of trusted inputs only, as in scikit-learn's ``LocalOutlierFactor(novelty=True)``,
whose numbers ours are. By default, unlike the paper, which knows no classes, neighbours are sought among trusted inputs
of the same predicted class, because a triggered input is in a dense place: that of its true class.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.inputs.references import References, gather_references
from theriac.errors import UserError

SMALLEST = 1e-10
"""Added to mean reachability, so that the density of equal rows is finite; scikit-learn's value."""


@dataclass
class LocalOutlierFactor(LayerDetector):
    """Scores inputs by their local outlier factor among trusted ones, over several layers; about 1 is usual.

    Learned state: ``rows_``, the trusted rows of each layer, ``predicted_``, their classes, ``reaches_``, the distance
    to their k-th neighbour, and ``densities_`` around them.

    Args:
        neighbours: How many neighbours make a neighbourhood; 20 in cupbearer's forks and scikit-learn.
        conditional: Look for neighbours of the same predicted class instead of any. A class with fewer than
            ``neighbours`` trusted inputs looks among all.
        references: Trusted inputs kept, drawn at random.
    """

    neighbours: int = 20
    conditional: bool = True
    references: int = 2000

    name: ClassVar[str] = "lof"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Breunig et al. 2000, doi:10.1145/342009.335388"
    learned: ClassVar[tuple[str, ...]] = ("rows_", "predicted_", "reaches_", "densities_")

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        if self.neighbours < 1:
            raise UserError(f"{self.neighbours} neighbours are too few", do="choose at least 1")
        kept = gather_references(trusted, self.references)
        self.rows_, self.predicted_ = kept.rows, kept.predicted
        self.reaches_: dict[str, Tensor] = {}
        self.densities_: dict[str, Tensor] = {}
        for layer, rows in kept.rows.items():
            distances, index = self._neighbours(layer, rows, kept.predicted, own=True)
            self.reaches_[layer] = distances[:, -1]
            self.densities_[layer] = self._density(layer, distances, index)

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        return {layer: self._factor(layer, seen.rows[layer], seen.predicted) for layer in self.layers_}

    def _factor(self, layer: str, rows: Tensor, predicted: Tensor) -> Tensor:
        distances, index = self._neighbours(layer, rows, predicted)
        return self.densities_[layer][index].mean(1) / self._density(layer, distances, index)

    def _neighbours(self, layer: str, rows: Tensor, predicted: Tensor, *, own: bool = False) -> tuple[Tensor, Tensor]:
        count = min(self.neighbours, len(self.predicted_) - 1)
        references = References(self.rows_[layer], self.predicted_)
        return references.nearest(rows, count, predicted if self.conditional else None, own=own)

    def _density(self, layer: str, distances: Tensor, index: Tensor) -> Tensor:
        """Returns the local reachability density [b] given the nearest references of each row."""
        reachability = torch.maximum(distances, self.reaches_[layer][index])
        return 1 / (reachability.mean(1) + SMALLEST)
