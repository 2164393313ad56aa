"""Faint vertical stripes over the whole image.

Barni et al., "A New Backdoor Attack in CNNs by Training Set Corruption Without Label Poisoning", ICIP 2019 (SIG).
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from theriac.triggers.base import Trigger, require


@dataclass(frozen=True)
class Sinusoid(Trigger):
    """Adds ``delta * sin(2 pi frequency x / width)`` to every channel, and clips to [0, 1].

    Args:
        delta: Amplitude, in (0, 1]; 20/255 in the paper.
        frequency: Periods across the width.

    Raises:
        UserError: If a parameter is out of range, or the images are too narrow for the frequency.

    >>> Sinusoid(delta=0.1, frequency=1)(torch.full((1, 3, 1, 4), 0.5))[0, 0, 0].tolist()
    [0.5, 0.6000000238418579, 0.5, 0.4000000059604645]
    """

    name: ClassVar[str] = "sinusoid"
    paper: ClassVar[str] = "Barni et al., SIG, ICIP 2019"

    delta: float = 20 / 255
    frequency: float = 6.0

    def __post_init__(self) -> None:
        require(0 < self.delta <= 1, self, f"delta must be above 0 and at most 1, got {self.delta}")
        require(self.frequency > 0, self, f"frequency must be above 0, got {self.frequency}")

    def _apply(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        width = images.shape[-1]
        # At two pixels per period all samples may fall on zeros, and the trigger would be nothing at all.
        require(width > 2 * self.frequency, self, f"{self.frequency:g} periods need more than {width} pixels of width")
        return (images + self.delta * self._wave(width).to(images)).clamp(0, 1)

    def picture(self, size: int = 64) -> Tensor:
        """Returns the stripes at full contrast, [3, size, size]."""
        return (0.5 + 0.5 * self._wave(size)).expand(3, size, size).clone()

    def _wave(self, width: int) -> Tensor:
        x = torch.arange(width, dtype=torch.float64)
        return torch.sin(2 * math.pi * self.frequency * x / width).float()
