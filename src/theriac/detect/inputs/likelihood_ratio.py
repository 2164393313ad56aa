"""Likelihood ratio: is an input likelier among untrusted inputs than among trusted ones?

The optimal test by Neyman and Pearson, with a normal distribution for either; used for anomalies by EleutherAI, "MAD
research update", 2024.

Untrusted inputs are described after trusted ones have been made white: their deviations from the trusted mean of the
class that the model gives them have a mean and a covariance of their own. With few untrusted inputs, or many features,
these differ from the trusted ones by chance, so only what chance does not explain counts: variances beyond the largest
eigenvalue that two samples of one distribution show (Wachter, "The limiting empirical measure of multiple discriminant
ratios", Annals of Statistics 1980), and a mean longer than chance makes it, shrunk by James and Stein's factor.
Variances smaller than trusted ones say nothing about anomalies and are left at 1.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector, Mode, Need
from theriac.detect.inputs.moments import Usual, deviations, moments_by_layer, usual_of, whitened_by_layer
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.shrinkage import Shrinkage, Whitening, white
from theriac.detect.statistics import ClassMoments

TRACY_WIDOM, NORMAL = 2.02, 2.33
"""99 % quantiles: of the largest eigenvalue of a real symmetric matrix, and of the normal distribution."""


@dataclass
class LikelihoodRatio(LayerDetector):
    """Scores inputs by log p(activations | untrusted) - log p(activations | trusted).

    Learned state, by layer: ``means_`` of trusted inputs, ``whitening_`` into the directions in which untrusted ones
    vary, what these are like there, ``untrusted_``, and the ``weights_`` of ``trace/d I`` in the trusted covariance.

    Args:
        conditional: Compare with trusted inputs of the same predicted class instead of with all.
        shrinkage: Weight of ``trace/d I`` in the trusted covariance, in (0, 1], or the rule that finds it:
            ``ledoit-wolf`` or ``oas``.
    """

    conditional: bool = True
    shrinkage: Shrinkage = "ledoit-wolf"

    name: ClassVar[str] = "likelihood-ratio"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Neyman & Pearson 1933; EleutherAI 2024, MAD research update"
    keeps_rate: ClassVar[bool] = True
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
        self.weights_ = {layer: known.weight for layer, known in usual.items()}
        for layer, seen in whitened_by_layer(untrusted, usual, apart=False).items():
            edge = chance_edge(seen.width, seen.freedom, moments[layer].freedom)
            noise = seen.trace * (1 / seen.freedom + 1 / moments[layer].freedom)
            known = untrusted_normal(seen, usual[layer].whitening, edge, noise)
            self.whitening_[layer], self.untrusted_[layer] = known

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        scores = {}
        for layer in self.layers_:
            known = self.untrusted_[layer]
            h = white(deviations(seen.rows[layer], self.means_[layer], seen.predicted), self.whitening_[layer])
            along = h @ known["directions"] if "directions" in known else h
            ratio = along.square() - (along - known["mean"]).square() * known["precision"]
            scores[layer] = ratio.sum(1) / 2 + known["offset"]
        return scores


def chance_edge(width: int, rows: float, trusted: float) -> float:
    """Returns what the largest variance of ``rows`` rows made white by ``trusted`` others alike seldom exceeds.

    That is Wachter's limit, and above it as much as the largest eigenvalue of as many normal rows varies (the 99 %
    quantile of the Tracy-Widom distribution, as scaled by Johnstone, Annals of Statistics 2001). Whitening is never
    taken to rest on fewer than two rows a feature: with fewer, it is shrunk.

    >>> round(chance_edge(100, 400, 1e9), 2)  # 2.25 and chance
    2.33
    """
    own, others = width / rows, min(width / trusted, 0.5)
    limit: float = ((1 + math.sqrt(own + others - own * others)) / (1 - others)) ** 2
    root, wide = math.sqrt(rows), math.sqrt(width)
    return limit * (1 + TRACY_WIDOM * math.cbrt(1 / root + 1 / wide) / (root + wide))


def untrusted_normal(
    seen: ClassMoments, whitening: Whitening, edge: float, noise: float
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Returns ``whitening`` turned into the directions in which untrusted rows vary, and their distribution there.

    Args:
        seen: Moments of untrusted rows made white by ``whitening``.
        whitening: By what they were made so.
        edge: Variances up to here are chance.
        noise: Squared length that the mean has by chance.
    """
    spectrum = seen.spectrum()
    variances = torch.where(spectrum.values > edge, spectrum.values, 1.0)
    mean = seen.means[0] @ spectrum.vectors
    length = float(mean.square().sum())
    surprising = length > noise * (1 + NORMAL * math.sqrt(2 / seen.width))
    mean = mean * ((1 - noise / length) if surprising else 0.0)
    others = spectrum.width - len(variances)
    known = {
        "mean": mean.float(),
        "precision": variances.reciprocal().float(),
        "offset": (-variances.log().sum() / 2).float(),
    }
    if others or "matrix" not in whitening:
        return dict(whitening), known | {"directions": spectrum.vectors.float()}
    return {"matrix": (spectrum.vectors.T @ whitening["matrix"].double()).float().contiguous()}, known
