"""Locally consistent abstraction: a small network that must follow the large one layer by layer.

Jenner, "Mechanistic anomaly detection via abstraction", cupbearer 2023, after Christiano et al., "Mechanistic anomaly
detection", 2022: a map tau takes each layer's activations to a small abstraction, and a small network predicts each
layer's abstraction from that of the layer before (from its true value: that is local consistency). Where the model
computes by an unusual mechanism, the prediction fails.

We deviate in four ways. The maps are fixed, the leading principal directions of trusted activations, whitened: maps
learned together with the prediction can make it perfect by abstracting nothing, and a distance between freely learned
abstractions has no scale. The last layer, the answers by default, keeps all its directions, so that the output is
predicted too. The first layer follows from nothing, so its abstraction is compared with that of trusted inputs. And a
misfit is measured against the misfits of trusted inputs of the same predicted class, in the metric of their covariance,
instead of by its plain length.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector
from theriac.detect.inputs.observing import Observations, Seen, gather
from theriac.detect.inputs.perceptron import ROWS, descend, forward, perceptron
from theriac.detect.shrinkage import whitening
from theriac.detect.statistics import ClassMoments
from theriac.errors import UserError

NEGLIGIBLE = 1e-6
"""Directions with less than this share of the largest variance are not part of an abstraction."""

UNAVOIDABLE = 1e-4
"""Variance of a misfit, where abstractions vary by 1, that is put down to rounding and to the short training."""


LARGEST = 1e6
"""Standard deviations at which a value is cut, so that no score is infinite."""


@dataclass
class Abstraction(LayerDetector):
    """Scores inputs by how badly each layer's abstraction follows from that of the layer before.

    Learned state: ``maps_``, for each layer mean and directions; ``steps_``, for each layer the linear and the
    nonlinear part of the prediction (nothing for the first), and means and whitening of trusted misfits.

    Args:
        size: Width of an abstraction, at most; the last layer keeps its own.
        hidden: Width of the one hidden layer of each prediction.
        steps: Batches of 128 rows that each prediction learns from.
        rate: First learning rate of Adam.
        conditional: Compare a misfit with those of the same predicted class instead of with all.
        shrinkage: Weight of ``trace/d I`` in the covariance of misfits, in (0, 1].
        seed: Seed of first weights and batches.
    """

    size: int = 64
    hidden: int = 128
    steps: int = 400
    rate: float = 2e-3
    conditional: bool = True
    shrinkage: float = 1e-3
    seed: int = 0

    name: ClassVar[str] = "abstraction"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Jenner 2023, github.com/ejnnr/cupbearer"
    learned: ClassVar[tuple[str, ...]] = ("maps_", "steps_")

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        if len(trusted.layers) < 2:
            raise UserError(f"{self.name} compares layers, and there is one", do="name at least two, in their order")
        seen, device = gather(trusted, ROWS, self.seed), trusted.model.device
        classes = max(1, len(trusted.model.classes)) if self.conditional else 1
        predicted = (seen.predicted if self.conditional else torch.zeros_like(seen.predicted)).to(device)
        self.maps_: dict[str, dict[str, Tensor]] = {}
        self.steps_: dict[str, dict[str, Any]] = {}
        before: Tensor | None = None
        for place, layer in enumerate(trusted.layers):
            rows = seen.rows[layer].to(device)
            last = place == len(trusted.layers) - 1
            self.maps_[layer] = _principal(rows, rows.shape[1] if last else self.size)
            here = self._abstract(layer, rows)
            generator = torch.Generator().manual_seed(self.seed + place)
            step = {} if before is None else self._prediction(before, here, generator)
            self.steps_[layer] = step | self._usual(_misfit(step, before, here), predicted, classes)
            before = here

    def _prediction(self, before: Tensor, here: Tensor, generator: torch.Generator) -> dict[str, Any]:
        """Returns a linear map, by least squares, and what a small network adds to it."""
        n, width = before.shape
        ridge = before.T.double() @ before.double() + n * 1e-3 * torch.eye(width, device=here.device).double()
        linear = torch.linalg.solve(ridge, before.T.double() @ here.double()).T.float().contiguous()
        net = perceptron((width, self.hidden, here.shape[1]), generator, here.device)
        step: dict[str, Any] = {"linear": linear, "net": net}
        descend(
            net,
            lambda index: _misfit(step, before[index], here[index]).square().mean(),
            n,
            steps=self.steps,
            rate=self.rate,
            generator=generator,
        )
        return step

    def _usual(self, misfits: Tensor, predicted: Tensor, classes: int) -> dict[str, Tensor]:
        """Returns means [classes, width] and whitening of trusted misfits."""
        moments = ClassMoments(classes, misfits.shape[1], misfits.device).update(misfits, predicted)
        known = moments.counts[:, None] > 0
        floor = UNAVOIDABLE * torch.eye(misfits.shape[1], dtype=torch.float64, device=misfits.device)
        return {
            "means": torch.where(known, moments.means, moments.overall().means),
            "whitening": whitening(moments.covariance() + floor, self.shrinkage).contiguous(),
        }

    def _abstract(self, layer: str, rows: Tensor) -> Tensor:
        """Returns tau of ``rows``, [b, size]."""
        known = self.maps_[layer]
        tau: Tensor = (rows.double() - known["mean"]) @ known["directions"].T
        return tau.clamp(-LARGEST, LARGEST).float()

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        scores, before = {}, None
        for layer in self.layers_:
            step, here = self.steps_[layer], self._abstract(layer, seen.rows[layer])
            means = step["means"][seen.predicted] if self.conditional else step["means"]
            away = _misfit(step, before, here).double() - means
            scores[layer] = (away @ step["whitening"].T).square().mean(1)
            before = here
        return scores


def _misfit(step: dict[str, Any], before: Tensor | None, here: Tensor) -> Tensor:
    """Returns how far the abstractions ``here`` are from what those of the layer ``before`` say."""
    return here if before is None else here - before @ step["linear"].T - forward(step["net"], before)


def _principal(rows: Tensor, size: int) -> dict[str, Tensor]:
    """Returns the mean and up to ``size`` principal directions [size, width], scaled so that they vary by 1."""
    moments = ClassMoments(1, rows.shape[1], rows.device).update(rows)
    variances, vectors = torch.linalg.eigh(moments.covariance())
    kept = (variances > NEGLIGIBLE * variances[-1].clamp(min=torch.finfo(torch.float64).tiny)).nonzero()[-size:, 0]
    directions = vectors[:, kept].T / variances[kept].sqrt()[:, None]
    return {"mean": moments.means[0], "directions": directions.contiguous()}
