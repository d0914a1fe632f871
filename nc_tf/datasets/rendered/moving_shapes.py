"""Clips without a download: a shape before a textured wall that moves, spins, bounces or pulses.

Time alone distinguishes the classes. The world has no edges: a shape that leaves on the right comes in on the left. Place, angle and
size of the shape are uniform, so that in every single frame they have the same distribution for all classes. The first frame does not
depend on the label at all. The code is NumPy over chunks of clips; a clip depends on the seed, its position and its label alone.
"""

from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nc_tf.datasets.labelled import LabelledImages
from nc_tf.datasets.rendered.rendering import TEST, TRAIN, Dataset, Floats, check_integer, render_set, smooth_noise

CLASS_NAMES = ("move left", "move right", "move up", "move down", "spin clockwise", "spin anticlockwise", "bounce", "pulse")

# One number a class, in their order; x points right, y down. Steps are widths of the image a frame at full pace, turns degrees a frame.
_STEP_X = np.array([-1, 1, 0, 0, 0, 0, 0, 0]) * 0.12
_STEP_Y = np.array([0, 0, -1, 1, 0, 0, 0, 0]) * 0.12
_TURN = np.array([0, 0, 0, 0, 1, -1, 0, 0]) * 40.0
_BOUNCE = np.array([0, 0, 0, 0, 0, 0, 1, 0]) * 0.45  # ways up or down a frame
_PULSE = np.array([0, 0, 0, 0, 0, 0, 0, 1]) * 0.5  # swellings or shrinkings a frame
_PACE = (0.5, 1.0)
_HEIGHT = (0.2, 0.3)  # height of a bounce, in heights of the image
_RADIUS = (0.18, 0.3)  # radius of the shape, in widths of the image

# Unions of convex polygons with the corners in clockwise order (x right, y down), about the size of the unit circle. None has a rotational
# symmetry, so that every step of a spin looks different.
_SHAPES: tuple[tuple[tuple[tuple[float, float], ...], ...], ...] = (
    (((0.0, -1.0), (0.45, 0.8), (-0.45, 0.8)),),  # wedge
    (((-0.7, -0.9), (-0.2, -0.9), (-0.2, 0.9), (-0.7, 0.9)), ((-0.7, 0.4), (0.7, 0.4), (0.7, 0.9), (-0.7, 0.9))),  # L
    (((0.0, -1.0), (0.8, -0.1), (-0.8, -0.1)), ((-0.3, -0.1), (0.3, -0.1), (0.3, 0.9), (-0.3, 0.9))),  # arrow
    (((-0.8, -0.9), (0.8, -0.9), (0.8, -0.4), (-0.8, -0.4)), ((-0.25, -0.4), (0.25, -0.4), (0.25, 0.9), (-0.25, 0.9))),  # T
    (((-0.7, -0.9), (0.8, -0.9), (0.8, 0.1), (-0.7, 0.1)), ((-0.7, 0.1), (-0.4, 0.1), (-0.4, 0.95), (-0.7, 0.95))),  # flag
    (((-0.95, -0.3), (0.95, -0.3), (0.8, 0.25), (0.45, 0.55), (0.0, 0.65), (-0.45, 0.55), (-0.8, 0.25)),),  # half a disc
)


def load_data(
    *, num_train: int = 1600, num_test: int = 400, num_frames: int = 8, size: int = 32, seed: int = 0
) -> tuple[LabelledImages, LabelledImages]:
    """Return a rendered training and test set.

    Both come from different streams of random numbers: no clip is in both. The training set is `render(num_train, seed=seed)`.

    Args:
        num_train: number of training clips, at least 1.
        num_test: number of test clips, at least 1.
        num_frames: T, at least 2.
        size: H and W in pixels, at least 16.
        seed: the same seed gives the same data, 0 or greater.

    Returns:
        Training and test set: clips (N, T, H, W, 3) uint8 RGB in [0, 255], labels (N,) int64 in [0, 8).

    Raises:
        InputError: an argument below its least value.
    """
    check_integer("num_train", num_train, least=1)
    check_integer("num_test", num_test, least=1)
    train, test = (_render(count, num_frames, size, seed, None, stream) for count, stream in ((num_train, TRAIN), (num_test, TEST)))
    return LabelledImages(*train, CLASS_NAMES, "train"), LabelledImages(*test, CLASS_NAMES, "test")


