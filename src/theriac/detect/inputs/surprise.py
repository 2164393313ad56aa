"""Scores of different methods on one scale: how surprising a score is among those of trusted inputs, in nats."""

from typing import Any

import torch
from torch import Tensor

TAIL = 0.1
"""Share of the trusted scores that the shape of the tail is learned from."""


class Surprise:
    """Turns a score into minus the logarithm of the share of trusted scores above it.

    Among the trusted scores that share is counted; beyond its last tenth there are too few to count, and the tail is
    taken to fall off exponentially, with the mean excess over the threshold as its length (Balkema & de Haan, "Residual
    life time at great age", Annals of Probability 1974, for light tails). So scores of all methods fall off alike for
    trusted inputs, far ones stay ordered, and none is infinite.

    >>> usual = torch.linspace(0, 1, 999)
    >>> [round(float(x), 2) for x in Surprise().fit(usual)(torch.tensor([0.0, 0.5, 1.5]))]
    [0.0, 0.69, 14.14]
    """

    def fit(self, scores: Tensor) -> "Surprise":
        """Learns what is usual from ``scores`` [n] of held-out trusted inputs."""
        ordered = scores.double().cpu().sort().values
        start = max(0, int(len(ordered) * (1 - TAIL)) - 1)
        self.knots_ = ordered[: start + 1].clone()
        above = ordered[start + 1 :] - ordered[start]
        self.length_ = max(float(above.mean()) if len(above) else 0.0, 1e-9)
        self.count_ = len(ordered)
        return self

    def __call__(self, scores: Tensor) -> Tensor:
        """Returns nats [b], never decreasing in ``scores`` [b]; on average 1 for trusted inputs."""
        knots = self.knots_.to(scores.device)
        values = scores.double()
        below = torch.searchsorted(knots, values.contiguous(), right=False)
        inside = -torch.log1p(-below.clamp(max=len(knots) - 1).double() / (self.count_ + 1))
        beyond = (values - knots[-1]).clamp(min=0) / self.length_
        return inside + beyond

    def state(self) -> dict[str, Any]:
        """Returns what was learned."""
        return {"knots": self.knots_, "length": self.length_, "count": self.count_}

    def restore(self, state: Any) -> "Surprise":
        """Takes over what :meth:`state` returned.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: If it is something else.
        """
        self.knots_ = state["knots"].double().cpu()
        self.length_, self.count_ = float(state["length"]), int(state["count"])
        if self.knots_.ndim != 1 or not len(self.knots_) or not self.length_ > 0 or self.count_ < len(self.knots_):
            raise ValueError("the scale of a score is damaged")
        return self
