"""What every trigger is."""

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from theriac.errors import UserError


@dataclass(frozen=True)
class Trigger(ABC):
    """What an attacker adds to images. Parameters are the dataclass's fields, all of them numbers or text.

    A trigger is a pure function: it never changes its input, keeps shape, type, device and range, and what is random
    about it comes from its own ``seed`` (the same for all images) or from ``generator`` (different for each image).
    """

    name: ClassVar[str]
    paper: ClassVar[str]

    def __call__(self, images: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Returns triggered copies of ``images``.

        Args:
            images: Float tensor [n, 3, h, w] in [0, 1] on any device.
            generator: Source of what differs from image to image; the trigger's own seed without it.

        Raises:
            ValueError: If ``images`` has another shape or type.
        """
        if images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            raise ValueError(f"need float images [n, 3, h, w], got {images.dtype} {list(images.shape)}")
        return self._apply(images, generator)

    @abstractmethod
    def _apply(self, images: Tensor, generator: torch.Generator | None) -> Tensor: ...

    def to_dict(self) -> dict[str, Any]:
        """Returns name and parameters, ready for JSON; ``theriac.triggers.from_dict`` reads them."""
        return {"name": self.name, "parameters": asdict(self)}

    def picture(self, size: int = 64) -> Tensor:
        """Returns a picture [3, size, size] in [0, 1] that shows the trigger to a human: on mid-grey."""
        return self(torch.full((1, 3, size, size), 0.5))[0]


def require(ok: bool, trigger: Trigger, what: str) -> None:
    """Raises ``UserError`` about ``trigger``'s parameters unless ``ok``."""
    if not ok:
        raise UserError(what, where=f"trigger {trigger.name}")