def render(num_clips: int, *, seed: int, labels: ArrayLike | None = None, num_frames: int = 8, size: int = 32) -> Dataset:
    """Return rendered clips of moving shapes, with their labels.

    Clip i depends on `seed`, i and its label alone: with the same labels, fewer clips are the first of more.

    Args:
        num_clips: number of clips, at least 1.
        seed: the same seed gives the same clips, 0 or greater.
        labels: (num_clips,) integers in [0, 8), the motion in each clip. By default every class equally often (give or take one), in
            a random order.
        num_frames: T, at least 2.
        size: H and W in pixels, at least 16.

    Returns:
        Clips (num_clips, T, H, W, 3) uint8 RGB in [0, 255], and labels (num_clips,) int64 in [0, 8).

    Raises:
        InputError: a number below its least value, or labels that are no classes, no integers or not one a clip.
    """
    return _render(num_clips, num_frames, size, seed, labels, TRAIN)


def _render(num_clips: int, num_frames: int, size: int, seed: int, labels: ArrayLike | None, stream: int) -> Dataset:
    """Return the clips of `render` from one stream of random numbers."""
    check_integer("num_frames", num_frames, least=2)
    check_integer("size", size, least=16)
    film = partial(_film, num_frames=num_frames, size=size)
    return render_set(film, num_clips, num_classes=len(CLASS_NAMES), seed=seed, labels=labels, stream=stream, what="clips")


# One chunk: N clips of T frames, arrays that act on all pixels shaped (N, 1 or T, 1 or H, 1 or W, 1 or 3), colours in [0, 1].


def _film(labels: NDArray[np.int64], rng: np.random.Generator, *, num_frames: int, size: int) -> NDArray[np.uint8]:
    """Return one chunk of clips (N, T, H, W, 3) for labels (N,)."""
    count = len(labels)
    wall, ink = _colours(count, rng)
    picture = _wall(wall, size, rng)
    picture = picture + _silhouette(labels, rng, num_frames, size) * (ink - picture)
    picture *= _uniform(rng, count, 0.75, 1.1) * rng.normal(1.0, 0.03, (count, num_frames, 1, 1, 1)).astype(np.float32)
    sensor = rng.standard_normal(picture.shape, dtype=np.float32)
    picture += _uniform(rng, count, 0.004, 0.028) * sensor
    picture *= 255
    return np.rint(picture, out=picture).clip(0, 255).astype(np.uint8)


def _uniform(rng: np.random.Generator, count: int, low: float, high: float) -> Floats:
    """Draw one number a clip, (N, 1, 1, 1, 1)."""
    return rng.uniform(low, high, (count, 1, 1, 1, 1)).astype(np.float32)


