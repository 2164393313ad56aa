"""Covariances that few rows suffice for, and rows made white by them.

Ledoit & Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", Journal of Multivariate
Analysis 2004; Chen, Wiesel, Eldar & Hero, "Shrinkage Algorithms for MMSE Covariance Estimation", IEEE Transactions on
Signal Processing 2010. Both shrink towards ``trace/d I``, and say by how much.

We deviate from both in that rows are counted less the class means that were estimated from them.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from theriac.detect.sketch import Spectrum
from theriac.detect.statistics import ClassMoments
from theriac.errors import UserError

Shrinkage = float | Literal["ledoit-wolf", "oas"]
"""How much weight ``trace/d I`` gets in a covariance: a number in (0, 1], or a rule that finds it."""

Whitening = Mapping[str, Tensor]
"""What makes rows white: ``matrix`` [d, d]; or ``basis`` [d, k], ``gain`` [k] and ``rest`` []; see :func:`white`."""

SMALLEST_WEIGHT = 1e-6
"""Least weight that a rule may find: no direction is ever without variance, so none is invisible."""

QUIET = 1e-3
"""Directions with less than this share of the mean variance count as having (almost) none."""


def ledoit_wolf(trace: float, energy: float, fourth: float, rows: float, width: int) -> float:
    """Returns Ledoit and Wolf's weight.

    Args:
        trace: Of the covariance.
        energy: Its squared Frobenius norm.
        fourth: Sum over rows of the fourth power of their distance to the mean.
        rows: How many there are.
        width: Features of a row.
    """
    error = max((fourth / rows - energy) / rows, 0.0)
    distance = energy - trace**2 / width
    return 1.0 if distance <= 0 else min(error / distance, 1.0)


def oas(trace: float, energy: float, rows: float, width: int) -> float:
    """Returns the weight of the oracle approximating shrinkage, right for normally distributed rows."""
    distance = (rows + 1) * (energy - trace**2 / width) / width**2
    error = energy / width**2 + (trace / width) ** 2
    return 1.0 if distance <= 0 else min(error / distance, 1.0)


def weight_of(shrinkage: Shrinkage, moments: ClassMoments, spectrum: Spectrum | None = None) -> float:
    """Returns the weight of ``trace/d I`` in the covariance of ``moments``, whose ``spectrum`` spares the product.

    Raises:
        UserError: If it is no number in (0, 1] and no rule.
    """
    if isinstance(shrinkage, (int, float)):
        if not 0 < shrinkage <= 1:
            raise UserError(f"shrinkage {shrinkage} must be above 0 and at most 1")
        return float(shrinkage)
    if spectrum is None and moments.rank is not None:
        spectrum = moments.spectrum()
    energy = spectrum.energy if spectrum else float(moments.covariance().square().sum())
    rows, width = moments.freedom, moments.width
    if shrinkage == "oas":
        weight = oas(moments.trace, energy, rows, width)
    elif shrinkage == "ledoit-wolf":
        weight = ledoit_wolf(moments.trace, energy, moments.fourth, rows, width)
    else:
        raise UserError(f"no shrinkage {shrinkage!r}", do="give a number, ledoit-wolf or oas")
    return max(weight, SMALLEST_WEIGHT)


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


def whitening_of(moments: ClassMoments, shrinkage: Shrinkage, *, residual: bool = False) -> tuple[Whitening, float]:
    """Returns what makes the rows of ``moments`` white, in float32, and the weight of ``trace/d I`` in it.

    Args:
        moments: Of rows.
        shrinkage: How their covariance is shrunk.
        residual: Add the residual of quiet directions, as if their variance were ``QUIET`` of the mean: shrinking by
            much hides what never varies.
    """
    if moments.rank is None and not residual:
        weight = weight_of(shrinkage, moments)
        return {"matrix": whitening(moments.covariance(), weight).float().contiguous()}, weight
    spectrum = moments.spectrum()
    weight = weight_of(shrinkage, moments, spectrum)
    mean = max(spectrum.trace / spectrum.width, float(torch.finfo(torch.float32).tiny))

    def gain(variances: Tensor) -> Tensor:
        precision = ((1 - weight) * variances + weight * mean).reciprocal()
        if residual:
            precision += (variances < QUIET * mean) / (QUIET * mean)
        return precision.sqrt()

    gains, rest = gain(spectrum.values), gain(torch.full_like(spectrum.values.sum(), spectrum.rest))
    if moments.rank is None:
        return {"matrix": (spectrum.vectors * gains).T.float().contiguous()}, weight
    return {"basis": spectrum.vectors.float(), "gain": (gains - rest).float(), "rest": rest.float()}, weight


def white(rows: Tensor, by: Whitening) -> Tensor:
    """Returns centred ``rows`` [b, d] made white [b, d]: by a matrix, or ``basis`` its own way and the rest alike.

    >>> white(torch.tensor([[2.0, 3.0]]), {"matrix": torch.diag(torch.tensor([0.5, 1.0]))})
    tensor([[1., 3.]])
    """
    if "matrix" in by:
        return rows @ by["matrix"].T
    return rows * by["rest"] + (rows @ by["basis"] * by["gain"]) @ by["basis"].T
