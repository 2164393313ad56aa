"""Mahalanobis distance of an input's activations to those of trusted inputs of the same predicted class.

Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks", NeurIPS
2018; relative: Ren et al., "A Simple Fix to Mahalanobis Distance for Improving Near-OOD Detection", arXiv:2106.09022.

We deviate from the papers in five ways. The distance is taken to the predicted class, not to the nearest one, because
a triggered input is near its true class and yet called another. The covariance is shrunk towards ``trace(C)/d I``: the
papers' inverse is blind to directions in which the trusted sample happens to have no variance. The covariance of
a very wide layer is low rank and alike in all other directions (:mod:`theriac.detect.sketch`). Layers are combined
without labelled anomalies. And the threshold is the conformal quantile of held-out trusted inputs for a stated
false-positive rate.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.combining import Combination
from theriac.detect.inputs.moments import deviations, moments_by_layer, usual_of
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.shrinkage import Shrinkage, white
from theriac.errors import UserError


@dataclass
class Mahalanobis(LayerDetector):
    """Scores inputs by how far their activations are from trusted ones, over several layers.

    Learned state, by layer: ``means_``, ``whitening_`` and the ``weights_`` of ``trace/d I`` in the covariance (which
    is sketched where ``whitening_`` has a basis); if asked for, the ``background_`` of all classes.

    Args:
        conditional: Compare with trusted inputs of the same predicted class instead of with all.
        relative: Subtract the distance to all trusted inputs whatever their class: what is unusual for any class
            does not count. As published; it finds inputs between classes, not those unlike any.
        shrinkage: Weight of ``trace/d I`` in the covariance, in (0, 1], or the rule that finds it: ``ledoit-wolf`` or
            ``oas``.
        residual: Count what lies in directions in which trusted inputs have (almost) no variance by so little a
            variance too, however much the covariance is shrunk. For pixels, and layers with units that are off.
    """

    conditional: bool = True
    relative: bool = False
    shrinkage: Shrinkage = "ledoit-wolf"
    residual: bool = False

    name: ClassVar[str] = "mahalanobis"
    version: ClassVar[str] = "3"
    paper: ClassVar[str] = "Lee et al. 2018, arXiv:1807.03888; Ren et al. 2021, arXiv:2106.09022"
    learned: ClassVar[tuple[str, ...]] = ("means_", "whitening_", "weights_", "background_")

    def __post_init__(self) -> None:
        if self.relative and not self.conditional:
            raise UserError("relative distances compare one class with all", do="leave conditional as it is")

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        self.means_: dict[str, Tensor] = {}
        self.whitening_: dict[str, Any] = {}
        self.weights_: dict[str, float] = {}
        self.background_: dict[str, Any] = {}
        for layer, moments in moments_by_layer(trusted, conditional=self.conditional).items():
            usual = usual_of(moments, self.shrinkage, residual=self.residual)
            self.means_[layer], self.whitening_[layer] = usual.means, usual.whitening
            self.weights_[layer] = usual.weight
            if self.relative:
                every = usual_of(moments.overall(), self.shrinkage, residual=self.residual)
                self.background_[layer] = {"mean": every.means, "whitening": every.whitening}

    def _combination(self) -> Combination:
        return Combination(self.combine, positive=not self.relative)  # a difference may be negative

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        scores = {}
        for layer in self.layers_:
            rows = seen.rows[layer].float()
            centred = deviations(rows, self.means_[layer], seen.predicted)
            distance = white(centred, self.whitening_[layer]).square().mean(1)
            if self.relative:
                background = self.background_[layer]
                distance -= white(rows - background["mean"], background["whitening"]).square().mean(1)
            scores[layer] = distance
        return scores
