"""The pictograms of the traffic signs, drawn around the origin of a canvas and about as large as the square [-1, 1].

They simplify the German ones, in lines bold enough to be told apart when a sign is 20 pixels wide and a pictogram ten.
"""

import math
from collections.abc import Sequence

from nc_tf.datasets.rendered.sign_canvas import BLACK, GREEN, RED, WHITE, YELLOW, Canvas, Colour, Point, arc


def car(c: Canvas, colour: Colour, window: Colour = WHITE) -> None:
    """Draw a car from the front."""
    c.polygon([(-0.8, 0.0), (-0.52, -0.6), (0.52, -0.6), (0.8, 0.0)], colour, 0.1)
    c.polygon([(-0.5, -0.08), (-0.36, -0.42), (0.36, -0.42), (0.5, -0.08)], window)
    c.box(-0.85, 0.05, 0.85, 0.4, colour, 0.12)
    for x in (-0.66, 0.66):
        c.box(x - 0.2, 0.4, x + 0.2, 0.85, colour)


def lorry_front(c: Canvas, colour: Colour) -> None:
    """Draw a lorry from the front."""
    c.box(-0.85, -1.5, 0.85, 0.4, colour, 0.1)
    c.box(-0.6, -0.62, 0.6, -0.15, WHITE)
    for x in (-0.66, 0.66):
        c.box(x - 0.22, 0.4, x + 0.22, 0.85, colour)


def lorry_side(c: Canvas) -> None:
    """Draw a lorry from the side."""
    c.box(-0.98, -0.62, 0.22, 0.3, BLACK)
    c.polygon([(0.3, 0.3), (0.3, -0.3), (0.68, -0.3), (0.96, 0.02), (0.96, 0.3)], BLACK)
    c.polygon([(0.46, -0.02), (0.46, -0.18), (0.64, -0.18), (0.76, -0.02)], WHITE)
    for x in (-0.68, -0.2, 0.66):
        c.disc(0.26, WHITE, x, 0.36)
        c.disc(0.2, BLACK, x, 0.36)


def figure(c: Canvas, limbs: Sequence[Sequence[Point]], head: Point, torso: Sequence[Point]) -> None:
    """Draw a person: head, torso and limbs, each a line through points."""
    c.disc(0.2, BLACK, *head)
    c.line(torso, 0.34, BLACK)
    for limb in limbs:
        c.line(limb, 0.19, BLACK)


def danger(c: Canvas) -> None:
    """Draw an exclamation mark."""
    c.polygon([(-0.17, -0.85), (0.17, -0.85), (0.09, 0.25), (-0.09, 0.25)], BLACK, 0.08)
    c.disc(0.22, BLACK, 0.0, 0.7)


def crossing(c: Canvas) -> None:
    """Draw a broad arrow ahead across a narrow road."""
    c.arrow([(0.0, 0.8), (0.0, -0.35)], 0.4, BLACK, 0.7)
    c.line([(-0.8, 0.26), (0.8, 0.26)], 0.17, BLACK)


def curve(c: Canvas) -> None:
    """Draw an arrow through a curve to the left.

    The sign for a curve to the right mirrors it.
    """
    c.arrow([(0.36, 0.85), *arc(-0.24, 0.3, 0.6, 0, -65), (-0.3, -0.45)], 0.3, BLACK, 0.68)


def double_curve(c: Canvas) -> None:
    """Draw an arrow through a double curve."""
    c.arrow([(0.3, 0.9), (0.3, 0.6), (-0.3, 0.22), (-0.3, 0.0), (0.2, -0.36), (0.2, -0.42)], 0.26, BLACK, 0.58)


def bumps(c: Canvas) -> None:
    """Draw two bumps in a road."""
    c.box(-1.0, 0.42, 1.0, 0.72, BLACK)
    for x in (-0.48, 0.48):
        c.polygon([(x + 0.46 * u, 0.5 + 0.62 * v) for u, v in arc(0, 0, 1, 180, 360)], BLACK)


def slippery(c: Canvas) -> None:
    """Draw a car that skids."""
    car(c.at(0.06, -0.38, 0.6, degrees=-14), BLACK)
    for x in (-0.36, 0.3):
        c.line([(x + 0.17 * math.sin(t / 12 * 2 * math.pi), 0.2 + 0.72 * t / 12) for t in range(13)], 0.17, BLACK)


def narrow_right(c: Canvas) -> None:
    """Draw a road that narrows on the right."""
    c.line([(-0.42, 0.85), (-0.42, -0.7)], 0.22, BLACK)
    c.line([(0.56, 0.85), (0.56, 0.42), (0.08, -0.05), (0.08, -0.7)], 0.22, BLACK)


