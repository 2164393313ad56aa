"""A supervised linear probe: what a detector could know at most that had seen the anomalies.

Alain & Bengio, "Understanding intermediate layers using linear classifier probes", ICLR 2017.

It is no defence but a bound: it must be told which of the untrusted inputs are anomalous, so it only runs where the
truth is known. One logistic regression reads all layers together, each dimension in standard deviations of trusted
inputs; both are learned state.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from theriac.detect.inputs.base import LayerDetector, Mode, Need
from theriac.detect.inputs.observing import Observations, Seen, gather
from theriac.detect.statistics import ClassMoments
from theriac.errors import UserError

ITERATIONS = 500
LARGEST = 20.0
"""Standard deviations at which a value is cut: one dimension that is nearly constant must not decide alone."""


@dataclass
class Probe(LayerDetector):
    """Scores inputs by a logistic regression on the activations of known anomalies.

    One score, ``all layers``: the logit of P(anomalous), usual and anomalous inputs being equally frequent.

    Learned state: ``means_``, ``scales_`` and ``weights_``, one per layer, and ``bias_``.

    Args:
        strength: Inverse weight of the L2 penalty on the weights.
    """

    strength: float = 0.01

    name: ClassVar[str] = "probe"
    version: ClassVar[str] = "1"
    paper: ClassVar[str] = "Alain & Bengio 2017, arXiv:1610.01644"
    mode: ClassVar[Mode] = "offline"
    needs: ClassVar[frozenset[Need]] = frozenset({"trusted", "untrusted", "anomalies"})
    learned: ClassVar[tuple[str, ...]] = ("means_", "scales_", "weights_", "bias_")
    positive: ClassVar[bool] = False

    def _learn(self, trusted: Observations, untrusted: Observations | None, anomalous: Tensor | None) -> None:
        if untrusted is None or anomalous is None:
            raise UserError(f"{self.name} must be told which untrusted inputs are anomalous")
        if len(anomalous) != len(untrusted) or not anomalous.any():
            what = f"{len(anomalous)} marks, {int(anomalous.sum())} of them anomalous, for {len(untrusted)} inputs"
            raise UserError(what, where=untrusted.data.name, do="mark every untrusted input, some of them anomalous")
        usual, mixed = gather(trusted), gather(untrusted)
        self.means_: dict[str, Tensor] = {}
        self.scales_: dict[str, Tensor] = {}
        for layer, rows in usual.rows.items():
            moments = ClassMoments(1, rows.shape[1]).update(rows)
            variances = moments.covariance().diag()
            floor = 1e-6 * variances.mean().clamp(min=torch.finfo(torch.float64).tiny)
            self.means_[layer], self.scales_[layer] = moments.means[0], (variances + floor).sqrt()
        x = torch.cat([self._standard(seen.rows) for seen in (usual, mixed)])
        y = torch.cat([torch.zeros(len(trusted), dtype=torch.bool), anomalous.bool().cpu()])
        model = LogisticRegression(C=self.strength, class_weight="balanced", max_iter=ITERATIONS)
        model.fit(x.numpy(), y.numpy())
        device = trusted.model.device
        widths = [usual.rows[layer].shape[1] for layer in trusted.layers]
        weights = torch.split(torch.from_numpy(model.coef_[0].copy()), widths)
        self.weights_ = {layer: part.to(device) for layer, part in zip(trusted.layers, weights, strict=True)}
        self.means_ = {layer: mean.to(device) for layer, mean in self.means_.items()}
        self.scales_ = {layer: scale.to(device) for layer, scale in self.scales_.items()}
        self.bias_ = float(model.intercept_[0])

    def _standard(self, rows: dict[str, Tensor]) -> Tensor:
        """Returns the rows of all layers side by side [b, widths], in trusted standard deviations."""
        parts = [(rows[layer].double() - self.means_[layer]) / self.scales_[layer] for layer in self.layers_]
        return torch.cat(parts, 1).clamp(-LARGEST, LARGEST)

    def _score(self, seen: Seen) -> dict[str, Tensor]:
        weights = torch.cat([self.weights_[layer] for layer in self.layers_])
        return {"all layers": self._standard(seen.rows) @ weights + self.bias_}
