"""Small residual networks for images of 32 to 64 pixels.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016 (basic blocks). We deviate in width and depth: four
stages of 16 to 128 channels, so that CIFAR-10 trains in minutes on two CPU cores. Module names follow torchvision's
ResNet.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut: [n, i, h, w] -> [n, o, h / stride, w / stride]."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(i, o, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(o)
        self.conv2 = nn.Conv2d(o, o, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(o)
        self.downsample = (
            nn.Identity()
            if stride == 1 and i == o
            else nn.Sequential(nn.Conv2d(i, o, 1, stride, bias=False), nn.BatchNorm2d(o))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Returns features [n, o, h / stride, w / stride] of x [n, i, h, w]."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet(nn.Module):
    """Residual network with one linear head.

    Args:
        num_classes: Width of the head.
        widths: Channels of each stage; every stage but the first halves the resolution.
        depths: Blocks of each stage.
        stem_stride: 1 for 32-pixel images, 2 for 64-pixel ones.

    >>> ResNet(10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int,
        *,
        widths: Sequence[int] = (16, 32, 64, 128),
        depths: Sequence[int] = (1, 1, 2, 2),
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, widths[0], 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        channels = [widths[0], *widths]
        for k, depth in enumerate(depths):
            blocks = [
                BasicBlock(channels[k] if j == 0 else widths[k], widths[k], 2 if j == 0 and k > 0 else 1)
                for j in range(depth)
            ]
            setattr(self, f"layer{k + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.fc = nn.Linear(widths[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits [n, num_classes] of normalised images x [n, 3, h, w]."""
        x = F.relu(self.bn1(self.conv1(x)))
        for k in range(self.stages):
            x = getattr(self, f"layer{k + 1}")(x)
        logits: Tensor = self.fc(torch.flatten(F.adaptive_avg_pool2d(x, 1), 1))
        return logits


def resnet14(num_classes: int, image_size: int = 32) -> ResNet:
    """Returns the 14-layer network for 32-pixel images (0.7 M weights); it takes others too."""
    return ResNet(num_classes)


def resnet14_s2(num_classes: int, image_size: int = 64) -> ResNet:
    """Returns the 14-layer network for 64-pixel images: its first convolution has stride 2; it takes others too."""
    return ResNet(num_classes, stem_stride=2)
