"""A trigger reconstructed from a model, ready to be applied, and written into findings.

Four families of changes are known, by the tensors that describe them:

- ``mask``: ``mask`` [1, h, w] and ``pattern`` [3, h, w]; pixels fade to the pattern where the mask is 1.
- ``perturbation``: ``delta`` [3, h, w] is added.
- ``colour``: ``matrix`` [3, 4]; each pixel's colour c changes by ``matrix[:, :3] (c - 0.5) + matrix[:, 3]``.
- ``warp``: ``field`` [2, k, k]; pixels move along this smooth field, (x, y) as shares of the image's width and height.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from theriac.errors import UserError

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    "mask": {"mask": (1, -1, -1), "pattern": (3, -1, -1)},
    "perturbation": {"delta": (3, -1, -1)},
    "colour": {"matrix": (3, 4)},
    "warp": {"field": (2, -1, -1)},
}
"""Family -> the tensors that describe a change, and their shapes; -1 is any."""


@dataclass(frozen=True)
class InvertedTrigger:
    """A reconstructed trigger.

    Attributes:
        space: Family of the change: ``mask``, ``perturbation``, ``colour`` or ``warp``.
        target: The class that it leads to.
        tensors: What describes the change.

    >>> white = InvertedTrigger("perturbation", 0, {"delta": torch.ones(3, 4, 4)})
    >>> white(torch.zeros(1, 3, 4, 4)).min().item()
    1.0
    """

    space: str
    target: int
    tensors: Mapping[str, Tensor]

    def __call__(self, images: Tensor) -> Tensor:
        """Returns triggered copies of ``images`` [n, 3, h, w] in [0, 1]."""
        tensors = {name: tensor.to(images)[None] for name, tensor in self.tensors.items()}
        return change(self.space, tensors, images[None])[0]


def change(space: str, tensors: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """Applies ``t`` changes of one family, differentiably.

    Args:
        space: Family of the changes.
        tensors: Their tensors, each with a first dimension of ``t``.
        images: [t, n, 3, h, w] in [0, 1], or [1, n, 3, h, w] when all changes share the images.

    Returns:
        [t, n, 3, h, w] in [0, 1].
    """
    h, w = images.shape[-2:]
    if space == "mask":
        mask, pattern = _fit(tensors["mask"], h, w)[:, None], _fit(tensors["pattern"], h, w)[:, None]
        return images + mask * (pattern - images)
    if space == "perturbation":
        return (images + _fit(tensors["delta"], h, w)[:, None]).clamp(0, 1)
    if space == "colour":
        return (images + colour_shift(tensors["matrix"], images)).clamp(0, 1)
    return _warp(tensors["field"], images)


def colour_shift(matrix: Tensor, images: Tensor) -> Tensor:
    """Returns what the colour maps ``matrix`` [t, 3, 4] add to ``images`` [t or 1, n, 3, h, w]."""
    mixed = torch.einsum("tij,tnjhw->tnihw", matrix[:, :, :3], (images - 0.5).expand(len(matrix), -1, -1, -1, -1))
    return mixed + matrix[:, None, :, 3, None, None]


def flow(field: Tensor, h: int, w: int) -> Tensor:
    """Returns the displacement of each pixel [t, 2, h, w], as shares of width and height."""
    return F.interpolate(field, size=(h, w), mode="bicubic", align_corners=True)


def _warp(field: Tensor, images: Tensor) -> Tensor:
    t, (n, _, h, w) = len(field), images.shape[1:]
    y = (torch.arange(h, device=field.device) + 0.5) / h
    x = (torch.arange(w, device=field.device) + 0.5) / w
    places = flow(field, h, w) + torch.stack(torch.meshgrid(x, y, indexing="xy"))
    stacked = images.reshape(len(images), n * 3, h, w).expand(t, -1, -1, -1)
    grid = places.movedim(1, -1) * 2 - 1
    return F.grid_sample(stacked, grid, padding_mode="border", align_corners=False).view(t, n, 3, h, w)


def _fit(tensor: Tensor, h: int, w: int) -> Tensor:
    if tensor.shape[-2:] == (h, w):
        return tensor
    return F.interpolate(tensor, size=(h, w), mode="bilinear", align_corners=False)


def encode(trigger: InvertedTrigger) -> str:
    """Returns ``trigger`` as base64 of a safetensors file (float16), for ``TriggerEvidence.parameters``."""
    tensors = {name: tensor.detach().cpu().half().contiguous() for name, tensor in trigger.tensors.items()}
    # One entry only: safetensors writes several in random order, and one seed must give the same bytes.
    metadata = {"trigger": json.dumps({"space": trigger.space, "target": trigger.target})}
    return base64.b64encode(save(tensors, metadata=metadata)).decode()


def decode(text: str) -> InvertedTrigger:
    """Returns the trigger that ``encode`` wrote.

    Raises:
        UserError: If the text is damaged or describes no trigger.

    >>> trigger = InvertedTrigger("warp", 3, {"field": torch.zeros(2, 4, 4)})
    >>> decode(encode(trigger)).target
    3
    """
    try:
        data = base64.b64decode(text, validate=True)
        tensors = {name: tensor.float() for name, tensor in load(data).items()}
        space, target = _metadata(data)
    except (binascii.Error, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"is not a reconstructed trigger: {error}", where="parameters", do="scan the model again"
        ) from None
    shapes = SHAPES.get(space, {})
    if target < 0 or tensors.keys() != shapes.keys() or not all(_fits(tensors[n].shape, shapes[n]) for n in shapes):
        raise UserError(f"describes no {space!r} trigger", where="parameters", do="scan the model again")
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        raise UserError("holds NaN or infinity", where="parameters", do="scan the model again")
    return InvertedTrigger(space, target, tensors)


def _fits(shape: Sequence[int], wanted: Sequence[int]) -> bool:
    return len(shape) == len(wanted) and all(a == b or (b < 0 < a) for a, b in zip(shape, wanted, strict=True))


def _metadata(data: bytes) -> tuple[str, int]:
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    trigger = json.loads(header["__metadata__"]["trigger"])
    return str(trigger["space"]), int(trigger["target"])
