"""A smooth elastic warp of the whole image.

Nguyen & Tran, "WaNet: Imperceptible Warping-based Backdoor Attack", ICLR 2021.

We deviate by scaling the displacement with the image (the paper's is a constant number of pixels, so that the trigger
all but vanishes in larger images). The paper's extra randomly warped training examples are not part of the trigger.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.triggers.base import Trigger, require

REFERENCE = 32  # the side of the paper's images


@dataclass(frozen=True)
class Warp(Trigger):
    """Moves pixels along a smooth random field.

    Args:
        grid: Control points on each side (the paper's k).
        strength: Mean displacement of the control points, in half pixels of a 32-pixel image (the paper's s).
        seed: Seed of the field.

    Raises:
        UserError: If a parameter is out of range.

    >>> image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> Warp()(image).shape, bool((Warp()(image) != image).any())
    (torch.Size([1, 3, 32, 32]), True)
    """

    name: ClassVar[str] = "warp"
    paper: ClassVar[str] = "Nguyen & Tran, WaNet, ICLR 2021"

    grid: int = 4
    strength: float = 0.75
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.grid >= 2, self, f"grid must be at least 2, got {self.grid}")
        require(0 < self.strength <= 8, self, f"strength must be above 0 and at most 8, got {self.strength}")

    def _apply(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        n, _, h, w = images.shape
        places = (self._places(h, w) + self.field(h, w)).clamp(-1, 1).to(images)
        warped = F.grid_sample(images, places.expand(n, -1, -1, -1), padding_mode="border", align_corners=True)
        return warped.clamp(0, 1)

    def picture(self, size: int = 64) -> Tensor:
        """Returns what the warp does to a square lattice, [3, size, size]."""
        lines = torch.arange(size) % max(4, size // 8) == 0
        lattice = torch.where(lines[:, None] | lines[None, :], 0.15, 0.9)
        return self(lattice.expand(1, 3, size, size))[0]

    def field(self, h: int, w: int) -> Tensor:
        """Returns the displacement of each pixel, [h, w, 2] (x, y), in units of half the image's side."""
        generator = torch.Generator().manual_seed(self.seed)
        control = torch.rand(1, 2, self.grid, self.grid, generator=generator) * 2 - 1
        control /= control.abs().mean()
        smooth = F.interpolate(control, size=(h, w), mode="bicubic", align_corners=True)[0]
        return smooth.permute(1, 2, 0) * (self.strength / REFERENCE)

    @staticmethod
    def _places(h: int, w: int) -> Tensor:
        y, x = torch.meshgrid(torch.linspace(-1, 1, h), torch.linspace(-1, 1, w), indexing="ij")
        return torch.stack([x, y], dim=-1)
