"""How a classifier is trained; without torch, so that the command line can show it at once."""

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from theriac.errors import UserError

if TYPE_CHECKING:
    from theriac.data.images import ImageData


@dataclass(frozen=True)
class Settings:
    """How a classifier is trained.

    Args:
        architecture: ``family:name``, or ``auto``: a 14-layer ResNet up to 96 pixels, torchvision's ResNet-18 above.
        epochs: Passes over the data.
        batch_size: Rows of one step, over all devices together.
        lr: Largest learning rate.
        weight_decay: L2 penalty on the weights.
        crop: Largest random shift, in pixels.
        flip: Mirror images at random; not for road signs or letters.

    Raises:
        UserError: If a value is out of range.
    """

    architecture: str = "auto"
    epochs: int = 10
    batch_size: int = 128
    lr: float = 0.2
    weight_decay: float = 5e-4
    crop: int = 2
    flip: bool = False

    def __post_init__(self) -> None:
        for ok, what in (
            (self.epochs >= 1, f"epochs must be at least 1, got {self.epochs}"),
            (self.batch_size >= 2, f"batch size must be at least 2, got {self.batch_size}"),
            (0 < self.lr < math.inf, f"learning rate must be above 0, got {self.lr}"),
            (0 <= self.weight_decay < math.inf, f"weight decay must not be negative, got {self.weight_decay}"),
            (self.crop >= 0, f"crop must not be negative, got {self.crop}"),
        ):
            if not ok:
                raise UserError(what, where="training")

    def digest(self, data: "ImageData", seed: int) -> str:
        """Returns the SHA-256 of everything that decides the weights: these settings, the data and the seed."""
        config = asdict(self) | {"data": data.sha256, "rows": len(data), "classes": data.classes, "seed": seed}
        return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
