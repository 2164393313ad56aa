"""Distance to the k-th nearest trusted input.

Sun, Ming, Zhu & Li, "Out-of-Distribution Detection with Deep Nearest Neighbors", ICML 2022.

As in the paper rows are scaled to length 1. We deviate in two ways: by default only trusted inputs of the same
predicted class count, because a triggered input is near its true class and yet called another, and several layers are
looked at.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.inputs.references import References, gather_references
from theriac.errors import UserError


@dataclass
class NearestNeighbours(LayerDetector):
    """Scores inputs by the distance to their k-th nearest trusted input, over several layers.

    Learned state: ``rows_``, the trusted rows of each layer, and ``predicted_``, their classes.

    Args:
        neighbours: The k of the paper; about one in a hundred of the trusted inputs that count.
        conditional: Compare with trusted inputs of the same predicted class instead of with all. A class with fewer
            than k of them is compared with all.
        references: Trusted inputs kept, drawn at random.
    """

    neighbours: int = 5
    conditional: bool = True
    references: int = 2000

    name: ClassVar[str] = "knn"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Sun et al. 2022, arXiv:2204.06507"
    learned: ClassVar[tuple[str, ...]] = ("rows_", "predicted_")

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        if self.neighbours < 1:
            raise UserError(f"{self.neighbours} neighbours are too few", do="choose at least 1")
        kept = gather_references(trusted, self.references)
        self.rows_ = {layer: F.normalize(rows) for layer, rows in kept.rows.items()}
        self.predicted_ = kept.predicted

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        return {layer: self._distance(layer, seen.rows[layer], seen.predicted) for layer in self.layers_}

    def _distance(self, layer: str, rows: Tensor, predicted: Tensor) -> Tensor:
        references = References(self.rows_[layer], self.predicted_)
        count = min(self.neighbours, len(self.predicted_))
        distances, _ = references.nearest(F.normalize(rows), count, predicted if self.conditional else None)
        return distances[:, -1]
