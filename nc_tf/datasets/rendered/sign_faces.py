"""The 43 traffic signs of GTSRB as clean drawings, seen straight on; `signs` renders photographs of them."""

import math
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nc_tf.datasets.rendered import sign_pictograms
from nc_tf.datasets.rendered.sign_canvas import BLACK, BLUE, GREY, RED, WHITE, YELLOW, Canvas, Point, arc


def _triangle(size: float) -> list[Point]:
    """Return the corners of a triangle around (0, 0.3).

    It is equilateral, points up, and measures `size` from its middle to a corner.
    """
    return [(size * math.sin(math.radians(a)), 0.3 - size * math.cos(math.radians(a))) for a in (0, 120, 240)]


def _prohibition(c: Canvas) -> None:
    c.disc(1.0, WHITE)
    c.disc(0.97, RED)
    c.disc(0.72, WHITE)


def _ending(c: Canvas) -> None:
    c.disc(1.0, BLACK)
    c.disc(0.96, WHITE)


def _mandatory(c: Canvas) -> None:
    c.disc(1.0, WHITE)
    c.disc(0.95, BLUE)


def _warning(c: Canvas) -> None:
    c.polygon(_triangle(1.0), WHITE, 0.16)
    c.polygon(_triangle(1.0), RED, 0.13)
    c.polygon(_triangle(0.76), WHITE, 0.05)


def _stripes(c: Canvas, offsets: Sequence[float], width: float) -> None:
    """Draw diagonals across the sign, cut off at the rim.

    They run from bottom left to top right, and cross out a rule that ends.
    """
    for offset in offsets:
        half = math.sqrt(0.93**2 - offset**2)
        c.at(degrees=-52).line([(-half, offset), (half, offset)], width, BLACK)


def _speed(limit: str, c: Canvas) -> None:
    _prohibition(c)
    width, height = (1.08, 0.8) if len(limit) == 2 else (1.2, 0.68)
    c.text(limit, width, height, BLACK)


def _end_of_80(c: Canvas) -> None:
    _ending(c)
    c.text("80", 1.3, 0.86, GREY)
    _stripes(c, (-0.2, -0.1, 0.0, 0.1, 0.2), 0.045)


def _no_passing(lorry: bool, ended: bool, c: Canvas) -> None:
    (_ending if ended else _prohibition)(c)
    left, right, grow = (GREY, GREY, 1.3) if ended else (RED, BLACK, 1.0)
    view = c.at(scale=grow)
    if lorry:
        sign_pictograms.lorry_front(view.at(-0.31, 0.14, 0.3), left)
    else:
        sign_pictograms.car(view.at(-0.33, 0.0, 0.32), left)
    sign_pictograms.car(view.at(0.35, 0.16 if lorry else 0.0, 0.26 if lorry else 0.32), right)
    if ended:
        _stripes(c, (-0.2, -0.1, 0.0, 0.1, 0.2), 0.045)


def _priority_road(c: Canvas) -> None:
    for size, rounding, colour in ((0.93, 0.06, BLACK), (0.92, 0.05, WHITE), (0.66, 0.03, YELLOW)):
        c.polygon([(0, -size), (size, 0), (0, size), (-size, 0)], colour, rounding)


def _yield(c: Canvas) -> None:
    upside_down = c.at(degrees=180)
    upside_down.polygon(_triangle(1.0), WHITE, 0.16)
    upside_down.polygon(_triangle(1.0), RED, 0.13)
    upside_down.polygon(_triangle(0.62), WHITE, 0.04)


def _stop(c: Canvas) -> None:
    for size, colour in ((1.04, WHITE), (0.97, RED)):
        c.polygon([(size * math.cos(math.radians(a)), size * math.sin(math.radians(a))) for a in range(22, 382, 45)], colour)
    c.text("STOP", 1.46, 0.6, WHITE)


def _no_trucks(c: Canvas) -> None:
    _prohibition(c)
    sign_pictograms.lorry_side(c.at(0.0, 0.04, 0.56))


def _no_entry(c: Canvas) -> None:
    c.disc(1.0, WHITE)
    c.disc(0.96, RED)
    c.box(-0.72, -0.19, 0.72, 0.19, WHITE)


def _end_of_all(c: Canvas) -> None:
    _ending(c)
    _stripes(c, (-0.26, -0.13, 0.0, 0.13, 0.26), 0.07)


def _warn_of(pictogram: Callable[[Canvas], None], scale: float, y: float, mirror: bool, c: Canvas) -> None:
    _warning(c)
    pictogram(c.at(0.0, y, scale, mirror=mirror))


def _direct(paths: Sequence[Sequence[Point]], mirror: bool, c: Canvas) -> None:
    """Draw a blue disc with white arrows along `paths`."""
    _mandatory(c)
    for path in paths:
        c.at(mirror=mirror).arrow(path, 0.22, WHITE, 0.36)


