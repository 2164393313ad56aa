"""Likelihood ratio: is an input likelier among untrusted inputs than among trusted ones?

The optimal test by Neyman and Pearson, with a normal distribution for either; used for anomalies by EleutherAI, "MAD
research update", 2024.

Untrusted inputs are described after trusted ones have been made white: their deviations from the trusted mean of the
class that the model gives them have a mean and a covariance of their own, which is shrunk towards the trusted one
(Ledoit and Wolf's weight), so that with few untrusted inputs, or many features, chance differences are not taken for
anomalies.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector, Mode, Need
from theriac.detect.inputs.moments import Usual, deviations, moments_by_layer, usual_of, whitened_by_layer
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.shrinkage import Shrinkage, Whitening, weight_of, white
from theriac.detect.statistics import ClassMoments


@dataclass
class LikelihoodRatio(LayerDetector):
    """Scores inputs by log p(activations | untrusted) - log p(activations | trusted).

    Learned state, by layer: ``means_`` of trusted inputs, ``whitening_`` into the directions in which untrusted ones
    vary, what these are like there, ``untrusted_``, and the ``weights_`` of the shrinkage targets: of the trusted
    covariance, and of the untrusted one.

    Args:
        conditional: Compare with trusted inputs of the same predicted class instead of with all.
        shrinkage: Weight of ``trace/d I`` in the trusted covariance and of the trusted covariance in the
            untrusted one, in (0, 1], or the rule that finds both: ``ledoit-wolf`` or ``oas``.
    """

    conditional: bool = True
    shrinkage: Shrinkage = "ledoit-wolf"

    name: ClassVar[str] = "likelihood-ratio"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Neyman & Pearson 1933; EleutherAI 2024, MAD research update"
    mode: ClassVar[Mode] = "offline"
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted", "untrusted"})
    learned: ClassVar[tuple[str, ...]] = ("means_", "whitening_", "untrusted_", "weights_")
    positive: ClassVar[bool] = False

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        assert untrusted is not None
        moments = moments_by_layer(trusted, conditional=self.conditional)
        usual: dict[str, Usual] = {layer: usual_of(known, self.shrinkage) for layer, known in moments.items()}
        self.means_ = {layer: known.means for layer, known in usual.items()}
        self.whitening_: dict[str, Any] = {}
        self.untrusted_: dict[str, dict[str, Tensor]] = {}
        self.weights_: dict[str, list[float]] = {}
        for layer, seen in whitened_by_layer(untrusted, usual, apart=False).items():
            weight = weight_of(self.shrinkage, seen)
            self.weights_[layer] = [usual[layer].weight, weight]
            self.whitening_[layer], self.untrusted_[layer] = untrusted_normal(seen, usual[layer].whitening, weight)

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        scores = {}
        for layer in self.layers_:
            known = self.untrusted_[layer]
            h = white(deviations(seen.rows[layer], self.means_[layer], seen.predicted), self.whitening_[layer])
            along = h @ known["directions"] if "directions" in known else h
            rest = (h.square().sum(1) - along.square().sum(1)) * (1 - known["rest"])
            ratio = along.square() - (along - known["mean"]).square() * known["precision"]
            scores[layer] = (ratio.sum(1) + rest) / 2 + known["offset"]
        return scores


def untrusted_normal(
    seen: ClassMoments, whitening: Whitening, weight: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns ``whitening`` turned into the directions in which untrusted rows vary, and their distribution there.

    Args:
        seen: Moments of untrusted rows made white by ``whitening``.
        whitening: By what they were made so.
        weight: How much they are taken to be distributed as trusted rows are.
    """
    spectrum = seen.spectrum()
    variances, rest = (1 - weight) * spectrum.values + weight, (1 - weight) * spectrum.rest + weight
    others = spectrum.width - len(variances)
    offset = -(variances.log().sum() + others * torch.full_like(variances.sum(), rest).log()) / 2
    known = {
        "mean": (seen.means[0] @ spectrum.vectors).float(),
        "precision": variances.reciprocal().float(),
        "rest": torch.full_like(offset, 1 / rest if others else 1.0).float(),
        "offset": offset.float(),
    }
    if others or "matrix" not in whitening:
        return dict(whitening), known | {"directions": spectrum.vectors.float()}
    return {"matrix": (spectrum.vectors.T @ whitening["matrix"].double()).float().contiguous()}, known
