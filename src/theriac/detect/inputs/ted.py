"""Topological evolution dynamics: does an input keep company with its class from layer to layer?

Mo et al., "Robust Backdoor Detection for Deep Learning via Topological Evolution Dynamics", IEEE S&P 2024. In each
layer an input has a rank: how many trusted inputs are nearer to it than the nearest trusted input of its predicted
class. A triggered input starts out among its true class and ends among the target's: on the way its ranks are high.

We deviate from the paper in four ways. Logarithms of ranks are compared, because the step from 0 to 10 says more than
that from 500 to 510. The outlier score is measured along all principal components of the trusted ranks (the paper's
PCA outlier detector), but from rank 0 and not from their mean, so that an input that is more at home in its class than
usual is not anomalous. Rows of activations are averages over places. And by default there is a tube, as in "TED++"
(arXiv:2510.14299, 2025): an input too far from that nearest trusted input is not of its company at all. Plain TED does
not see a trigger whose inputs are a far-off crowd of their own that happens to be nearest to the target class. The
tube's wall is soft, unlike that of TED++: from one radius to two the logarithm of the rank rises to its largest; with a
hard one a good many trusted inputs are outside, or few triggered ones.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.inputs.references import References, gather_references
from theriac.errors import UserError

FEWEST = 5
"""Trusted inputs of the same class that a tube reaches at least: the distance to fewer varies too much."""


@dataclass
class TopologicalEvolution(LayerDetector):
    """Scores inputs by their ranks among trusted inputs, layer by layer taken together; one score, ``ranks``.

    Learned state: ``rows_``, the trusted rows of each layer, ``predicted_``, their classes, ``components_``
    [layers, layers], which whiten log-ranks, and ``radii_`` of the tube about each trusted row.

    Args:
        references: Trusted inputs kept, drawn at random; several of each class are needed.
        tube: The radius of the tube about a trusted input is its distance to this share of its class (and to five of
            it at least). 0 for no tube, as in TED; TED++ has 0.5, with 20 trusted inputs of each class.
    """

    references: int = 2000
    tube: float = 0.1

    name: ClassVar[str] = "ted"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Mo et al. 2024, arXiv:2312.02673"
    learned: ClassVar[tuple[str, ...]] = ("rows_", "predicted_", "components_", "radii_")
    positive: ClassVar[bool] = False

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        if not 0 <= self.tube <= 1:
            raise UserError(f"a tube of {self.tube} is not a share", do="choose a number from 0 to 1")
        kept = gather_references(trusted, self.references)
        self.rows_, self.predicted_ = kept.rows, kept.predicted
        self.radii_ = {layer: self._radii(rows) for layer, rows in kept.rows.items()} if self.tube else {}
        ranks = self._log_ranks(kept.rows, kept.predicted, own=True)
        # As if one more input had rank 1 in each layer alone: no layer is without variance, however clean its ranks.
        moments = (ranks.T @ ranks + math.log(2) ** 2 * torch.eye(ranks.shape[1]).to(ranks)) / len(ranks)
        variances, directions = torch.linalg.eigh(moments)
        self.components_ = (directions / variances.sqrt()).contiguous()

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        ranks = self._log_ranks(seen.rows, seen.predicted)
        return {"ranks": (ranks @ self.components_).square().mean(1).sqrt()}

    def _log_ranks(self, rows: dict[str, Tensor], predicted: Tensor, *, own: bool = False) -> Tensor:
        """Returns log(1 + rank) [b, layers] in float64."""
        columns = []
        for layer in self.layers_:
            references = References(self.rows_[layer], self.predicted_)
            ranks, near = references.ranks(rows[layer], predicted, own=own)
            logs = ranks.double().log1p()
            if self.tube:
                outside = (rows[layer] - references.rows[near]).norm(dim=1) / self.radii_[layer][near] - 1
                logs = torch.maximum(logs, outside.clamp(0, 1) * math.log1p(len(references.rows)))
            columns.append(logs)
        return torch.stack(columns, 1)

    def _radii(self, rows: Tensor) -> Tensor:
        """Returns the radius of the tube about each trusted row [n]."""
        limits = torch.finfo(rows.dtype)
        radii = torch.full_like(rows[:, 0], limits.max)  # a class of one has no radius to tell
        for class_ in self.predicted_.bincount().nonzero().flatten().tolist():
            members = (self.predicted_ == class_).nonzero().flatten()
            count = min(max(FEWEST, math.ceil(self.tube * (len(members) - 1))), len(members) - 1)
            if count:
                alone = References(rows[members], self.predicted_[members])
                radii[members] = alone.nearest(rows[members], count, own=True)[0][:, -1].float()
        return radii.clamp(min=limits.tiny)  # equal rows