def _roundabout(c: Canvas) -> None:
    _mandatory(c)
    for degrees in (0, 120, 240):
        c.at(degrees=degrees).arrow(arc(0.0, 0.0, 0.52, 26, -50), 0.19, WHITE, 0.34)


_TURN = [[(-0.26, 0.6), (-0.26, -0.06), (-0.2, -0.14), (0.2, -0.14)]]
_AHEAD = [[(0.0, 0.66), (0.0, -0.34)]]
_AHEAD_OR_TURN = [[(-0.22, 0.62), (-0.22, -0.36)], [(-0.22, 0.24), (-0.1, 0.14), (0.3, 0.14)]]
_KEEP = [[(-0.42, -0.42), (0.24, 0.24)]]

# In the order of GTSRB's labels: a short name and how to draw it.
SIGNS: tuple[tuple[str, Callable[[Canvas], None]], ...] = (
    *((f"{limit} km/h", partial(_speed, str(limit))) for limit in (20, 30, 50, 60, 70, 80)),
    ("end of 80 km/h", _end_of_80),
    *((f"{limit} km/h", partial(_speed, str(limit))) for limit in (100, 120)),
    ("no passing", partial(_no_passing, False, False)),
    ("no passing for trucks", partial(_no_passing, True, False)),
    ("priority at next crossing", partial(_warn_of, sign_pictograms.crossing, 0.56, 0.21, False)),
    ("priority road", _priority_road),
    ("yield", _yield),
    ("stop", _stop),
    ("no vehicles", _prohibition),
    ("no trucks", _no_trucks),
    ("no entry", _no_entry),
    ("danger", partial(_warn_of, sign_pictograms.danger, 0.56, 0.19, False)),
    ("curve left", partial(_warn_of, sign_pictograms.curve, 0.56, 0.23, False)),
    ("curve right", partial(_warn_of, sign_pictograms.curve, 0.56, 0.23, True)),
    ("double curve", partial(_warn_of, sign_pictograms.double_curve, 0.58, 0.21, False)),
    ("bumpy road", partial(_warn_of, sign_pictograms.bumps, 0.58, 0.21, False)),
    ("slippery road", partial(_warn_of, sign_pictograms.slippery, 0.58, 0.21, False)),
    ("road narrows on the right", partial(_warn_of, sign_pictograms.narrow_right, 0.56, 0.21, False)),
    ("road work", partial(_warn_of, sign_pictograms.road_work, 0.56, 0.19, False)),
    ("traffic lights", partial(_warn_of, sign_pictograms.traffic_lights, 0.60, 0.17, False)),
    ("pedestrians", partial(_warn_of, sign_pictograms.pedestrian, 0.60, 0.17, False)),
    ("children", partial(_warn_of, sign_pictograms.children, 0.60, 0.20, False)),
    ("bicycles", partial(_warn_of, sign_pictograms.bicycle, 0.60, 0.29, False)),
    ("ice or snow", partial(_warn_of, sign_pictograms.snowflake, 0.56, 0.23, False)),
    ("wild animals", partial(_warn_of, sign_pictograms.deer, 0.56, 0.27, False)),
    ("end of all limits", _end_of_all),
    ("turn right ahead", partial(_direct, _TURN, False)),
    ("turn left ahead", partial(_direct, _TURN, True)),
    ("ahead only", partial(_direct, _AHEAD, False)),
    ("straight or right", partial(_direct, _AHEAD_OR_TURN, False)),
    ("straight or left", partial(_direct, _AHEAD_OR_TURN, True)),
    ("keep right", partial(_direct, _KEEP, False)),
    ("keep left", partial(_direct, _KEEP, True)),
    ("roundabout", _roundabout),
    ("end of no passing", partial(_no_passing, False, True)),
    ("end of no passing for trucks", partial(_no_passing, True, True)),
)


def draw_faces(size: int = 128) -> NDArray[np.float32]:
    """Return drawings of all signs, straight on and evenly lit.

    Args:
        size: height and width in pixels, at most 512; the sheet spans [-EXTENT, EXTENT] of the sign's coordinates (`sign_canvas`).

    Returns:
        (43, size, size, 4) float32 in [0, 1]: red, green, blue and opacity, the colours already multiplied by the opacity.
    """
    faces = np.empty((len(SIGNS), size, size, 4), np.float32)
    for face, (_, draw) in zip(faces, SIGNS, strict=True):
        canvas = Canvas()
        draw(canvas)
        face[:] = np.asarray(canvas.image.resize((size, size), Image.Resampling.BOX), np.float32) / 255
    faces[..., :3] *= faces[..., 3:]
    return faces
