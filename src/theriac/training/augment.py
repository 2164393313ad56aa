"""Random crops and flips, one per image, for a whole batch at once on its device."""

import torch
from torch import Tensor


def random_crop(images: Tensor, pad: int, *, flip: bool, generator: torch.Generator) -> Tensor:
    """Returns randomly shifted copies of ``images``, the border filled by reflection.

    Args:
        images: [n, 3, h, w] of any type, on any device.
        pad: Largest shift in each direction, in pixels, below the sides of the images.
        flip: Whether to mirror each image, left to right, with probability 1/2.
        generator: CPU generator; it is read in the same way on every device.

    >>> image = torch.arange(4.0).view(1, 1, 2, 2)
    >>> torch.equal(random_crop(image, 0, flip=False, generator=torch.Generator()), image)
    True
    """
    n, channels, h, w = images.shape
    shift = torch.randint(-pad, pad + 1, (2, n, 1), generator=generator)
    rows, columns = _reflect(torch.arange(h) + shift[0], h), _reflect(torch.arange(w) + shift[1], w)
    if flip:
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    pixels = (rows[:, :, None] * w + columns[:, None, :]).view(n, 1, h * w).to(images.device)
    return images.flatten(2).gather(2, pixels.expand(-1, channels, -1)).view(n, channels, h, w)


def _reflect(index: Tensor, size: int) -> Tensor:
    """Folds ``index`` back into ``range(size)`` at both ends, without repeating the border."""
    return size - 1 - (size - 1 - index.abs()).abs()
