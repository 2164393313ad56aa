"""A variational autoencoder of trusted activations: what it cannot rebuild is unusual.

Kingma & Welling, "Auto-Encoding Variational Bayes", ICLR 2014; An & Cho, "Variational Autoencoder based Anomaly
Detection using Reconstruction Probability", 2015; one per layer, as in cupbearer.

We deviate in four ways. Rows are whitened by the covariance within predicted classes, and the network is told the
predicted class (a conditional autoencoder), because a triggered input is unlike its class and not unlike everything.
The decoder's variance is learned, dimension by dimension (Rybkin et al., "Simple and Effective VAE Training with
Calibrated Decoders", ICML 2021), because one variance for all hides what is small and yet never varies. Scores take
the posterior's mean instead of a sample, so that an input always has the same score. And the network learns for a fixed
number of steps, from a sample of the rows if there are very many.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations, Seen, gather
from theriac.detect.inputs.perceptron import ROWS, descend, forward, perceptron
from theriac.detect.shrinkage import whitening
from theriac.detect.statistics import ClassMoments

SMALLEST_VARIANCE = 1e-2
"""Of the decoder, where trusted rows vary by 1: a dimension that is rebuilt too well must not outweigh all others."""


LARGEST = 1e6
"""Standard deviations at which a value is cut, so that no score is infinite."""


@dataclass
class Vae(LayerDetector):
    """Scores inputs by the bound on their likelihood under autoencoders of several layers' trusted activations.

    Learned state: ``nets_``, for each layer its mean, whitening, encoder, decoder and the decoder's log-variance;
    ``classes_``.

    Args:
        conditional: Tell the network the predicted class.
        latent: Width of the code.
        hidden: Width of the one hidden layer of encoder and decoder.
        steps: Batches of 128 rows that it learns from.
        rate: First learning rate of Adam.
        divergence: Weight of the Kullback-Leibler divergence of the code from a standard normal one.
        shrinkage: Weight of ``trace/d I`` in the covariance that whitens, in (0, 1].
        seed: Seed of first weights, batches and noise while learning.
    """

    conditional: bool = True
    latent: int = 16
    hidden: int = 128
    steps: int = 400
    rate: float = 2e-3
    divergence: float = 1.0
    shrinkage: float = 1e-3
    seed: int = 0

    name: ClassVar[str] = "vae"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Kingma & Welling 2014, arXiv:1312.6114"
    learned: ClassVar[tuple[str, ...]] = ("nets_", "classes_")

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        seen = gather(trusted, ROWS, self.seed)
        device = trusted.model.device
        self.classes_ = max(1, len(trusted.model.classes)) if self.conditional else 1
        predicted = (seen.predicted if self.conditional else torch.zeros_like(seen.predicted)).to(device)
        self.nets_: dict[str, dict[str, Any]] = {}
        for place, layer in enumerate(trusted.layers):
            generator = torch.Generator().manual_seed(self.seed + place)
            self.nets_[layer] = self._autoencoder(seen.rows[layer].to(device), predicted, generator)

    def _autoencoder(self, rows: Tensor, predicted: Tensor, generator: torch.Generator) -> dict[str, Any]:
        moments = ClassMoments(self.classes_, rows.shape[1], rows.device).update(rows, predicted)
        white = whitening(moments.covariance(), self.shrinkage).contiguous()
        net: dict[str, Any] = {"mean": moments.overall().means[0], "whitening": white}
        x, told = self._white(net, rows), self._told(predicted)
        (n, width), classes = x.shape, told.shape[1]
        net["encoder"] = perceptron((width + classes, self.hidden, 2 * self.latent), generator, rows.device)
        net["decoder"] = perceptron((self.latent + classes, self.hidden, width), generator, rows.device)
        net["log_variance"] = torch.zeros(width, device=rows.device)

        def loss(index: Tensor) -> Tensor:
            noise = torch.randn(len(index), self.latent, generator=generator).to(x)
            misfit, divergence = self._parts(net, x[index], told[index], noise)
            bound: Tensor = misfit + _bounded(net["log_variance"]).sum() + 2 * self.divergence * divergence
            return bound.mean() / (2 * width)

        parts = [*net["encoder"], *net["decoder"], net["log_variance"]]
        descend(parts, loss, n, steps=self.steps, rate=self.rate, generator=generator)
        return net

    def _told(self, predicted: Tensor) -> Tensor:
        """Returns what the network is told besides the row: nothing, or which class [b, classes]."""
        if not self.conditional:
            return torch.zeros(len(predicted), 0, device=predicted.device)
        return F.one_hot(predicted, self.classes_).float()

    def _white(self, net: dict[str, Any], rows: Tensor) -> Tensor:
        white: Tensor = (rows.double() - net["mean"]) @ net["whitening"].T
        return white.clamp(-LARGEST, LARGEST).float()

    def _parts(self, net: dict[str, Any], x: Tensor, told: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
        """Returns the misfit of what is rebuilt, in the decoder's variance, and the code's divergence, both [b]."""
        mean, log_variance = forward(net["encoder"], torch.cat([x, told], 1)).chunk(2, 1)
        log_variance = log_variance.clamp(-10, 10)
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
        code = mean if noise is None else mean + noise * (log_variance / 2).exp()
        rebuilt = forward(net["decoder"], torch.cat([code, told], 1))
        return ((x - rebuilt).square() / _bounded(net["log_variance"]).exp()).sum(1), divergence

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        return {
            layer: self._unlikeliness(self.nets_[layer], seen.rows[layer], seen.predicted) for layer in self.layers_
        }

    def _unlikeliness(self, net: dict[str, Any], rows: Tensor, predicted: Tensor) -> Tensor:
        """Returns the bound on the negative log-likelihood per dimension [b], without its constants."""
        misfit, divergence = self._parts(net, self._white(net, rows), self._told(predicted), None)
        return (misfit.double() / 2 + self.divergence * divergence.double()) / rows.shape[1]


def _bounded(log_variance: Tensor) -> Tensor:
    return log_variance.clamp(min=math.log(SMALLEST_VARIANCE))
