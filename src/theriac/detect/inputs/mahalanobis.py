"""Mahalanobis distance of an input's activations to those of trusted inputs of the same predicted class.

Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS
2018.

We deviate from the paper in four ways. The distance is taken to the predicted class, not to the nearest one, because a
triggered input is near its true class and yet called another. The covariance is shrunk towards ``trace(C)/d I``: the
paper's inverse is blind to directions in which the trusted sample happens to have no variance. Layers are combined
without labelled anomalies. And the threshold is the conformal quantile of held-out trusted inputs for a stated
false-positive rate.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.statistics import ClassMoments, whitening


@dataclass
class Mahalanobis(LayerDetector):
    """Scores inputs by how far their activations are from trusted ones, over several layers.

    Learned state: ``means_`` and ``whitening_``, one per layer.

    Args:
        conditional: Compare with trusted inputs of the same predicted class instead of with all.
        shrinkage: Weight of ``trace/d I`` in the covariance, in (0, 1].
    """

    conditional: bool = True
    shrinkage: float = 1e-3

    name: ClassVar[str] = "mahalanobis"
    version: ClassVar[str] = "2"
    paper: ClassVar[str] = "Lee et al. 2018, arXiv:1807.03888"
    learned: ClassVar[tuple[str, ...]] = ("means_", "whitening_")

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        classes = max(1, len(trusted.model.classes)) if self.conditional else 1
        moments: dict[str, ClassMoments] = {}
        for seen in trusted:
            for layer, x in seen.rows.items():
                known = moments.setdefault(layer, ClassMoments(classes, x.shape[1], x.device))
                known.update(x, seen.predicted if self.conditional else None)
        self.means_: dict[str, Tensor] = {}
        self.whitening_: dict[str, Tensor] = {}
        for layer, known in moments.items():
            present = known.counts[:, None] > 0  # a class that no trusted input is given to: compare with all
            self.means_[layer] = torch.where(present, known.means, known.overall().means)
            self.whitening_[layer] = whitening(known.covariance(), self.shrinkage).contiguous()

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        return {layer: self._distance(layer, seen.rows[layer], seen.predicted) for layer in self.layers_}

    def _distance(self, layer: str, rows: Tensor, predicted: Tensor) -> Tensor:
        """Returns the squared distance per dimension [b]; about 1 for trusted inputs."""
        means = self.means_[layer]
        centred = rows.double() - (means[predicted] if self.conditional else means)
        return (centred @ self.whitening_[layer].T).square().mean(1)
