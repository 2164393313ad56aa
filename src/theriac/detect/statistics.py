"""Means and covariances in one pass, class by class, in memory that does not grow with the data."""

from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from theriac.errors import UserError


@dataclass
class ClassMoments:
    """Count and mean of each class, and the scatter within classes, of rows of ``width`` features.

    Batches and whole moments are merged exactly (Chan, Golub & LeVeque, "Algorithms for computing the sample
    variance", The American Statistician 1983), in float64, so the result does not depend on how the rows were cut.
    With one class it is the plain mean and covariance.

    Attributes:
        counts: [classes].
        means: [classes, width]; zero for a class without rows.
        scatter: [width, width], the sum over rows of (x - mean of its class)(x - mean of its class)^T.

    >>> x = torch.randn(300, 4, generator=torch.Generator().manual_seed(0)).double()
    >>> moments = ClassMoments(1, 4)
    >>> for part in x.split(70):
    ...     _ = moments.update(part)
    >>> torch.allclose(moments.covariance(), x.T.cov())
    True
    """

    classes: int
    width: int
    device: torch.device | str = "cpu"
    counts: Tensor = field(init=False, repr=False)
    means: Tensor = field(init=False, repr=False)
    scatter: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.counts = torch.zeros(self.classes, dtype=torch.float64, device=self.device)
        self.means = torch.zeros(self.classes, self.width, dtype=torch.float64, device=self.device)
        self.scatter = torch.zeros(self.width, self.width, dtype=torch.float64, device=self.device)

    def update(self, rows: Tensor, labels: Tensor | None = None) -> Self:
        """Adds ``rows`` [n, width] of the classes ``labels`` [n] (class 0 without labels).

        Raises:
            UserError: If a value is not finite.
        """
        x = rows.double()
        if not x.isfinite().all():
            raise UserError("activations contain NaN or infinity", do="check the model's weights and its inputs")
        y = torch.zeros(len(x), dtype=torch.int64, device=x.device) if labels is None else labels
        batch = ClassMoments(self.classes, self.width, x.device)
        batch.counts += torch.bincount(y, minlength=self.classes)
        batch.means.index_add_(0, y, x).div_(batch.counts.clamp(min=1)[:, None])
        centred = x - batch.means[y]
        batch.scatter = centred.T @ centred
        return self.merge(batch)

    def merge(self, other: "ClassMoments") -> Self:
        """Adds the rows that ``other`` has seen."""
        total = self.counts + other.counts
        delta = other.means - self.means
        both = self.counts * other.counts / total.clamp(min=1)
        self.scatter += other.scatter + (delta * both[:, None]).T @ delta
        self.means += delta * (other.counts / total.clamp(min=1))[:, None]
        self.counts = total
        return self

    def covariance(self) -> Tensor:
        """Returns the pooled covariance within classes [width, width].

        Raises:
            UserError: If no class has two rows.
        """
        freedom = float(self.counts.sum() - (self.counts > 0).sum())
        if freedom < 1:
            raise UserError("too few examples to estimate a covariance", do="give at least two of one class")
        return self.scatter / freedom

    def overall(self) -> "ClassMoments":
        """Returns the moments of the same rows without their classes."""
        one = ClassMoments(1, self.width, self.device)
        one.counts = self.counts.sum()[None]
        one.means = (self.counts[:, None] * self.means).sum(0)[None] / one.counts.clamp(min=1)
        away = self.means - one.means
        one.scatter = self.scatter + (away * self.counts[:, None]).T @ away
        return one


def shrunk(covariance: Tensor, weight: float) -> Tensor:
    """Returns ``(1 - weight) C + weight trace(C)/d I``: no direction is without variance, so none is invisible.

    >>> shrunk(torch.diag(torch.tensor([2.0, 0.0])), 0.5)
    tensor([[1.5000, 0.0000],
            [0.0000, 0.5000]])
    """
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    scale = covariance.trace() / len(covariance)
    return torch.lerp(covariance, identity * scale.clamp(min=torch.finfo(covariance.dtype).tiny), weight)


def whitening(covariance: Tensor, weight: float) -> Tensor:
    """Returns the lower triangular W with ``W shrunk(C) W^T = I``; ``x @ W.T`` is white."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    factor = torch.linalg.cholesky(shrunk(covariance, weight))
    white: Tensor = torch.linalg.solve_triangular(factor, identity, upper=False)
    return white
