"""Trusted rows that inputs are compared with one by one: distances, nearest rows and ranks, batched."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from theriac.detect.inputs.observing import Gathered, Observations, gather
from theriac.errors import UserError

ELEMENTS = 1 << 24
"""Numbers in the largest intermediate tensor: 64 MiB."""

ROUNDING = 1e-6
"""Squared distances this close, relative to the rows' squared lengths, are equal: float32 cannot tell."""


@dataclass(frozen=True)
class References:
    """Trusted rows of one layer and the classes that the model gives them to.

    Squared distances come from one matrix product, relative to the rows' mean so that few digits cancel.

    Attributes:
        rows: float32 [n, width].
        predicted: int64 [n].

    >>> references = References(torch.tensor([[0.0], [1.0], [5.0], [6.0]]), torch.tensor([0, 0, 1, 1]))
    >>> distances, index = references.nearest(torch.tensor([[4.0]]), 2)
    >>> distances.tolist(), index.tolist()
    ([[1.0, 2.0]], [[2, 3]])
    >>> references.ranks(torch.tensor([[4.0], [4.0]]), torch.tensor([0, 1]))[0].tolist()
    [2, 0]
    """

    rows: Tensor
    predicted: Tensor

    def nearest(
        self, queries: Tensor, count: int, predicted: Tensor | None = None, *, own: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Returns float64 distances and indices [b, count] of the nearest reference rows, in ascending order.

        Args:
            queries: [b, width].
            count: How many, fewer than there are reference rows.
            predicted: [b]; only rows of these classes count, or all rows for a class with fewer than ``count``.
            own: Whether the queries are the reference rows themselves, none of which is compared with itself.
        """
        distances, indices = [], []
        for part, squared in self._squared(queries, own, count * queries.shape[1]):
            if predicted is not None:
                other = predicted[part, None] != self.predicted
                enough = squared.isfinite().logical_and(~other).sum(1, keepdim=True) >= count
                squared = squared.masked_fill(other & enough, torch.inf)
            near = squared.topk(count, largest=False).indices
            exact = (self.rows[near].double() - queries[part, None].double()).square().sum(2).sqrt()
            ordered, order = exact.sort(dim=1, stable=True)
            distances.append(ordered)
            indices.append(near.gather(1, order))
        return torch.cat(distances), torch.cat(indices)

    def ranks(self, queries: Tensor, predicted: Tensor, *, own: bool = False) -> tuple[Tensor, Tensor]:
        """Returns how many reference rows are nearer to each query [b] than the nearest of its class is, and which is.

        Equally near rows, up to rounding, are not nearer. All are nearer where the class has no reference row, and the
        index of its nearest row means nothing.
        """
        ranks, indices = [], []
        for part, squared in self._squared(queries, own):
            near, index = squared.masked_fill(predicted[part, None] != self.predicted, torch.inf).min(1)
            slack = ROUNDING * (queries[part] - self.rows.mean(0)).square().sum(1)
            ranks.append((squared < (near - slack)[:, None]).sum(1))
            indices.append(index)
        return torch.cat(ranks), torch.cat(indices)

    def _squared(self, queries: Tensor, own: bool, extra: int = 0) -> Iterator[tuple[slice, Tensor]]:
        """Yields slices of the queries and their squared distances [m, n] to all rows, infinite to a query itself."""
        centre = self.rows.mean(0)
        rows = self.rows - centre
        lengths = rows.square().sum(1)
        step = max(1, ELEMENTS // max(len(rows), extra))
        for start in range(0, len(queries), step):
            x = queries[start : start + step] - centre
            squared = torch.addmm(lengths, x, rows.T, alpha=-2).add_(x.square().sum(1, keepdim=True)).clamp_(min=0)
            if own:
                squared.diagonal(start).fill_(torch.inf)
            yield slice(start, start + len(x)), squared


def gather_references(trusted: Observations, limit: int) -> Gathered:
    """Returns at most ``limit`` trusted observations, drawn by a fixed seed, where the model is.

    Raises:
        UserError: If ``limit`` is too small or activations are not finite.
    """
    if limit < 2:
        raise UserError(f"{limit} references are too few", do="keep at least 2, a thousand if memory allows")
    kept = gather(trusted, limit)
    if not all(rows.isfinite().all() for rows in kept.rows.values()):
        raise UserError("activations contain NaN or infinity", do="check the model's weights and its inputs")
    device = trusted.model.device
    rows = {layer: rows.to(device) for layer, rows in kept.rows.items()}
    return Gathered(rows, kept.predicted.to(device), kept.labels.to(device))
