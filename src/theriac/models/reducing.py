"""From whatever a layer gives to one float32 row per example, at once, so that nothing large is kept.

A layer's value is seen as places (positions of a text, pixels of a map) with channels. How places are reduced:

- ``mean``: averaged.
- ``max``: the largest value of each channel.
- ``last``: the last token.
- ``masked-mean``: averaged over real tokens, and an error where no mask says which are.
- ``flatten``: everything side by side.
- ``places:N``: kept as [b, channels, places], pooled to at most N of them (``places`` alone: 64).

Padding never counts, on whichever side it is: wherever the inputs' ``attention_mask`` fits a layer, ``mean``, ``max``
and ``places`` look at real tokens only, as ``masked-mean`` does, because otherwise an example's row would depend on how
long the others in its batch are.
"""

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from math import isqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.errors import UserError

REDUCTIONS = ("mean", "masked-mean", "max", "last", "flatten", "places", "places:N")
PLACES = 64


def check_reduction(how: str, where: str) -> str:
    """Returns ``how`` if it names a reduction.

    Raises:
        UserError: If it does not.

    >>> check_reduction("places:16", "net.layer1")
    'places:16'
    """
    if how not in REDUCTIONS[:-1] and not re.fullmatch(r"places:[1-9]\d{0,4}", how):
        raise UserError(f"no way to reduce called {how!r}", where=where, do=f"choose from: {', '.join(REDUCTIONS)}")
    return how


def find_tensor(value: Any) -> Tensor | None:
    """Returns the first tensor of at least two dimensions in ``value``: in tuples, lists, mappings and dataclasses.

    >>> find_tensor((None, {"loss": torch.tensor(1.0), "logits": torch.zeros(2, 3)})).shape
    torch.Size([2, 3])
    """
    if isinstance(value, Tensor):
        return value if value.ndim >= 2 else None
    return next((found for part in _parts(value) if (found := find_tensor(part)) is not None), None)


def _parts(value: Any) -> list[Any]:
    if isinstance(value, Mapping):  # Hugging Face's ModelOutput is one
        return list(value.values())
    if isinstance(value, (tuple, list)):
        return list(value)
    if is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in fields(value)]
    return []


def rows_of(value: Any, how: str = "mean", mask: Tensor | None = None, *, like: Tensor | None = None) -> Tensor:
    """Returns one float32 row per example of whatever a layer gives.

    [b, c] is one row each; [b, tokens, c] and [b, h, w, c] have channels last (the latter is known by its two equal
    sides), all else, as [b, c, h, w], second.

    Args:
        value: A tensor, or something that holds one; see :func:`find_tensor`.
        how: How places are reduced; see the module's docstring.
        mask: [b, tokens], 0 for padding; ignored by layers without such tokens.
        like: Where ``value`` is a gradient, its activation: ``max`` takes the gradient where that is largest.

    Raises:
        UserError: If there is no tensor of at least two dimensions in it, or it cannot be reduced so.

    >>> rows_of((torch.ones(2, 7, 4, 4), None)).shape, rows_of(torch.ones(2, 4, 4, 7)).shape
    (torch.Size([2, 7]), torch.Size([2, 7]))
    >>> tokens, mask = torch.tensor([[[1.0], [2.0], [9.0]]]), torch.tensor([[1, 1, 0]])
    >>> [rows_of(tokens, how, mask).item() for how in ("mean", "max", "last")]
    [1.5, 2.0, 2.0]
    """
    found = find_tensor(value)
    if found is None:
        raise UserError("a chosen layer gives no tensor of examples", do="choose another layer")
    found = found.detach()
    places = _places(found)
    real = mask.bool() if mask is not None and found.ndim == 3 and mask.shape == found.shape[:2] else None
    if how.startswith("places"):
        return _kept(found, places, real, int(how.partition(":")[2] or PLACES))
    if how == "flatten":
        if real is not None and not bool(real.all()):
            raise UserError("texts of several lengths cannot be flattened", do="reduce them by last or mean")
        return found.flatten(1).to(torch.float32, copy=True)
    if places.shape[1] == 1:
        return places[:, 0].to(torch.float32, copy=True)
    if how == "last":
        return _last(found, places, real, mask)
    if how == "max":
        return _largest(places, real, like)
    if how == "masked-mean" and real is None:
        raise UserError("no attention_mask of the inputs fits the layer", do="reduce it by mean")
    if real is None:
        return places.mean(1, dtype=torch.float32)
    return places.masked_fill(~real[:, :, None], 0).sum(1, dtype=torch.float32) / real.sum(1, keepdim=True).clamp(min=1)


def _places(value: Tensor) -> Tensor:
    """Returns a view [b, places, c]."""
    if value.ndim == 2:
        return value[:, None]
    if value.ndim == 3:
        return value
    channels_last = value.ndim == 4 and value.shape[1] == value.shape[2] != value.shape[3]
    return value.flatten(1, 2) if channels_last else value.flatten(2).transpose(1, 2)


def _last(value: Tensor, places: Tensor, real: Tensor | None, mask: Tensor | None) -> Tensor:
    if value.ndim != 3 or (mask is not None and real is None):
        raise UserError(f"a layer of shape {list(value.shape)} has no last token", do="reduce it by mean")
    if real is None:
        return places[:, -1].to(torch.float32, copy=True)
    return places[torch.arange(len(places), device=places.device), last_tokens(real)].float()


def last_tokens(mask: Tensor) -> Tensor:
    """Returns the position [b] of the last real token of each row of ``mask`` [b, tokens], wherever its padding is.

    >>> last_tokens(torch.tensor([[0, 1, 1, 1], [1, 1, 0, 0]])).tolist()
    [3, 1]
    """
    positions = torch.arange(mask.shape[1], device=mask.device)
    return (mask.bool() * positions).argmax(1)


def _largest(places: Tensor, real: Tensor | None, like: Tensor | None) -> Tensor:
    known = places if like is None else _places(like.detach())
    if real is not None:
        known = known.masked_fill(~real[:, :, None], float("-inf"))
    return known.amax(1).float() if like is None else places.gather(1, known.argmax(1, keepdim=True))[:, 0].float()


def _kept(value: Tensor, places: Tensor, real: Tensor | None, most: int) -> Tensor:
    """Returns [b, c, places] with at most ``most`` places."""
    if real is not None:
        return _spread(places.float(), real, most)
    count = places.shape[1]
    if count <= most:
        return places.transpose(1, 2).to(torch.float32, copy=True)
    if value.ndim == 4:
        channels_last = value.shape[1] == value.shape[2] != value.shape[3]
        side = isqrt(most)
        return F.adaptive_avg_pool2d((value.movedim(3, 1) if channels_last else value).float(), side).flatten(2)
    return F.adaptive_avg_pool1d(places.transpose(1, 2).float(), most)


def _spread(places: Tensor, real: Tensor, count: int) -> Tensor:
    """Averages the real tokens of each example into exactly ``count`` places, in order; places left over are 0."""
    rank = real.cumsum(1) - 1
    place = (rank * count).div(real.sum(1, keepdim=True).clamp(min=1), rounding_mode="floor")
    weight = F.one_hot(place.clamp(0, count - 1), count).to(places.dtype) * real[:, :, None]
    weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
    return places.masked_fill(~real[:, :, None], 0).transpose(1, 2) @ weight
