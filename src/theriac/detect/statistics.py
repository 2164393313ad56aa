"""Means and covariances in one pass, class by class, in memory that does not grow with the data.

Rows are gathered into blocks, each block is centred on the means known by then and multiplied in its own precision,
and what comes of it is added up in float64: nearly as fast as float32 throughout, nearly as exact as float64. Blocks
and whole moments are put together by the parallel-axis theorem (Chan, Golub & LeVeque, "Algorithms for computing the
sample variance", The American Statistician 1983), on one machine or, by :meth:`ClassMoments.all_reduce`, on many.

A covariance of d features takes d^2 numbers. Where that is too much, ``rank`` keeps only its product with a random
matrix, which is linear in the rows and so merges as exactly; see :mod:`theriac.detect.sketch`.
"""

from copy import copy
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, distributed

from theriac.detect.sketch import Spectrum, full_spectrum, random_matrix, sketched_spectrum
from theriac.errors import UserError

BLOCK_ROWS, BLOCK_VALUES = 2048, 1 << 24
"""Rows that are multiplied together, and numbers: fewer rows of very wide layers."""

_SUMS = ("_counts", "_means", "_second", "_squares", "_cubes", "_fourths")


@dataclass
class ClassMoments:
    """Count, mean and higher moments of each class, and the scatter within classes, of rows of ``width`` features.

    With one class it is the plain mean and covariance.

    Args:
        classes: How many there are.
        width: Features of a row.
        device: Where the rows are.
        apart: Keep the scatter of each class instead of their sum.
        rank: Keep a sketch of this many columns instead of the scatter.

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
    apart: bool = False
    rank: int | None = None
    _buffer: Tensor | None = field(default=None, init=False, repr=False)
    _labels: Tensor | None = field(default=None, init=False, repr=False)
    _held: int = field(default=0, init=False, repr=False)
    _sound: bool = field(default=True, init=False, repr=False)

    def __post_init__(self) -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=self.device)

        self.block = max(16, min(BLOCK_ROWS, BLOCK_VALUES // max(self.width, 1)))
        self.random = None if self.rank is None else random_matrix(self.width, self.rank, self.device)
        self._counts, self._squares, self._fourths = zeros(self.classes), zeros(self.classes), zeros(self.classes)
        self._means, self._cubes = zeros(self.classes, self.width), zeros(self.classes, self.width)
        self._second = zeros(self.classes if self.apart else 1, self.width, self.rank or self.width)

    @property
    def counts(self) -> Tensor:
        """Rows of each class [classes]."""
        return self._settled()._counts

    @property
    def means(self) -> Tensor:
        """Mean of each class [classes, width]; zero for a class without rows."""
        return self._settled()._means

    @property
    def scatter(self) -> Tensor:
        """Sum of (x - mean of its class)(x - mean of its class)^T [width, width].

        Of each class [classes, width, width] if they are kept apart; times the random matrix
        [..., width, rank] if it is sketched.
        """
        second = self._settled()._second
        return second if self.apart else second[0]

    def update(self, rows: Tensor, labels: Tensor | None = None) -> Self:
        """Adds ``rows`` [n, width] of the classes ``labels`` [n] (class 0 without labels).

        Whether they are finite is found out when the result is read, so that nothing waits for the device meanwhile.
        """
        x = rows if rows.dtype == torch.float64 else rows.float()
        y = torch.zeros(len(x), dtype=torch.int64, device=x.device) if labels is None else labels
        if self._buffer is None or self._buffer.dtype != x.dtype:
            self._flush()
            self._buffer = torch.empty(self.block, self.width, dtype=x.dtype, device=x.device)
            self._labels = torch.empty(self.block, dtype=torch.int64, device=x.device)
        if self._held + len(x) > self.block:
            self._flush()
        if len(x) >= self.block:
            for part, given in zip(torch.split(x, self.block), torch.split(y, self.block), strict=True):
                self._add(part, given)
        elif len(x):
            assert self._labels is not None
            self._buffer[self._held : self._held + len(x)] = x
            self._labels[self._held : self._held + len(x)] = y
            self._held += len(x)
        return self

    def _flush(self) -> None:
        if self._held and self._buffer is not None and self._labels is not None:
            held, self._held = self._held, 0
            self._add(self._buffer[:held], self._labels[:held])

    def _settled(self) -> Self:
        """Adds what is buffered and checks the sums, once.

        Raises:
            UserError: If a value was not finite.
        """
        self._flush()
        if not self._sound:
            if not (self._means.isfinite().all() and self._second.isfinite().all()):
                what = "activations contain NaN or infinity, or are too large to be squared"
                raise UserError(what, do="check the model's weights and its inputs")
            self._sound = True
        return self

    def _add(self, x: Tensor, y: Tensor) -> None:
        """Adds one block, centred on the means that include it."""
        self._sound = False
        counts = _sums(torch.ones(len(x), 1, dtype=x.dtype, device=x.device), y, self.classes)[:, 0].double()
        known = self._counts[:, None] > 0
        first = x.mean(0, dtype=torch.float64)  # where nothing is known yet; near the rows, so no digits are lost
        anchor = torch.where(known, self._means, first).to(x.dtype)
        z = x - _of(anchor, y)
        total = self._counts + counts
        offset = _sums(z, y, self.classes).double() / counts.clamp(min=1)[:, None]
        share = (counts / total.clamp(min=1))[:, None]
        means = torch.where(known, self._means, anchor.double())
        means = torch.where(total[:, None] > 0, means + (anchor.double() + offset - means) * share, 0.0)
        self._move(means)
        z -= _of((means - anchor.double()).to(x.dtype), y)
        self._counts = total
        squares = z.square().sum(1)
        self._cubes += _sums(z * squares[:, None], y, self.classes)
        powers = squares.double()[:, None]
        self._squares += _sums(powers, y, self.classes)[:, 0]
        self._fourths += _sums(powers.square(), y, self.classes)[:, 0]
        if not self.apart:
            self._second[0] += z.T @ (z if self.random is None else z @ self.random.to(z.dtype))
            return
        order = y.argsort(stable=True)
        for group, part in zip(self._second, torch.split(z[order], counts.long().tolist()), strict=True):
            group += part.T @ (part if self.random is None else part @ self.random.to(z.dtype))

    def _move(self, means: Tensor) -> None:
        """Takes ``means`` as the centres instead of the rows' own."""
        shift = self._means - means
        away = shift if self.random is None else shift @ self.random.double()
        length, n = shift.square().sum(1), self._counts
        scattered = self._scattered(shift)
        self._fourths += 4 * (scattered * shift).sum(1) + n * length.square() + 2 * length * self._squares
        self._fourths += 4 * (shift * self._cubes).sum(1)
        self._cubes += 2 * scattered + shift * (self._squares + n * length)[:, None]
        self._squares += n * length
        if self.apart:
            self._second += (n[:, None] * shift)[:, :, None] * away[:, None, :]
        else:
            self._second[0] += (n[:, None] * shift).T @ away
        self._means = means

    def _scattered(self, shift: Tensor) -> Tensor:
        """Returns each class's scatter times its ``shift``; only higher moments use it.

        Where classes are summed up, a class has its share of the sum; where sketched, it is as wide in all directions.
        Both are exact for what they are used for to within 1/n of it: the shift by one block is that small.
        """
        if self.random is not None:
            return shift * (self._squares / self.width)[:, None]
        if self.apart:
            return torch.einsum("cij,cj->ci", self._second, shift)
        share = self._squares / self._squares.sum().clamp(min=torch.finfo(torch.float64).tiny)
        return shift @ self._second[0] * share[:, None]

    def merge(self, other: "ClassMoments") -> Self:
        """Adds the rows that ``other``, kept alike, has seen."""
        self._flush()
        other = other._copy()
        total = self._counts + other._counts
        means = self._means + (other._means - self._means) * (other._counts / total.clamp(min=1))[:, None]
        self._move(means)
        other._move(means)
        for name in _SUMS[2:]:
            getattr(self, name).add_(getattr(other, name))
        self._counts, self._sound = total, False
        return self

    def all_reduce(self) -> Self:
        """Adds the rows of all processes of ``torch.distributed``, in each of them; alone it does nothing.

        Every process must call it, with moments kept alike, even one that has seen no rows.
        """
        self._flush()
        if not (distributed.is_available() and distributed.is_initialized()):
            return self
        total, sums = self._counts.clone(), self._counts[:, None] * self._means
        distributed.all_reduce(total)
        distributed.all_reduce(sums)
        self._move(sums / total.clamp(min=1)[:, None])
        for name in _SUMS[2:]:
            distributed.all_reduce(getattr(self, name))
        self._counts, self._sound = total, False
        return self

    @property
    def freedom(self) -> float:
        """Rows less the means that were estimated from them.

        Raises:
            UserError: If no class has two rows.
        """
        freedom = float(self.counts.sum() - (self.counts > 0).sum())
        if freedom < 1:
            raise UserError("too few examples to estimate a covariance", do="give at least two of one class")
        return freedom

    @property
    def trace(self) -> float:
        """Sum of the features' variances within classes."""
        return float(self.squares.sum()) / self.freedom

    @property
    def squares(self) -> Tensor:
        """Sum over the rows of each class [classes] of their squared distance to its mean."""
        return self._settled()._squares

    @property
    def fourth(self) -> float:
        """Sum over rows of the fourth power of their distance to the mean of their class."""
        return float(self._settled()._fourths.sum())

    def covariance(self) -> Tensor:
        """Returns the pooled covariance within classes [width, width].

        Raises:
            UserError: If no class has two rows.
        """
        if self.rank is not None:
            raise UserError("only a sketch of the covariance was kept", do="ask for its spectrum")
        scatter = self.scatter.sum(0) if self.apart else self.scatter
        return scatter / self.freedom

    def spectrum(self, keep: int | None = None) -> Spectrum:
        """Returns the eigenvectors of the pooled covariance, the first ``keep``, and the mean variance of the rest."""
        scatter = (self.scatter.sum(0) if self.apart else self.scatter) / self.freedom
        if self.random is None:
            return full_spectrum(scatter, keep)
        return sketched_spectrum(scatter, self.random, self.trace, keep)

    def overall(self) -> "ClassMoments":
        """Returns the moments of the same rows without their classes."""
        self._settled()
        one = ClassMoments(1, self.width, self.device, rank=self.rank)
        one._counts = self._counts.sum()[None]
        one._means = (self._counts[:, None] * self._means).sum(0)[None] / one._counts.clamp(min=1)
        moved = self.about(one._means.expand_as(self._means))
        for name in _SUMS[2:]:
            setattr(one, name, getattr(moved, name).sum(0, keepdim=True))
        return one

    def about(self, centres: Tensor) -> "ClassMoments":
        """Returns the moments of the same rows about ``centres`` [classes, width] instead of the classes' means."""
        moved = self._copy()
        moved._move(centres)
        return moved

    def _copy(self) -> "ClassMoments":
        self._settled()
        other = copy(self)
        for name in _SUMS:
            setattr(other, name, getattr(self, name).clone())
        return other


def _of(values: Tensor, y: Tensor) -> Tensor:
    """Returns each row's class's values; without a copy where there is one class."""
    return values if len(values) == 1 else values[y]


def _sums(rows: Tensor, y: Tensor, classes: int) -> Tensor:
    """Returns the sum of ``rows`` [n, d] in each class [classes, d], the same one every time on any device."""
    if classes == 1:
        return rows.sum(0, keepdim=True)
    if rows.is_cuda:  # adding by index is not deterministic there
        chosen = (y == torch.arange(classes, device=y.device)[:, None]).to(rows.dtype)
        return chosen @ rows
    return torch.zeros(classes, rows.shape[1], dtype=rows.dtype).index_add_(0, y, rows)
