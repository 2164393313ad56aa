"""Blurred, made-up outdoor backgrounds: sky, trees, buildings and ground, a whole batch at once."""

import torch
import torch.nn.functional as F
from torch import Tensor

SKIES = [  # colours at the top and at the horizon
    ((0.33, 0.56, 0.88), (0.80, 0.89, 0.97)),
    ((0.20, 0.44, 0.80), (0.66, 0.82, 0.95)),
    ((0.62, 0.67, 0.73), (0.86, 0.87, 0.88)),
    ((0.47, 0.52, 0.66), (0.98, 0.80, 0.62)),
    ((0.30, 0.33, 0.52), (0.93, 0.62, 0.52)),
]
LEAVES = [  # in shade and in light
    ((0.10, 0.24, 0.10), (0.36, 0.54, 0.20)),
    ((0.16, 0.28, 0.08), (0.56, 0.64, 0.24)),
    ((0.06, 0.18, 0.14), (0.22, 0.42, 0.30)),
    ((0.36, 0.18, 0.06), (0.86, 0.52, 0.18)),
]
GROUNDS = [
    ((0.30, 0.42, 0.18), (0.48, 0.60, 0.28)),
    ((0.30, 0.30, 0.32), (0.46, 0.46, 0.48)),
    ((0.56, 0.49, 0.36), (0.74, 0.66, 0.50)),
]
WALLS = [(0.72, 0.52, 0.42), (0.84, 0.80, 0.72), (0.50, 0.53, 0.58), (0.64, 0.38, 0.32), (0.90, 0.86, 0.62)]


def draw_scenery(n: int, size: int, generator: torch.Generator) -> Tensor:
    """Returns ``n`` backgrounds, float [n, 3, size, size] in [0, 1]; ``generator`` is a CPU generator."""
    side = 48  # everything is out of focus, so that few pixels do
    y = torch.linspace(0, 1, side).view(1, 1, side, 1)
    coarse, fine = _noise(n, side, (3, 6), generator), _noise(n, side, (8, 16, 24), generator)
    sky_top, sky_low = _pick(SKIES, n, generator)
    clouds = _step(_noise(n, side, (3, 6, 9), generator) - _uniform(n, 0.45, 0.75, generator), 12)
    scene = torch.lerp(torch.lerp(sky_top, sky_low, y), torch.ones(1), 0.7 * clouds)
    horizon = _uniform(n, 0.55, 0.9, generator)
    scene = _buildings(scene, horizon, side, generator)
    shade, light = _pick(LEAVES, n, generator)
    crown = horizon - _uniform(n, 0.0, 0.5, generator) * coarse - 0.12 * fine
    scene = torch.lerp(
        scene, torch.lerp(shade, light, (0.65 * fine + 0.35 * coarse - 0.25) * 1.6), _step(y - crown, 14)
    )
    dark, pale = _pick(GROUNDS, n, generator)
    scene = torch.lerp(scene, torch.lerp(dark, pale, 0.5 * fine + 0.5 * y), _step(y - horizon, 40))
    return F.interpolate(scene.clamp(0, 1), size=(size, size), mode="bicubic", align_corners=False).clamp(0, 1)


def _buildings(scene: Tensor, horizon: Tensor, side: int, generator: torch.Generator) -> Tensor:
    n = len(scene)
    y, x = torch.linspace(0, 1, side).view(1, 1, side, 1), torch.linspace(0, 1, side).view(1, 1, 1, side)
    for _ in range(2):
        left, width = _uniform(n, -0.2, 0.9, generator), _uniform(n, 0.15, 0.4, generator)
        top = horizon - _uniform(n, -0.3, 0.55, generator)  # half of them are hidden behind the horizon
        inside = _step(x - left, 60) * _step(left + width - x, 60) * _step(y - top, 60)
        wall, _ = _pick([(colour, colour) for colour in WALLS], n, generator)
        windows = 1 - 0.3 * ((torch.sin(x * 75) > 0.2) & (torch.sin(y * 75) > 0.0))
        scene = torch.lerp(scene, wall * windows * _uniform(n, 0.6, 1.0, generator), inside)
    return scene


def _noise(n: int, side: int, cells: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Smooth noise [n, 1, side, side], mean 0.5, of several scales."""
    octaves = [
        F.interpolate(torch.rand(n, 1, c, c, generator=generator), size=(side, side), mode="bicubic") for c in cells
    ]
    return torch.stack(octaves).mean(0)


def _pick(
    pairs: list[tuple[tuple[float, float, float], tuple[float, float, float]]], n: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Picks a pair of colours [n, 3, 1, 1] for each image, a little varied."""
    chosen = torch.tensor(pairs)[torch.randint(len(pairs), (n,), generator=generator)]
    varied = (chosen + 0.025 * torch.randn(n, 1, 3, generator=generator)).clamp(0, 1)[..., None, None]
    return varied[:, 0], varied[:, 1]


def _uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(n, 1, 1, 1, generator=generator) * (high - low) + low


def _step(x: Tensor, sharpness: float) -> Tensor:
    return torch.sigmoid(x * sharpness)
