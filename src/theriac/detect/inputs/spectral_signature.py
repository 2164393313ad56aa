"""Spectral signatures: poison shifts its class along the direction in which the class varies most.

Tran, Li & Madry, "Spectral Signatures in Backdoor Attacks", NeurIPS 2018. Of each class, the squared projection of
centred activations on the top singular vector.

We deviate from the paper in five ways. Classes are those that the model predicts, because untrusted inputs have no
labels that one could trust. All layers are looked at, not one. Directions are those of untrusted inputs, but their zero
is the mean of trusted ones, because the untrusted mean lies between clean and poisoned inputs and makes both stand out
(``centre="untrusted"`` is the paper's). A score is divided by the variance of trusted inputs of its class along the
same direction: the paper ranks within a class and never compares classes, a threshold does. And no stated share
of poison is removed: held-out trusted inputs set the threshold.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector, Mode, Need
from theriac.detect.inputs.moments import apart_by_layer, class_means, deviations, spectra
from theriac.detect.inputs.observing import Observations, Seen
from theriac.detect.statistics import ClassMoments

PRIOR = 10
"""A class's variance counts more than that of all from this many trusted inputs of it on."""


@dataclass
class SpectralSignature(LayerDetector):
    """Scores inputs by how far they lie along the main direction of their class in a set of untrusted inputs.

    A set is judged as a whole: fit it on the set that is to be judged. It finds poison that is many within its class.

    Learned state, by layer: ``means_`` and ``directions_`` of the classes, and the trusted variances along them,
    ``scales_``.

    Args:
        centre: Whose class means projections are counted from, ``trusted`` or, as published, ``untrusted``.
    """

    centre: Literal["trusted", "untrusted"] = "trusted"

    name: ClassVar[str] = "spectral-signature"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Tran et al. 2018, arXiv:1811.00636"
    mode: ClassVar[Mode] = "data set"
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted", "untrusted"})
    learned: ClassVar[tuple[str, ...]] = ("means_", "directions_", "scales_")
    positive: ClassVar[bool] = False  # squares of what is about normal: their logarithms have a long tail downwards

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        assert untrusted is not None
        self.means_: dict[str, Tensor] = {}
        self.directions_: dict[str, Tensor] = {}
        for layer, moments in apart_by_layer(untrusted).items():
            self.means_[layer] = class_means(moments)
            first = [spectrum.vectors[:, 0] for spectrum in spectra(moments, keep=1, prior=0)]
            self.directions_[layer] = torch.stack(first).float()
        known: dict[str, ClassMoments] = {}
        for seen in trusted:
            for layer in self.layers_:
                along = self._along(layer, seen)[:, None]
                if layer not in known:
                    known[layer] = ClassMoments(len(self.means_[layer]), 1, along.device)
                known[layer].update(along, seen.predicted)
        self.scales_ = {layer: variances(moments).float() for layer, moments in known.items()}
        if self.centre == "trusted":
            for layer, moments in known.items():
                self.means_[layer] += class_means(moments) * self.directions_[layer]

    def _along(self, layer: str, seen: Seen) -> Tensor:
        """Returns where inputs lie along the direction of their class [b]."""
        centred = deviations(seen.rows[layer], self.means_[layer], seen.predicted)
        return (centred * self.directions_[layer][seen.predicted]).sum(1)

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        return {
            layer: self._along(layer, seen).square() / self.scales_[layer][seen.predicted] for layer in self.layers_
        }


def variances(moments: ClassMoments) -> Tensor:
    """Returns the variance of each class [classes] of single numbers, leaning on that of all where there are few."""
    every = moments.squares.sum() / moments.counts.sum().clamp(min=1)
    leaning = (moments.squares + PRIOR * every) / (moments.counts + PRIOR)
    return leaning.clamp(min=torch.finfo(torch.float32).tiny)
