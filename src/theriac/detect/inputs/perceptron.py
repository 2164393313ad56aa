"""Small networks as plain tensors: what a detector learns by steps can be saved like any other statistic."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

BATCH = 128

ROWS = 20_000
"""Rows in memory that a network learns from, at most; more would not be seen often enough to matter."""


def perceptron(widths: Sequence[int], generator: torch.Generator, device: torch.device | str = "cpu") -> list[Tensor]:
    """Returns [weight, bias, weight, bias, ...] of a network with one layer between any two ``widths``.

    Weights are scaled as He et al. 2015 do; those of the last layer are 0, so that the first answer to all is 0.

    >>> [list(part.shape) for part in perceptron((3, 8, 2), torch.Generator())]
    [[8, 3], [8], [2, 8], [2]]
    """
    parts = []
    for place, (i, o) in enumerate(pairwise(widths)):
        scale = (2 / i) ** 0.5 if place < len(widths) - 2 else 0.0
        weight = torch.randn(o, i, generator=generator) * scale  # drawn on the CPU: the same wherever the model is
        parts += [weight.to(device), torch.zeros(o, device=device)]
    return parts


def forward(parts: Sequence[Tensor], x: Tensor) -> Tensor:
    """Returns the network's answers [b, o] to ``x`` [b, i]; GELU between layers."""
    for k in range(0, len(parts), 2):
        x = F.linear(x if k == 0 else F.gelu(x), parts[k], parts[k + 1])
    return x


def descend(
    parts: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor],
    count: int,
    *,
    steps: int,
    rate: float,
    generator: torch.Generator,
) -> None:
    """Changes ``parts`` in place by Adam, so that ``loss`` falls; the learning rate falls to 0 along a line.

    Args:
        parts: What is learned.
        loss: Returns the mean loss of the rows at an index [b].
        count: How many rows there are.
        steps: Batches of ``BATCH`` rows, or of all if there are fewer.
        rate: First learning rate.
        generator: On the CPU; draws the batches.

    >>> x, [w] = torch.arange(8.0), (torch.zeros(1),)
    >>> descend([w], lambda i: (w - x[i]).square().mean(), 8, steps=300, rate=0.1, generator=torch.Generator())
    >>> round(float(w), 2)
    3.5
    """
    for part in parts:
        part.requires_grad_(True)
    optimizer = torch.optim.Adam(parts, rate)
    with torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / steps)
            index = torch.randint(count, (BATCH,), generator=generator) if count > BATCH else torch.arange(count)
            optimizer.zero_grad()
            loss(index).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
    for part in parts:
        part.requires_grad_(False)
