"""An image classifier in the only form that the rest of theriac works with."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from theriac.errors import UserError


class Classifier(nn.Module):
    """A network together with what it needs to read pixels and to name its answers.

    Args:
        net: Maps normalised images [n, 3, size, size] to logits [n, k].
        architecture: ``"family:name"``, for instance ``"theriac:resnet14"`` or ``"torchvision:resnet50"``.
        classes: Name of each of the k classes.
        image_size: Side of the square images that the network was trained on.
        mean, std: Per-channel normalisation of pixels in [0, 1].
        name: What to call the model in findings.
        sha256: Digest of the file that it was read from; 64 zeros for a model that was never saved.
        assumptions: What the file did not say and was assumed when it was opened, one sentence each.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        net: nn.Module,
        *,
        architecture: str,
        classes: Sequence[str],
        image_size: int,
        mean: Sequence[float] = (0.5, 0.5, 0.5),
        std: Sequence[float] = (0.25, 0.25, 0.25),
        name: str = "model",
        sha256: str = "0" * 64,
        assumptions: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise UserError(
                f"mean {list(mean)} and std {list(std)} must be three numbers each, std above 0", where=name
            )
        self.net = net
        self.architecture, self.classes, self.image_size = architecture, tuple(classes), image_size
        self.name, self.sha256, self.assumptions = name, sha256, tuple(assumptions)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits [n, k] of images [n, 3, h, w] in [0, 1]; other sizes are resized, differentiably."""
        if images.shape[-2:] != (self.image_size, self.image_size):
            size = (self.image_size, self.image_size)
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True, align_corners=False)
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.mean.device

    def head(self) -> tuple[str, nn.Linear]:
        """Returns name and module of the last linear layer; its input is the penultimate activation.

        Raises:
            UserError: If the network has no linear layer with one output per class.
        """
        for name, module in reversed(list(self.net.named_modules())):
            if isinstance(module, nn.Linear) and module.out_features == len(self.classes):
                return f"net.{name}" if name else "net", module
        raise UserError(f"no linear layer with {len(self.classes)} outputs in {self.architecture}", where=self.name)
