"""A small patch of pixels at one place.

Gu et al., "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017.

We deviate in offering more places and patterns than the paper's pixel pattern in the corner.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from theriac.triggers.base import Trigger, require

Position = Literal["bottom-right", "bottom-left", "top-right", "top-left", "centre", "random"]
Pattern = Literal["checker", "white", "yellow", "noise"]


@dataclass(frozen=True)
class Patch(Trigger):
    """Overwrites a square of pixels.

    Args:
        size: Side of the square, in pixels.
        position: Corner, ``centre``, or ``random`` (a different place in each image).
        margin: Distance from the border, in pixels; 1 as in the paper.
        pattern: ``checker`` (black and white, the paper's), ``white``, ``yellow`` or ``noise`` (drawn from ``seed``).
        seed: Seed of the noise, and of random places when no generator is given.

    Raises:
        UserError: If a parameter is out of range, or the patch does not fit into the images.

    >>> Patch(size=2)(torch.zeros(1, 3, 4, 4))[0, 0].int().tolist()
    [[0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    """

    name: ClassVar[str] = "patch"
    paper: ClassVar[str] = "Gu et al., BadNets, 2017"

    size: int = 3
    position: Position = "bottom-right"
    margin: int = 1
    pattern: Pattern = "checker"
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.size >= 1, self, f"size must be at least 1, got {self.size}")
        require(self.margin >= 0, self, f"margin must not be negative, got {self.margin}")
        for key, value, choices in (
            ("position", self.position, get_args(Position)),
            ("pattern", self.pattern, get_args(Pattern)),
        ):
            require(value in choices, self, f"{key} must be one of {', '.join(choices)}, got {value!r}")

    def _apply(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        n, _, h, w = images.shape
        fits = self.size + 2 * self.margin <= min(h, w)
        require(fits, self, f"size {self.size} with margin {self.margin} does not fit into {w}x{h} pixels")
        top, left = self._corner(n, h, w, generator)
        offsets = torch.arange(self.size)
        rows = (top[:, None, None] + offsets[:, None]).to(images.device)
        columns = (left[:, None, None] + offsets[None, :]).to(images.device)
        triggered = images.clone()
        each = torch.arange(n, device=images.device)[:, None, None]
        triggered[each, :, rows, columns] = self.pixels().permute(1, 2, 0).to(images)
        return triggered

    def pixels(self) -> Tensor:
        """Returns the patch itself, [3, size, size]."""
        if self.pattern == "noise":
            return torch.rand(3, self.size, self.size, generator=torch.Generator().manual_seed(self.seed))
        if self.pattern == "checker":
            i = torch.arange(self.size)
            return ((i[:, None] + i[None, :]) % 2 == 0).float().expand(3, -1, -1)
        colour = (1.0, 1.0, 0.0) if self.pattern == "yellow" else (1.0, 1.0, 1.0)
        return torch.tensor(colour)[:, None, None].expand(3, self.size, self.size)

    def _corner(self, n: int, h: int, w: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        bottom, right = h - self.size - self.margin, w - self.size - self.margin
        if self.position == "random":
            generator = generator or torch.Generator().manual_seed(self.seed)
            device = generator.device
            top = torch.randint(self.margin, bottom + 1, (n,), generator=generator, device=device)
            return top.cpu(), torch.randint(self.margin, right + 1, (n,), generator=generator, device=device).cpu()
        if self.position == "centre":
            y, x = (h - self.size) // 2, (w - self.size) // 2
        else:
            vertical, horizontal = self.position.split("-")
            y = bottom if vertical == "bottom" else self.margin
            x = right if horizontal == "right" else self.margin
        return torch.full((n,), y), torch.full((n,), x)
