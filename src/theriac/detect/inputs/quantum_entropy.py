"""Quantum entropy scores: along which directions do untrusted inputs vary more than trusted ones?

Hayase, Kong, Somani & Oh, "SPECTRE: Defending Against Backdoor Attacks Using Robust Statistics", ICML 2021, after Dong,
Hopkins & Li, "Quantum Entropy Scoring for Fast Robust Mean Estimation and Improved Outlier Detection", NeurIPS 2019.
Activations are made white by the mean and covariance of trusted inputs; with S the second moment of untrusted ones so
whitened, a score is ``h^T Q h / tr Q``, ``Q = exp(alpha (S - I) / (||S|| - 1))``: between the squared length of h
(alpha = 0) and its square along the one direction that stands out most (alpha = infinity).

We deviate from the paper in four ways. Mean and covariance are those of trusted inputs, shrunk, instead of robust
estimates from untrusted ones, for there are trusted ones here. Classes are those that the model predicts; all share S
unless told otherwise, and ``per_class`` leans on the S of all where a class has few inputs. Activations are not
projected to a few dimensions first: alpha chooses among directions already. All layers are looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector, Mode, Need
from theriac.detect.inputs.moments import (
    Usual,
    deviations,
    moments_by_layer,
    spectra,
    usual_of,
    whitened_by_layer,
)
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.shrinkage import Shrinkage, white
from theriac.detect.sketch import Spectrum
from theriac.errors import UserError

KEPT = 32
"""Directions kept of each class when classes have their own; the others count alike."""

LEAST_EXCESS = 0.01
"""Excess variance of the direction that stands out most, at least: less than that is noise."""


@dataclass
class QuantumEntropy(LayerDetector):
    """Scores inputs by how far they lie along what untrusted inputs have and trusted ones have not.

    Learned state, by layer: ``means_`` and ``whitening_`` of trusted inputs (into which Q is multiplied where it can
    be), the ``weights_`` of ``trace/d I`` in the covariance, and otherwise ``quantum_``, the eigenvectors of Q.

    Args:
        alpha: How much the directions that stand out count; 0 is a Mahalanobis distance.
        conditional: Compare with trusted inputs of the same predicted class instead of with all.
        per_class: Let each class have its own Q; for poison that differs between classes.
        shrinkage: Weight of ``trace/d I`` in the trusted covariance, in (0, 1], or the rule that finds it:
            ``ledoit-wolf`` or ``oas``.
    """

    alpha: float = 4.0
    conditional: bool = True
    per_class: bool = False
    shrinkage: Shrinkage = "ledoit-wolf"

    name: ClassVar[str] = "quantum-entropy"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Hayase et al. 2021, arXiv:2104.11315"
    mode: ClassVar[Mode] = "offline"
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted", "untrusted"})
    learned: ClassVar[tuple[str, ...]] = ("means_", "whitening_", "weights_", "quantum_")

    def __post_init__(self) -> None:
        if self.alpha < 0:
            raise UserError(f"alpha {self.alpha} must not be negative")

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        assert untrusted is not None
        moments = moments_by_layer(trusted, conditional=self.conditional)
        usual: dict[str, Usual] = {layer: usual_of(known, self.shrinkage) for layer, known in moments.items()}
        self.means_ = {layer: known.means for layer, known in usual.items()}
        self.whitening_: dict[str, Any] = {layer: known.whitening for layer, known in usual.items()}
        self.weights_ = {layer: known.weight for layer, known in usual.items()}
        self.quantum_: dict[str, dict[str, Tensor]] = {}
        for layer, seen in whitened_by_layer(untrusted, usual, apart=self.per_class).items():
            origin = torch.zeros_like(seen.means)  # where trusted inputs have their mean
            excess = spectra(seen.about(origin), keep=KEPT if self.per_class else None, prior=seen.width)
            gains = [quantum_gains(spectrum, self.alpha) for spectrum in excess]
            if len(excess) == 1 and len(excess[0].values) == seen.width:  # all in one matrix
                half = (excess[0].vectors * gains[0][0].sqrt()).T.to(torch.float64)
                self.whitening_[layer] = {"matrix": (half @ usual[layer].whitening["matrix"].double()).float()}
            else:
                self.quantum_[layer] = {
                    "directions": torch.stack([spectrum.vectors for spectrum in excess]).float(),
                    "gains": torch.stack([gain for gain, _ in gains]).float(),
                    "rest": torch.stack([rest for _, rest in gains]).float(),
                }

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        scores = {}
        for layer in self.layers_:
            h = white(deviations(seen.rows[layer], self.means_[layer], seen.predicted), self.whitening_[layer])
            length = h.square().sum(1)
            known = self.quantum_.get(layer)
            scores[layer] = length if known is None else _weighed(h, length, known, seen.predicted)
        return scores


def quantum_gains(spectrum: Spectrum, alpha: float) -> tuple[Tensor, Tensor]:
    """Returns the eigenvalues [k] of ``Q / tr Q`` along the directions of ``spectrum``, and that of all others.

    >>> kept = Spectrum(torch.tensor([5.0, 1.0]), torch.eye(2), 0.0)
    >>> quantum_gains(kept, 4.0)[0]
    tensor([0.9820, 0.0180])
    """
    values = spectrum.values
    rest = torch.full_like(values.sum(), spectrum.rest)
    excess = (values.amax() - 1).clamp(min=LEAST_EXCESS)
    gains, others = (alpha * (values - 1) / excess).exp(), (alpha * (rest - 1) / excess).exp()
    total = gains.sum() + others * (spectrum.width - len(values))
    return gains / total, others / total


def _weighed(h: Tensor, length: Tensor, known: Mapping[str, Tensor], predicted: Tensor) -> Tensor:
    """Returns ``h^T Q h / tr Q`` [b] of ``h`` [b, d], whose squared ``length`` is known, by the Q of its class."""
    if len(known["directions"]) == 1:
        along = (h @ known["directions"][0]).square()
        return along @ known["gains"][0] + known["rest"] * (length - along.sum(1))
    along = torch.einsum("bd,bdk->bk", h, known["directions"][predicted]).square()
    return (along * known["gains"][predicted]).sum(1) + known["rest"][predicted] * (length - along.sum(1))
