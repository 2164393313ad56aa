"""The large directions of a covariance too wide to be kept: from its product with a random matrix.

Tropp, Yurtsever, Udell & Cevher, "Fixed-rank approximation of a positive-semidefinite matrix from streaming data",
NeurIPS 2017. Of the covariance C only Y = C W is kept, with W a fixed Gaussian matrix of some hundred columns; then
C ~ Y (W^T Y)^+ Y^T, which is exact when C has no larger rank. Y is linear in the rows' products, so sketches of parts
are added up exactly, unlike Frequent Directions (Liberty, KDD 2013), whose result depends on the order of the rows.

We deviate from the paper in that W is not made orthonormal, because the same one is used everywhere, and in that the
directions beyond those kept are not dropped: they share what remains of the trace.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Spectrum:
    """The largest variances of a covariance and their directions.

    Attributes:
        values: [k] variances, largest first.
        vectors: [d, k] their directions, orthonormal columns.
        rest: Mean variance of the other d - k directions; 0 if there are none.
    """

    values: Tensor
    vectors: Tensor
    rest: float

    @property
    def width(self) -> int:
        """Features, d."""
        return self.vectors.shape[0]

    @property
    def trace(self) -> float:
        """Sum of all variances."""
        return float(self.values.sum()) + self.rest * (self.width - len(self.values))

    @property
    def energy(self) -> float:
        """Sum of the squares of all variances: the squared Frobenius norm of the covariance."""
        return float(self.values.square().sum()) + self.rest**2 * (self.width - len(self.values))


def random_matrix(width: int, rank: int, device: torch.device | str = "cpu") -> Tensor:
    """Returns the one Gaussian matrix [width, rank] that all sketches of this size share."""
    generator = torch.Generator().manual_seed(width * 1_000_003 + rank)
    return torch.randn(width, rank, generator=generator).to(device)


def full_spectrum(covariance: Tensor, keep: int | None = None) -> Spectrum:
    """Returns the first ``keep`` (all) eigenvectors of ``covariance`` [d, d].

    >>> full_spectrum(torch.diag(torch.tensor([1.0, 5.0, 3.0])), 1).rest
    2.0
    """
    values, vectors = torch.linalg.eigh(covariance)
    return _first(values.flip(0).clamp(min=0), vectors.flip(1), float(covariance.trace()), keep)


def sketched_spectrum(sketch: Tensor, random: Tensor, trace: float, keep: int | None = None) -> Spectrum:
    """Returns the first ``keep`` (half) eigenvectors of the covariance whose product with ``random`` is ``sketch``.

    Args:
        sketch: [d, r] float64.
        random: [d, r].
        trace: Of the covariance, which is known exactly.
        keep: How many; half of the columns, as the paper advises, so that those kept are accurate.
    """
    core = random.double().T @ sketch
    strength, axes = torch.linalg.eigh((core + core.T) / 2)
    sound = strength > 1e-6 * strength[-1].clamp(min=torch.finfo(torch.float64).tiny)
    if not sound.any():
        return Spectrum(strength[:0], sketch[:, :0], trace / len(sketch))
    half = sketch @ (axes[:, sound] / strength[sound].sqrt())  # C ~ half half^T
    values, turn = torch.linalg.eigh(half.T @ half)
    large = values > 1e-9 * values[-1]
    vectors = half @ (turn[:, large] / values[large].sqrt())
    return _first(values[large].flip(0), vectors.flip(1), trace, keep or max(1, sketch.shape[1] // 2))


def _first(values: Tensor, vectors: Tensor, trace: float, keep: int | None) -> Spectrum:
    values, vectors = values[:keep], vectors[:, :keep]
    others = len(vectors) - len(values)
    return Spectrum(values, vectors, max(trace - float(values.sum()), 0.0) / others if others else 0.0)
