"""A whole picture mixed into the image.

Chen et al., "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning", 2017 (blended injection).

We deviate by drawing the paper's random pattern on a 32x32 grid that is scaled to the image, so that one trigger is
the same thing at every resolution and survives resizing.
"""

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from theriac.errors import UserError
from theriac.triggers.base import Trigger, require

GRID = 32
LARGEST = 256
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF")


@dataclass(frozen=True)
class Blend(Trigger):
    """Mixes a picture into the image: ``(1 - alpha) * image + alpha * picture``.

    Args:
        alpha: Weight of the picture, in (0, 1].
        seed: Seed of the random picture that is used when none is given.
        png: Base64 of the picture as PNG, so that the trigger's record is complete; see ``from_file``.

    Raises:
        UserError: If ``alpha`` is out of range or ``png`` is not a picture.

    >>> Blend(alpha=0.1)(torch.zeros(1, 3, 8, 8)).max() <= 0.1
    tensor(True)
    """

    name: ClassVar[str] = "blend"
    paper: ClassVar[str] = "Chen et al., Targeted Backdoor Attacks Using Data Poisoning, 2017"

    alpha: float = 0.2
    seed: int = 0
    png: str = ""

    def __post_init__(self) -> None:
        require(0 < self.alpha <= 1, self, f"alpha must be above 0 and at most 1, got {self.alpha}")
        self._grid()

    @classmethod
    def from_file(cls, path: Path, alpha: float = 0.2) -> Self:
        """Returns a trigger that blends in the picture at ``path``, kept at up to 256x256 pixels."""
        try:
            picture = _open(path.read_bytes())
        except (OSError, ValueError) as error:
            raise UserError(f"is not a readable picture: {error}", where=path, do="give a PNG or JPEG file") from None
        picture.thumbnail((LARGEST, LARGEST))
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        return cls(alpha=alpha, png=base64.b64encode(buffer.getvalue()).decode())

    def _apply(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        picture = self._scaled(*images.shape[-2:]).to(images)
        return torch.lerp(images, picture.expand_as(images), self.alpha)

    def picture(self, size: int = 64) -> Tensor:
        """Returns the blended picture itself, [3, size, size]."""
        return self._scaled(size, size)

    def _scaled(self, h: int, w: int) -> Tensor:
        grid = self._grid()[None]
        return F.interpolate(grid, size=(h, w), mode="bilinear", antialias=True, align_corners=False)[0].clamp(0, 1)

    def _grid(self) -> Tensor:
        if not self.png:
            return torch.rand(3, GRID, GRID, generator=torch.Generator().manual_seed(self.seed))
        try:
            picture = _open(base64.b64decode(self.png, validate=True))
        except (OSError, ValueError):
            raise UserError("png is not the base64 of a picture", where="trigger blend") from None
        return torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255


def _open(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data), formats=FORMATS)
    if image.width * image.height > 50_000_000:
        raise ValueError(f"{image.width}x{image.height} pixels are too many")
    return image.convert("RGB")