def road_work(c: Canvas) -> None:
    """Draw a person who shovels."""
    limbs = [[(-0.42, 0.2), (-0.2, 0.82)], [(-0.42, 0.2), (-0.78, 0.82)], [(-0.12, -0.4), (0.22, 0.1)]]
    figure(c, limbs, (0.06, -0.72), [(-0.42, 0.12), (-0.16, -0.32)])
    c.line([(-0.3, -0.1), (0.5, 0.42)], 0.13, BLACK)
    c.polygon([(0.1, 0.9), (0.58, 0.28), (1.06, 0.9)], BLACK)


def traffic_lights(c: Canvas) -> None:
    """Draw a traffic light."""
    c.box(-0.24, -0.85, 0.24, 0.78, BLACK, 0.14)
    for y, colour in ((-0.6, RED), (0.0, YELLOW), (0.58, GREEN)):
        c.disc(0.26, colour, 0.0, y)


def pedestrian(c: Canvas) -> None:
    """Draw a pedestrian on a crossing."""
    limbs = [[(0.0, 0.05), (0.32, 0.55)], [(0.0, 0.05), (-0.3, 0.55)], [(0.0, -0.4), (0.36, -0.1)], [(0.0, -0.4), (-0.34, -0.12)]]
    figure(c, limbs, (0.04, -0.8), [(0.0, 0.0), (0.0, -0.4)])
    for x in (-0.8, -0.28, 0.24, 0.76):
        c.polygon([(x - 0.13, 0.92), (x - 0.05, 0.68), (x + 0.17, 0.68), (x + 0.13, 0.92)], BLACK)


def children(c: Canvas) -> None:
    """Draw two children who run."""
    legs = [[(0.0, 0.1), (0.34, 0.42), (0.3, 0.85)], [(0.0, 0.1), (-0.3, 0.5), (-0.62, 0.6)]]
    arms = [[(0.05, -0.35), (0.45, -0.15)], [(0.05, -0.35), (-0.34, -0.1)]]
    for child in (c.at(-0.42, 0.0), c.at(0.5, 0.26, 0.7)):
        figure(child, [*legs, *arms], (0.14, -0.74), [(0.0, 0.05), (0.06, -0.34)])


def bicycle(c: Canvas) -> None:
    """Draw a bicycle."""
    for x in (-0.6, 0.6):
        c.ring(x, 0.32, 0.4, 0.15, BLACK)
    c.line([(-0.6, 0.32), (-0.24, -0.28), (0.36, -0.28), (0.0, 0.32), (-0.24, -0.28)], 0.13, BLACK)
    c.line([(-0.6, 0.32), (0.0, 0.32)], 0.13, BLACK)
    c.line([(0.6, 0.32), (0.3, -0.56), (0.56, -0.6)], 0.13, BLACK)
    c.line([(-0.24, -0.28), (-0.3, -0.46)], 0.13, BLACK)
    c.line([(-0.46, -0.48), (-0.12, -0.48)], 0.15, BLACK)


def snowflake(c: Canvas) -> None:
    """Draw a snowflake."""
    for degrees in range(0, 360, 60):
        arm = c.at(degrees=degrees)
        arm.line([(0.0, 0.0), (0.0, -0.85)], 0.13, BLACK)
        arm.line([(-0.26, -0.76), (0.0, -0.46), (0.26, -0.76)], 0.13, BLACK)


def deer(c: Canvas) -> None:
    """Draw a leaping deer."""
    c.polygon([(-0.7, 0.1), (-0.5, -0.16), (0.2, -0.28), (0.32, 0.06), (-0.3, 0.24)], BLACK, 0.1)
    c.line([(0.2, -0.14), (0.5, -0.52)], 0.26, BLACK)
    c.polygon([(0.42, -0.66), (0.6, -0.68), (0.92, -0.46), (0.84, -0.36), (0.5, -0.42)], BLACK)
    c.line([(0.5, -0.6), (0.3, -0.84), (0.34, -1.08)], 0.1, BLACK)
    c.line([(0.3, -0.84), (0.08, -0.96)], 0.1, BLACK)
    for leg in ([(0.24, 0.04), (0.62, 0.12), (0.52, 0.42)], [(0.16, 0.08), (0.4, 0.32), (0.24, 0.6)]):
        c.line(leg, 0.13, BLACK)
    for leg in ([(-0.6, 0.1), (-0.66, 0.44), (-0.98, 0.78)], [(-0.5, 0.16), (-0.4, 0.48), (-0.66, 0.84)]):
        c.line(leg, 0.15, BLACK)
