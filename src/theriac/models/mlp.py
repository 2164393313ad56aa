"""A small fully connected network for images of digits and the like."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """Fully connected layers, each with batch normalisation, and one linear head.

    Args:
        num_classes: Width of the head.
        image_size: Side of the images; the first layer has weights for each of their pixels.
        widths: Units of each hidden layer.

    >>> MLP(10)(torch.zeros(2, 3, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, image_size: int = 28, *, widths: Sequence[int] = (256, 256)) -> None:
        super().__init__()
        sizes = [3 * image_size**2, *widths]
        for k, width in enumerate(widths):
            layer = nn.Sequential(nn.Linear(sizes[k], width, bias=False), nn.BatchNorm1d(width), nn.ReLU())
            setattr(self, f"layer{k + 1}", layer)
        self.stages = len(widths)
        self.fc = nn.Linear(sizes[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits [n, num_classes] of normalised images x [n, 3, image_size, image_size]."""
        x = torch.flatten(x, 1)
        for k in range(self.stages):
            x = getattr(self, f"layer{k + 1}")(x)
        logits: Tensor = self.fc(x)
        return logits
