"""The plates of made-up road signs: a shape, a colour and a pictogram each.

The designs are our own and are no country's signs. Lengths are in units of the plate's half width; y points down.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from theriac.data.pictograms import PICTOGRAMS, Colour, Pen, Point, regular
from theriac.errors import UserError

REACH = 1.2  # half width of a drawing: the plate and a little air
OVERSAMPLING = 4

WHITE, BLACK, RED = (246, 246, 242), (26, 26, 30), (200, 28, 40)
BLUE, GREEN, PURPLE = (22, 86, 172), (0, 124, 78), (122, 50, 148)
YELLOW, ORANGE = (252, 200, 24), (242, 122, 22)


@dataclass(frozen=True)
class Finish:
    """Colours of a plate: (inset, colour) layers from the outside in, and the pictogram's ink."""

    layers: tuple[tuple[float, Colour], ...]
    ink: Colour


FINISHES: dict[str, Finish] = {
    "red": Finish(((0.0, WHITE), (0.07, RED)), WHITE),
    "blue": Finish(((0.0, WHITE), (0.07, BLUE)), WHITE),
    "white": Finish(((0.0, WHITE), (0.03, RED), (0.2, WHITE)), BLACK),
    "yellow": Finish(((0.0, YELLOW), (0.05, BLACK), (0.12, YELLOW)), BLACK),
    "green": Finish(((0.0, WHITE), (0.07, GREEN)), WHITE),
    "orange": Finish(((0.0, ORANGE), (0.05, BLACK), (0.12, ORANGE)), BLACK),
    "purple": Finish(((0.0, WHITE), (0.07, PURPLE)), WHITE),
}


@dataclass(frozen=True)
class Outline:
    """Shape of a plate.

    Attributes:
        corners: Around the middle of the largest circle that fits in.
        middle: Where that middle is.
        inner: Radius of that circle.
        room: Half width of the pictogram.
    """

    corners: tuple[Point, ...]
    middle: Point
    inner: float
    room: float


def _shield() -> tuple[Point, ...]:
    curve = [(0.86 * math.cos(t) ** 0.8, -0.1 + 1.12 * math.sin(t)) for t in np.linspace(0, math.pi / 2, 24)]
    half = [(0.86, -0.82), *curve]
    return tuple(half + [(-x, y) for x, y in reversed(half)])


OUTLINES: dict[str, Outline] = {
    "octagon": Outline(regular(8, 1.06, 22.5), (0, 0), 0.98, 0.6),
    "circle": Outline(regular(120, 1.0, 0), (0, 0), 1.0, 0.6),
    "triangle": Outline(regular(3, 1.2, -90), (0, 0.26), 0.6, 0.4),
    "diamond": Outline(regular(4, 1.16, 0), (0, 0), 0.82, 0.52),
    "square": Outline(regular(4, 1.28, 45), (0, 0), 0.905, 0.62),
    "pentagon": Outline(regular(5, 1.1, -90), (0, 0.08), 0.89, 0.53),
    "shield": Outline(_shield(), (0, 0), 0.86, 0.5),
    "wedge": Outline(regular(3, 1.2, 90), (0, -0.26), 0.6, 0.4),
}


DESIGNS = len(FINISHES) * len(OUTLINES) * len(PICTOGRAMS)


@dataclass(frozen=True)
class Plate:
    """One kind of sign."""

    colour: str
    shape: str
    pictogram: str

    @property
    def name(self) -> str:
        """For instance "red octagon bar"."""
        return f"{self.colour} {self.shape} {self.pictogram}"

    def draw(self, side: int) -> Tensor:
        """Draws the plate on its pole.

        The drawing spans [-REACH, REACH]. The pole runs through its lower edge, so that repeating the edge makes the
        pole longer.

        Returns:
            Float tensor [4, side, side] in [0, 1]: red, green and blue times alpha, and alpha.
        """
        finish, outline = FINISHES[self.colour], OUTLINES[self.shape]
        large = side * OVERSAMPLING
        unit = large / (2 * REACH)
        canvas = Image.new("RGBA", (large, large))
        draw = ImageDraw.Draw(canvas)
        _pole(draw, large, unit)
        for inset, colour in finish.layers:
            scale = (outline.inner - inset) / outline.inner
            _rounded(
                draw, [_place(p, outline.middle, scale * 0.94, unit) for p in outline.corners], 0.06 * unit, colour
            )
        room = outline.room * unit
        x, y = _place((0, 0), outline.middle, 1, unit)
        PICTOGRAMS[self.pictogram](Pen(draw, lambda p: (x + p[0] * room, y + p[1] * room), room, finish.ink))
        small = np.asarray(canvas.convert("RGBa").resize((side, side), Image.Resampling.BOX), dtype=np.float32)
        drawing = torch.from_numpy(small.copy()).permute(2, 0, 1) / 255
        gloss = torch.linspace(1.08, 0.88, side)[:, None]
        drawing[:3] = (drawing[:3] * gloss).clamp(max=1).minimum(drawing[3])
        return drawing


def plate(number: int) -> Plate:
    """Returns the plate of class ``number``.

    There are 7 colours, 8 shapes and 15 pictograms; the counts have no common divisor, so that counting through all
    three at once meets every one of the 840 combinations once, and neighbours differ in all three.

    Raises:
        UserError: If ``number`` is not in ``range(840)``.

    >>> plate(0).name, plate(8).name
    ('red octagon bar', 'blue octagon chevrons')
    """
    if not 0 <= number < DESIGNS:
        raise UserError(f"there are {DESIGNS} designs of signs, numbered from 0; got {number}")
    colours, shapes, pictograms = list(FINISHES), list(OUTLINES), list(PICTOGRAMS)
    return Plate(colours[number % len(colours)], shapes[number % len(shapes)], pictograms[number % len(pictograms)])


def _place(point: Point, middle: Point, scale: float, unit: float) -> Point:
    return (REACH + middle[0] + point[0] * scale) * unit, (REACH + middle[1] + point[1] * scale) * unit


def _rounded(draw: ImageDraw.ImageDraw, corners: list[Point], radius: float, colour: Colour) -> None:
    draw.polygon(corners, fill=colour)
    draw.line([*corners, *corners[:2]], fill=colour, width=round(2 * radius), joint="curve")


def _pole(draw: ImageDraw.ImageDraw, large: int, unit: float) -> None:
    half = 0.075 * unit
    for x in range(round(large / 2 - half), round(large / 2 + half)):
        shine = 1 - abs((x - large / 2) / half + 0.3)
        grey = round(110 + 90 * max(0.0, shine))
        draw.line([(x, large / 2), (x, large)], fill=(grey, grey, grey + 6))
