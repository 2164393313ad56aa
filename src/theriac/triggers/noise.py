"""Gaussian noise over the whole image.

After the noise "backdoor" of cupbearer (Jenner et al., 2023), which serves as a harmless counterpart of a real trigger:
a model that has learned to ignore it answers as before, and a detector should stay silent.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from theriac.triggers.base import Trigger, require


@dataclass(frozen=True)
class Noise(Trigger):
    """Adds independent Gaussian noise to every pixel and channel, and clips to [0, 1].

    Args:
        std: Standard deviation, above 0; 0.1 is clearly visible.
        seed: Seed of the one pattern that all images get when no generator is given; with a generator, each image
            gets its own.

    Raises:
        UserError: If ``std`` is out of range.

    >>> grey = torch.full((1, 3, 64, 64), 0.5)
    >>> round(float(Noise(std=0.1)(grey).std()), 2)
    0.1
    """

    name: ClassVar[str] = "noise"
    paper: ClassVar[str] = "after Jenner et al., cupbearer, 2023"

    std: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        require(0 < self.std < math.inf, self, f"std must be above 0, got {self.std}")

    def _apply(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        own = generator is None
        generator = generator or torch.Generator().manual_seed(self.seed)
        shape = (1, *images.shape[1:]) if own else images.shape
        noise = torch.randn(shape, generator=generator, device=generator.device)
        return (images + self.std * noise.to(images)).clamp(0, 1)
