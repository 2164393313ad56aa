"""A small convolutional network for images of 28 to 32 pixels: trained in seconds on one CPU core."""

from torch import Tensor, nn

PLACES = 4
"""Side of the last feature map, whatever the size of the images."""


class CNN(nn.Module):
    """Two convolutions with batch normalisation and max pooling, one fully connected layer and one linear head.

    Args:
        num_classes: Width of the head.
        image_size: Side of the images that it is meant for; it takes others too.

    >>> import torch
    >>> CNN(10)(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(self, num_classes: int, image_size: int = 28) -> None:
        super().__init__()
        self.layer1 = _convolution(3, 16, nn.MaxPool2d(2))
        self.layer2 = _convolution(16, 32, nn.MaxPool2d(2))
        self.layer3 = nn.Sequential(
            nn.AdaptiveMaxPool2d(PLACES),
            nn.Flatten(),
            nn.Linear(32 * PLACES**2, 128, bias=False),
            nn.BatchNorm1d(128),
            nn.ReLU(),
        )
        self.fc = nn.Linear(128, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Returns logits [n, num_classes] of normalised images x [n, 3, h, w]."""
        logits: Tensor = self.fc(self.layer3(self.layer2(self.layer1(x))))
        return logits


def _convolution(i: int, o: int, pool: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), pool)
