"""Pictograms of made-up road signs, each drawn with a few strokes."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from PIL import ImageDraw

Point = tuple[float, float]
Colour = tuple[int, int, int]


def regular(n: int, radius: float, start: float) -> tuple[Point, ...]:
    """Returns the corners of a regular polygon around (0, 0), the first at ``start`` degrees; y points down."""
    angles = [math.radians(start + 360 * k / n) for k in range(n)]
    return tuple((radius * math.cos(a), radius * math.sin(a)) for a in angles)


class Pen:
    """Draws a pictogram that lies in [-1, 1] x [-1, 1]."""

    def __init__(self, draw: ImageDraw.ImageDraw, place: Callable[[Point], Point], unit: float, ink: Colour) -> None:
        self.draw, self.place, self.unit, self.ink = draw, place, unit, ink

    def area(self, points: Sequence[Point]) -> None:
        """Fills a polygon."""
        self.draw.polygon([self.place(p) for p in points], fill=self.ink)

    def line(self, points: Sequence[Point], width: float) -> None:
        """Draws a line with round joints and ends."""
        placed = [self.place(p) for p in points]
        self.draw.line(placed, fill=self.ink, width=round(width * self.unit), joint="curve")
        for end in (points[0], points[-1]):
            self.disc(end, width / 2)

    def disc(self, centre: Point, radius: float) -> None:
        """Fills a circle."""
        x, y = self.place(centre)
        r = radius * self.unit
        self.draw.ellipse((x - r, y - r, x + r, y + r), fill=self.ink)


def _bar(pen: Pen) -> None:
    pen.area([(-1, -0.3), (1, -0.3), (1, 0.3), (-1, 0.3)])


def _arrow(pen: Pen) -> None:
    pen.area([(0, -1.05), (0.8, -0.15), (0.28, -0.15), (0.28, 1), (-0.28, 1), (-0.28, -0.15), (-0.8, -0.15)])


def _exclamation(pen: Pen) -> None:
    pen.area([(-0.3, -1.1), (0.3, -1.1), (0.18, 0.4), (-0.18, 0.4)])
    pen.disc((0, 0.82), 0.27)


def _bolt(pen: Pen) -> None:
    pen.area([(0.3, -1.1), (-0.65, 0.2), (-0.08, 0.2), (-0.3, 1.1), (0.65, -0.25), (0.08, -0.25)])


def _tree(pen: Pen) -> None:
    for top, bottom, half in ((-1.1, -0.25, 0.55), (-0.65, 0.25, 0.75), (-0.15, 0.75, 0.95)):
        pen.area([(0, top), (half, bottom), (-half, bottom)])
    pen.area([(-0.16, 0.7), (0.16, 0.7), (0.16, 1.1), (-0.16, 1.1)])


def _house(pen: Pen) -> None:
    pen.area([(0, -1), (1.1, 0), (0.75, 0), (0.75, 0.95), (0.25, 0.95), (0.25, 0.3), (-0.25, 0.3), (-0.25, 0.95),
              (-0.75, 0.95), (-0.75, 0), (-1.1, 0)])  # fmt: skip


def _star(pen: Pen) -> None:
    outer, inner = regular(5, 1.12, -90), regular(5, 0.47, -54)
    pen.area([point for pair in zip(outer, inner, strict=True) for point in pair])


def _cross(pen: Pen) -> None:
    pen.line([(-0.75, -0.75), (0.75, 0.75)], 0.42)
    pen.line([(0.75, -0.75), (-0.75, 0.75)], 0.42)


def _chevrons(pen: Pen) -> None:
    for x in (-0.75, 0.15):
        pen.area([(x, -0.9), (x + 0.42, -0.9), (x + 1, 0), (x + 0.42, 0.9), (x, 0.9), (x + 0.55, 0)])


def _ring(pen: Pen) -> None:
    pen.line(regular(72, 0.75, 0) + regular(72, 0.75, 0)[:2], 0.4)


def _waves(pen: Pen) -> None:
    for y in (-0.6, 0.0, 0.6):
        pen.line([(x, y + 0.17 * math.sin(x * 2 * math.pi)) for x in np.linspace(-0.95, 0.95, 60)], 0.26)


def _heart(pen: Pen) -> None:
    angles = np.linspace(0, 2 * math.pi, 80)
    pen.area(
        [
            (math.sin(t) ** 3, -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 15.5)
            for t in angles
        ]
    )


def _moon(pen: Pen) -> None:
    outside = [(0.15 + math.cos(t), math.sin(t)) for t in np.linspace(0.3 * math.pi, 1.7 * math.pi, 60)]
    inside = [(0.55 + 0.83 * math.cos(t), 0.83 * math.sin(t)) for t in np.linspace(1.57 * math.pi, 0.43 * math.pi, 60)]
    pen.area(outside + inside)


def _drop(pen: Pen) -> None:
    pen.disc((0, 0.38), 0.68)
    pen.area([(0, -1.12), (0.6, 0.06), (0, 0.4), (-0.6, 0.06)])


def _fork(pen: Pen) -> None:
    for side in (-1, 1):
        pen.line([(0, 0.9), (0, 0.3), (side * 0.6, -0.45)], 0.34)
        pen.area([(side * 0.95, -0.95), (side * 0.95, -0.05), (side * 0.15, -0.62)])


PICTOGRAMS: dict[str, Callable[[Pen], None]] = {
    "bar": _bar,
    "arrow": _arrow,
    "exclamation": _exclamation,
    "bolt": _bolt,
    "tree": _tree,
    "house": _house,
    "star": _star,
    "cross": _cross,
    "chevrons": _chevrons,
    "ring": _ring,
    "waves": _waves,
    "heart": _heart,
    "moon": _moon,
    "drop": _drop,
    "fork": _fork,
}
