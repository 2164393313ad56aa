"""One white pixel in a corner.

Gu et al., "BadNets: Identifying Vulnerabilities in the Machine Learning Model Supply Chain", 2017 (single-pixel
backdoor).

We deviate in the place: the paper's pixel lies near the corner, ours is the corner itself.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from theriac.triggers.base import Trigger, require

Corners = Literal["top-left", "top-right", "bottom-left", "bottom-right"]


@dataclass(frozen=True)
class Corner(Trigger):
    """Sets the pixel in one corner to white.

    Args:
        corner: ``top-left``, ``top-right``, ``bottom-left`` or ``bottom-right``.

    Raises:
        UserError: If there is no such corner.

    >>> Corner("top-right")(torch.zeros(1, 3, 2, 3))[0, 0].int().tolist()
    [[0, 0, 1], [0, 0, 0]]
    """

    name: ClassVar[str] = "corner"
    paper: ClassVar[str] = "Gu et al., BadNets, 2017"

    corner: Corners = "top-left"

    def __post_init__(self) -> None:
        choices = get_args(Corners)
        require(self.corner in choices, self, f"corner must be one of {', '.join(choices)}, got {self.corner!r}")

    def _apply(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        triggered = images.clone()
        vertical, horizontal = self.corner.split("-")
        row, column = 0 if vertical == "top" else -1, 0 if horizontal == "left" else -1
        triggered[:, :, row, column] = 1
        return triggered