def _colours(count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw the colours (N, 1, 1, 1, 3) of wall and shape.

    The shape is the brighter one.
    """
    tints = rng.uniform(-0.2, 0.2, (2, count, 1, 1, 1, 3)).astype(np.float32)
    wall, ink = _uniform(rng, count, 0.1, 0.4) + tints[0], _uniform(rng, count, 0.6, 0.9) + tints[1]
    return wall.clip(0.05, 0.95), ink.clip(0.05, 0.95)


def _wall(colour: Floats, size: int, rng: np.random.Generator) -> Floats:
    """Return the static background, (N, 1, H, W, 3).

    It is a colour with stains, and light from one side.
    """
    count = len(colour)
    ramp = np.linspace(-1, 1, size, dtype=np.float32)
    across, down = (_uniform(rng, count, -0.15, 0.15) for _ in "xy")
    light = 1 + across * ramp[:, None] + down * ramp[:, None, None]
    for cells, strength in ((4, 0.1), (8, 0.08), (16, 0.1)):
        light = light + _uniform(rng, count, 0.0, strength) * smooth_noise(count, cells, size, rng)[:, None]
    return np.asarray(colour * light, np.float32)


def _silhouette(labels: NDArray[np.int64], rng: np.random.Generator, num_frames: int, size: int) -> Floats:
    """Return the share of each pixel that the shape covers, (N, T, H, W, 1)."""
    x, y, angle, radius = _motion(labels, rng, num_frames)
    pixels = ((np.arange(size) + 0.5) / size).astype(np.float32)
    right, down = (_shortest_way(pixels - place[..., None]) for place in (x, y))
    cos, sin = ((turn / radius)[..., None, None] for turn in (np.cos(angle), np.sin(angle)))
    right, down = right[:, :, None, :], down[:, :, :, None]
    u, v = cos * right + sin * down, cos * down - sin * right

    kinds, distance = rng.integers(len(_SHAPES), size=len(labels)), np.empty_like(u)
    for kind, polygons in enumerate(_SHAPES):
        here = kinds == kind
        distance[here] = np.min([_outside(polygon, u[here], v[here]) for polygon in polygons], axis=0)
    # From the middle of a pixel the edge of the shape is this many pixels away; it covers as much of the pixel.
    distance *= (radius * size)[..., None, None]
    return (np.float32(0.5) - distance).clip(0, 1)[..., None]


def _motion(labels: NDArray[np.int64], rng: np.random.Generator, num_frames: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the motion of each shape, (N, T) each.

    It is x and y in [0, 1) of the image, the angle in radians, and the radius in widths of the image.
    """
    count, time = len(labels), np.arange(num_frames)
    x, y, angle = rng.random((3, count, 1))
    pace = rng.uniform(*_PACE, (count, 1)) * time
    phase, swelling = rng.uniform(0, 2, (2, count, 1))
    height = rng.uniform(*_HEIGHT, (count, 1))

    def rate(of_class: NDArray[np.float64]) -> NDArray[np.float64]:
        return pace * of_class[labels][:, None]

    x = x + rate(_STEP_X)
    y = y + rate(_STEP_Y) + height * (_there_and_back(phase + rate(_BOUNCE)) - _there_and_back(phase))
    angle = 2 * np.pi * angle + np.radians(rate(_TURN))
    smallest, largest = _RADIUS
    radius = smallest * (largest / smallest) ** _there_and_back(swelling + rate(_PULSE))
    return _single(x % 1), _single(y % 1), _single(angle), _single(radius)


def _single(values: NDArray[np.float64]) -> Floats:
    return values.astype(np.float32)


def _there_and_back(way: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a triangle wave in [0, 1] with a period of 2.

    It is uniformly distributed if `way` is, over a period.
    """
    return 1 - np.abs(way % 2 - 1)


def _shortest_way(difference: Floats) -> Floats:
    """Return the shorter difference of two places, in [-.5, .5).

    The world is 1 wide and has no edges.
    """
    return (difference + np.float32(0.5)) % np.float32(1) - np.float32(0.5)


def _outside(polygon: tuple[tuple[float, float], ...], u: Floats, v: Floats) -> Floats:
    """Return the distance to a convex polygon, negative inside.

    Beyond a corner it is too small, which is not visible at half a pixel.
    """
    corners = np.array(polygon, np.float32)
    sides = np.roll(corners, -1, axis=0) - corners
    normals = np.stack([sides[:, 1], -sides[:, 0]], axis=1) / np.linalg.norm(sides, axis=1, keepdims=True)
    offsets = (normals * corners).sum(axis=1)
    return np.max([across * u + up * v - offset for (across, up), offset in zip(normals, offsets, strict=True)], axis=0)
