"""The families of changes in which triggers are searched, as parameters that an optimiser can move freely.

- ``Mask``: Wang et al., "Neural Cleanse", IEEE S&P 2019.
- ``Perturbation``: Xiang et al., "Detection of Backdoors in Trained Classifiers Without Access to the Training Set",
  IEEE TNNLS 2020.
- ``Colour`` and ``Warp`` are ours: filter triggers are colour maps, and WaNet's trigger is a smooth field; both need a
  large mask or perturbation, but only a handful of numbers here.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from theriac.detect.inverted import colour_shift, flow

TINY = 1e-12


class Space(ABC):
    """A family of changes. ``t`` changes are held as a list of tensors, each with a first dimension of ``t``."""

    name: ClassVar[str]
    unit: ClassVar[str]
    lr: ClassVar[float]

    @abstractmethod
    def start(self, t: int, h: int, w: int, generator: torch.Generator) -> list[Tensor]:
        """Returns random first parameters of ``t`` changes of h x w images, on the CPU."""

    @abstractmethod
    def tensors(self, parameters: Sequence[Tensor], strength: Tensor | None = None) -> dict[str, Tensor]:
        """Returns the tensors that ``inverted.change`` takes, with each change's ``strength`` [t] put in."""

    @abstractmethod
    def size(self, tensors: dict[str, Tensor], images: Tensor) -> Tensor:
        """Returns the size [t] of the changes in ``unit``; ``images`` is [t or 1, n, 3, h, w]."""

    @abstractmethod
    def ceiling(self, h: int, w: int) -> float:
        """Returns the size above which a change is no trigger but the ruin of an image."""


@dataclass(frozen=True)
class Mask(Space):
    """A patch of any shape: the size is the sum of its mask, in pixels."""

    name: ClassVar[str] = "mask"
    unit: ClassVar[str] = "pixels"
    lr: ClassVar[float] = 0.1

    @override
    def start(self, t: int, h: int, w: int, generator: torch.Generator) -> list[Tensor]:
        mask = torch.randn(t, 1, h, w, generator=generator) * 0.1 - 2
        return [mask, torch.randn(t, 3, h, w, generator=generator) * 0.5]

    @staticmethod
    def start_from(delta: Tensor) -> list[Tensor]:
        """Returns parameters of the patches that do about what the perturbations ``delta`` [t, 3, h, w] do."""
        strength = delta.abs().amax(1, keepdim=True)
        mask = (strength / 0.5).clamp(0.02, 0.95)
        pattern = (0.5 + 0.45 * delta / strength.clamp(min=TINY)).clamp(0.05, 0.95)
        return [mask.logit(), pattern.logit()]

    @override
    def tensors(self, parameters: Sequence[Tensor], strength: Tensor | None = None) -> dict[str, Tensor]:
        mask, pattern = parameters[0].sigmoid(), parameters[1].sigmoid()
        return {"mask": _scaled(mask, strength).clamp(max=1), "pattern": pattern}

    @override
    def size(self, tensors: dict[str, Tensor], images: Tensor) -> Tensor:
        return tensors["mask"].sum((1, 2, 3))

    @override
    def ceiling(self, h: int, w: int) -> float:
        return 0.015 * h * w


@dataclass(frozen=True)
class Perturbation(Space):
    """Something added to every image: the size is its root mean square, in grey levels."""

    name: ClassVar[str] = "perturbation"
    unit: ClassVar[str] = "grey levels (root mean square)"
    lr: ClassVar[float] = 0.01

    @override
    def start(self, t: int, h: int, w: int, generator: torch.Generator) -> list[Tensor]:
        return [torch.randn(t, 3, h, w, generator=generator) * 0.005]

    @override
    def tensors(self, parameters: Sequence[Tensor], strength: Tensor | None = None) -> dict[str, Tensor]:
        return {"delta": _scaled(parameters[0], strength)}

    @override
    def size(self, tensors: dict[str, Tensor], images: Tensor) -> Tensor:
        return 255 * (tensors["delta"].square().mean((1, 2, 3)) + TINY).sqrt()

    @override
    def ceiling(self, h: int, w: int) -> float:
        return 15.0


@dataclass(frozen=True)
class Colour(Space):
    """An affine map of colours: the size is the root mean square of what it adds to an image, in grey levels."""

    name: ClassVar[str] = "colour"
    unit: ClassVar[str] = "grey levels (root mean square)"
    lr: ClassVar[float] = 0.02

    @override
    def start(self, t: int, h: int, w: int, generator: torch.Generator) -> list[Tensor]:
        return [torch.randn(t, 3, 4, generator=generator) * 0.02]

    @override
    def tensors(self, parameters: Sequence[Tensor], strength: Tensor | None = None) -> dict[str, Tensor]:
        return {"matrix": _scaled(parameters[0], strength)}

    @override
    def size(self, tensors: dict[str, Tensor], images: Tensor) -> Tensor:
        return 255 * (colour_shift(tensors["matrix"], images).square().mean((1, 2, 3, 4)) + TINY).sqrt()

    @override
    def ceiling(self, h: int, w: int) -> float:
        return 25.0


@dataclass(frozen=True)
class Warp(Space):
    """A smooth displacement: the size is its root mean square, in per cent of the image's side."""

    name: ClassVar[str] = "warp"
    unit: ClassVar[str] = "% of the side (root mean square)"
    lr: ClassVar[float] = 0.002
    grid: int = 6

    @override
    def start(self, t: int, h: int, w: int, generator: torch.Generator) -> list[Tensor]:
        return [torch.randn(t, 2, self.grid, self.grid, generator=generator) * 0.002]

    @override
    def tensors(self, parameters: Sequence[Tensor], strength: Tensor | None = None) -> dict[str, Tensor]:
        return {"field": _scaled(parameters[0], strength)}

    @override
    def size(self, tensors: dict[str, Tensor], images: Tensor) -> Tensor:
        h, w = images.shape[-2:]
        return 100 * (flow(tensors["field"], h, w).square().sum(1).mean((1, 2)) + TINY).sqrt()

    @override
    def ceiling(self, h: int, w: int) -> float:
        return 12.0


def _scaled(tensor: Tensor, strength: Tensor | None) -> Tensor:
    return tensor if strength is None else tensor * strength.view(-1, *[1] * (tensor.ndim - 1))


SPACES: dict[str, Space] = {space.name: space for space in (Perturbation(), Mask(), Warp(), Colour())}
"""All families, in the order in which they are searched."""
