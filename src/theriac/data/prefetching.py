"""Loading the next batch while the present one is computed on."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
_END = object()


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """Yields ``items`` in order; a thread makes the next one while the consumer works on the present one.

    What the thread raises is raised here, at the item's place; a consumer that leaves early ends the thread.

    >>> list(ahead(k * k for k in range(4)))
    [0, 1, 4, 9]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="theriac-loading") as pool:
        coming = pool.submit(next, iterator, _END)
        while (item := coming.result()) is not _END:
            coming = pool.submit(next, iterator, _END)
            yield item  # type: ignore[misc]


def moved(batches: Iterable[tuple[Tensor, ...]], device: torch.device | str) -> Iterator[tuple[Tensor, ...]]:
    """Yields batches of CPU tensors moved to ``device``: to CUDA from pinned memory, prepared ahead, without waiting.

    On the CPU there is no thread, since it would only compete with the model for the same cores.
    """
    device = torch.device(device)
    if device.type != "cuda":
        for batch in batches:
            yield tuple(tensor.to(device) for tensor in batch)
        return
    for batch in ahead(tuple(tensor.pin_memory() for tensor in batch) for batch in batches):
        yield tuple(tensor.to(device, non_blocking=True) for tensor in batch)
