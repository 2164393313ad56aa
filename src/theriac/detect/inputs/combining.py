"""One score from the scores of several layers, on a scale that trusted inputs set.

A layer's raw score has a scale of its own. Held-out trusted inputs say what is usual: scores are turned into standard
deviations from there, of their logarithm if they are positive, and only then combined.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from theriac.errors import UserError

Combine = Literal["both", "mean", "max"]
SMALLEST = 1e-12


class Combination:
    """Combines layers' scores; ``fit`` it on held-out trusted inputs.

    ``mean`` over layers finds what changes many of them a little, ``max`` what changes one a lot. ``both`` takes the
    larger of the two, each in its own trusted standard deviations: for a little more noise it misses neither.

    Args:
        combine: Which of them.
        positive: Whether raw scores are positive and may be very large, so that their logarithms are compared.
    """

    def __init__(self, combine: Combine = "both", *, positive: bool = True) -> None:
        if combine not in get_args(Combine):
            raise UserError(f"no combination {combine!r}", do=f"choose one of: {', '.join(get_args(Combine))}")
        self.combine, self.positive = combine, positive

    def fit(self, scores: Mapping[str, Tensor]) -> "Combination":
        """Learns centre and scale of each layer's ``scores`` [n] of held-out trusted inputs."""
        logs = {layer: self._linear(values) for layer, values in scores.items()}
        self.centre_ = {layer: float(values.mean()) for layer, values in logs.items()}
        self.scale_ = {layer: max(float(values.std()), 1e-6) for layer, values in logs.items()}
        standard = self.standard(scores)
        self.overall_ = {
            name: (float(values.mean()), max(float(values.std()), 1e-6))
            for name, values in (("mean", standard.mean(0)), ("max", standard.amax(0)))
        }
        return self

    def standard(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Returns scores [layers, b] in trusted standard deviations."""
        return torch.stack(
            [(self._linear(scores[layer]) - self.centre_[layer]) / self.scale_[layer] for layer in self.centre_]
        )

    def __call__(self, scores: Mapping[str, Tensor]) -> Tensor:
        """Returns one score [b]; higher is more anomalous, about 0 for trusted inputs."""
        standard = self.standard(scores)
        combined = {"mean": standard.mean(0), "max": standard.amax(0)}
        parts = [
            (combined[name] - centre) / scale
            for name, (centre, scale) in self.overall_.items()
            if self.combine in (name, "both")
        ]
        return torch.stack(parts).amax(0)

    def _linear(self, values: Tensor) -> Tensor:
        return values.double().clamp(min=SMALLEST).log() if self.positive else values.double()

    def state(self) -> dict[str, Any]:
        """Returns what was learned, for JSON."""
        return {"centre": self.centre_, "scale": self.scale_, "overall": self.overall_}

    def restore(self, state: Mapping[str, Any]) -> "Combination":
        """Takes over what :meth:`state` returned.

        Raises:
            KeyError, TypeError, ValueError: If it is something else.
        """
        self.centre_ = {str(layer): float(value) for layer, value in state["centre"].items()}
        self.scale_ = {layer: float(state["scale"][layer]) for layer in self.centre_}
        self.overall_ = {name: (float(pair[0]), float(pair[1])) for name, pair in state["overall"].items()}
        return self
