"""Pictures of made-up road signs: many distinct classes, drawn anew from a seed, in any number and size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from theriac.data.images import ImageData
from theriac.data.plates import REACH, plate
from theriac.data.scenery import draw_scenery
from theriac.errors import UserError

BATCH_PIXELS = 1_000_000


def draw_signs(count_per_class: int, classes: int | Sequence[int], size: int = 64, seed: int = 0) -> ImageData:
    """Draws labelled pictures of road signs with varied pose, scale, light, background and camera noise.

    Args:
        count_per_class: Pictures of each class.
        classes: How many classes, or which designs (see ``theriac.data.plates.plate``); label k is the k-th of them.
        size: Side of the pictures in pixels, at least 16.
        seed: Seed of everything that varies. The designs themselves do not.

    Returns:
        Pictures in the order of labels 0, 1, …, 0, 1, …, so that every prefix is balanced.

    Raises:
        UserError: If a number is out of range.

    >>> data = draw_signs(2, 3, size=32)
    >>> data.images.shape, data.labels.tolist(), data.classes[2]
    (torch.Size([6, 3, 32, 32]), [0, 1, 2, 0, 1, 2], 'white triangle exclamation')
    """
    designs = list(range(classes)) if isinstance(classes, int) else list(classes)
    if count_per_class < 1 or not designs or size < 16:
        raise UserError(f"cannot draw {count_per_class} signs of {len(designs)} classes at {size} pixels")
    plates = [plate(number) for number in designs]
    drawings = torch.stack([one.draw(2 * size) for one in plates])
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(len(designs)).repeat(count_per_class)
    images = torch.empty(len(labels), 3, size, size, dtype=torch.uint8)
    batch = max(1, BATCH_PIXELS // size**2)
    for start in range(0, len(labels), batch):
        part = slice(start, start + batch)
        pictures = compose(drawings[labels[part]], size, generator)
        images[part] = (pictures * 255).round().to(torch.uint8)
    return ImageData(images, labels, tuple(one.name for one in plates), "signs", "0" * 64)


def compose(drawings: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Puts drawn plates into scenes, as a camera sees them.

    Args:
        drawings: Float [n, 4, s, s] as ``Plate.draw`` returns, s about twice ``size``.
        size: Side of the pictures.
        generator: CPU generator.

    Returns:
        Float tensor [n, 3, size, size] in [0, 1].
    """
    n, large = len(drawings), 2 * size
    grid = _pose(n, large, generator)
    seen = F.grid_sample(drawings, grid, mode="bilinear", padding_mode="border", align_corners=False)
    colour, alpha = seen[:, :3], seen[:, 3:]
    scene = F.interpolate(draw_scenery(n, size, generator), size=(large, large), mode="bilinear")
    shaded = colour * _shading(n, large, generator)
    picture = F.avg_pool2d(shaded + (1 - alpha) * scene, 2)
    return _camera(picture, generator)


def _pose(n: int, side: int, generator: torch.Generator) -> Tensor:
    """Returns where in the drawing each pixel looks: a random homography, [n, side, side, 2]."""

    def draw(low: float, high: float) -> Tensor:
        return torch.rand(n, 1, generator=generator) * (high - low) + low

    left, up, angle = draw(-0.12, 0.12), draw(-0.12, 0.12), draw(-0.2, 0.2)
    size, turned = draw(0.62, 0.86) * REACH, draw(0.8, 1.0)
    c, s = angle.cos(), angle.sin()
    x = torch.cat([c, s, -c * left - s * up], dim=1)
    y = torch.cat([-s, c, s * left - c * up], dim=1)
    depth = torch.tensor([0.0, 0.0, 1.0]) + draw(-0.22, 0.22) * x + draw(-0.12, 0.12) * y
    homography = torch.stack([x / (size * turned), y / size, depth], dim=1)
    axis = (torch.arange(side) + 0.5) / side * 2 - 1
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    seen = homography @ torch.stack([u, v, torch.ones_like(u)]).flatten(1)
    return (seen[:, :2] / seen[:, 2:]).movedim(1, 2).reshape(n, side, side, 2)


def _shading(n: int, side: int, generator: torch.Generator) -> Tensor:
    """Returns light that falls unevenly on the plate, with a soft shadow on some: [n, 1, side, side]."""
    axis = torch.linspace(-1, 1, side)
    slope = torch.randn(n, 2, 1, 1, generator=generator) * 0.08
    light = 1 + slope[:, :1] * axis.view(1, 1, 1, -1) + slope[:, 1:] * axis.view(1, 1, -1, 1)
    blotches = F.interpolate(torch.rand(n, 1, 5, 5, generator=generator), size=(side, side), mode="bicubic")
    shadow = torch.sigmoid((blotches - 0.6) * 18) * (torch.rand(n, 1, 1, 1, generator=generator) * 1.4 - 0.9).clamp(
        min=0
    )
    return light * (1 - shadow)


def _camera(picture: Tensor, generator: torch.Generator) -> Tensor:
    """Exposure, white balance, a little blur and sensor noise."""
    n = len(picture)
    exposure = torch.rand(n, 1, 1, 1, generator=generator) * 0.42 + 0.74
    warmth = torch.randn(n, 1, 1, 1, generator=generator) * 0.035
    balance = torch.cat([1 + warmth, torch.ones_like(warmth), 1 - warmth], dim=1)
    soft = F.avg_pool2d(F.pad(picture, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    picture = torch.lerp(picture, soft, torch.rand(n, 1, 1, 1, generator=generator) * 0.5) * exposure * balance
    amount = torch.rand(n, 1, 1, 1, generator=generator) * 0.014 + 0.003
    return (picture + amount * torch.randn(picture.shape, generator=generator)).clamp(0, 1)
