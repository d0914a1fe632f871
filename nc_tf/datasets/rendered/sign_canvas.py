"""A canvas for traffic signs, drawn with Pillow in the coordinates of the sign.

A sign lies in the square [-1, 1] x [-1, 1], x to the right and y down, with the origin in the middle.
"""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]
Colour = tuple[int, int, int]

# The sheet reaches a little further than the sign, so that its outermost pixels are always transparent.
EXTENT = 1.12
# Pixels of the sheet, which is drawn without anti-aliasing, and averaged down to the requested size.
SHEET = 512

RED: Colour = (196, 24, 38)
BLUE: Colour = (14, 78, 168)
YELLOW: Colour = (250, 190, 16)
GREEN: Colour = (20, 150, 80)
WHITE: Colour = (244, 244, 240)
GREY: Colour = (150, 150, 150)
BLACK: Colour = (22, 22, 26)


class Canvas:
    """A sheet to draw one sign on, or a view of it: moved, scaled, turned or mirrored, so that pictograms can be placed."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (SHEET, SHEET), (*WHITE, 0))
        self._draw = ImageDraw.Draw(self.image)
        # Columns of an affine map from the view's coordinates to those of the sign: the images of x and y, and the origin.
        self._matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

    def at(self, x: float = 0.0, y: float = 0.0, scale: float = 1.0, *, degrees: float = 0.0, mirror: bool = False) -> "Canvas":
        """Return a view whose origin lies at (x, y) of this one.

        `degrees` turns it clockwise, `mirror` swaps left and right.
        """
        view = Canvas.__new__(Canvas)
        view.image, view._draw = self.image, self._draw
        xx, xy, yx, yy, _, _ = self._matrix
        cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
        flip = -1.0 if mirror else 1.0
        view._matrix = (
            *(flip * (xx * cos + yx * sin), flip * (xy * cos + yy * sin), yx * cos - xx * sin, yy * cos - xy * sin),
            *self._place((x, y)),
        )
        return view

    def _place(self, point: Point) -> Point:
        """Convert the view's coordinates to those of the sign."""
        xx, xy, yx, yy, x0, y0 = self._matrix
        return xx * point[0] + yx * point[1] + x0, xy * point[0] + yy * point[1] + y0

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        """Convert the view's coordinates to pixels of the sheet."""
        return [((x / EXTENT + 1) * SHEET / 2, (y / EXTENT + 1) * SHEET / 2) for x, y in map(self._place, points)]

    def _length(self, length: float) -> float:
        """Convert a length of the view to pixels of the sheet."""
        return length * math.hypot(*self._matrix[:2]) * SHEET / 2 / EXTENT

    def disc(self, radius: float, colour: Colour, x: float = 0.0, y: float = 0.0) -> None:
        """Draw a filled circle around (x, y)."""
        ((px, py),), r = self._pixels([(x, y)]), self._length(radius)
        self._draw.ellipse((px - r, py - r, px + r, py + r), fill=(*colour, 255))

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line with round ends and corners."""
        self._draw.line(self._pixels(points), fill=(*colour, 255), width=max(1, round(self._length(width))))
        for x, y in points:
            self.disc(width / 2, colour, x, y)

    def polygon(self, points: Sequence[Point], colour: Colour, rounding: float = 0.0) -> None:
        """Draw a filled polygon, enlarged by `rounding` with round corners."""
        self._draw.polygon(self._pixels(points), fill=(*colour, 255))
        if rounding:
            self.line([*points, points[0]], 2 * rounding, colour)

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour, rounding: float = 0.0) -> None:
        """Draw a filled rectangle, its corners rounded outwards by `rounding`."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour, rounding)

    def ring(self, x: float, y: float, radius: float, width: float, colour: Colour, start: float = 0.0, end: float = 360.0) -> None:
        """Draw a circle or an arc.

        The arc runs from `start` to `end` degrees, clockwise from three o'clock.
        """
        self.line(arc(x, y, radius, start, end), width, colour)

    def arrow(self, points: Sequence[Point], width: float, colour: Colour, head: float) -> None:
        """Draw a line that ends in an arrow head.

        The head is `head` long and 1.24 times as wide, and its base lies on the last point.
        """
        (x0, y0), (x, y) = points[-2:]
        length = math.hypot(x - x0, y - y0)
        dx, dy = (x - x0) / length * head, (y - y0) / length * head
        self.line(points, width, colour)
        self.polygon([(x + dx, y + dy), (x - 0.62 * dy, y + 0.62 * dx), (x + 0.62 * dy, y - 0.62 * dx)], colour)

    def text(self, text: str, width: float, height: float, colour: Colour) -> None:
        """Write `text` in the middle, stretched to this width and height.

        Signs use narrow letters.
        """
        left, top, right, bottom = (round(edge) for edge in _font().getbbox(text))
        mask = Image.new("L", (right - left, bottom - top))
        ImageDraw.Draw(mask).text((-left, -top), text, font=_font(), fill=255)
        mask = mask.resize((round(self._length(width)), round(self._length(height))), Image.Resampling.BOX)
        ((x, y),) = self._pixels([(0.0, 0.0)])
        self.image.paste((*colour, 255), (round(x - mask.width / 2), round(y - mask.height / 2)), mask)


@cache
def _font() -> ImageFont.FreeTypeFont:
    """Return the bold font that ships inside matplotlib.

    With it every machine draws the same digits.
    """
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans-Bold.ttf"
    return ImageFont.truetype(str(path), 200, layout_engine=ImageFont.Layout.BASIC)


def arc(x: float, y: float, radius: float, start: float, end: float) -> list[Point]:
    """Return points along a circle around (x, y).

    They run from `start` to `end` degrees, clockwise from three o'clock.
    """
    angles = [math.radians(start + (end - start) * i / 36) for i in range(37)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]
