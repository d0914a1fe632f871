"""Traffic signs without a download: the 43 classes of GTSRB, rendered as small photographs.

The signs of `sign_faces` hang before random scenery, seen at an angle, lit, blurred and recorded by a noisy sensor. The code is NumPy over
chunks of images; a picture depends on the seed, its position and its label alone.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nc_tf.datasets.rendered.rendering import TEST, TRAIN, Dataset, Floats, check_integer, render_set, smooth_noise
from nc_tf.datasets.rendered.sign_canvas import EXTENT
from nc_tf.datasets.rendered.sign_faces import SIGNS, draw_faces

CLASS_NAMES: tuple[str, ...] = tuple(name for name, _ in SIGNS)
"""The 43 signs in the order of GTSRB's labels."""

SIZE = 32
"""Height and width of an image in pixels."""

# Faces are sampled from 64 x 64 sheets. A sign of 57 texels shrinks to 20-28 pixels, 2-2.9 texels to a pixel: a Gaussian of 0.9 texels
# keeps one bilinear sample a pixel from aliasing. The wider blurs are lenses out of focus.
_TEXELS = 64
_BLURS = (0.9, 1.3, 1.8, 2.5)
_BLUR_ODDS = (0.45, 0.3, 0.17, 0.08)


class _Scenery(NamedTuple):
    """Scenery behind a sign.

    Colours are (3,) in [0, 1]; the amplitudes of noise are for 4, 8 and 20 cells across.
    """

    top: tuple[float, float, float]
    bottom: tuple[float, float, float]
    horizon: float  # where top meets bottom, from -1 (upper edge) to 1 (lower edge)
    sharpness: float  # sharpness of that border: 1 is a gradient over the whole image, 10 a line
    noise: tuple[float, float, float]


_SCENERIES = (
    _Scenery((0.42, 0.62, 0.88), (0.78, 0.86, 0.94), 0.0, 0.7, (0.08, 0.03, 0.0)),  # clear sky with some clouds
    _Scenery((0.80, 0.82, 0.84), (0.66, 0.69, 0.72), 0.0, 0.6, (0.06, 0.03, 0.0)),  # overcast
    _Scenery((0.25, 0.36, 0.17), (0.16, 0.24, 0.11), 0.0, 0.8, (0.14, 0.16, 0.30)),  # leaves
    _Scenery((0.44, 0.46, 0.22), (0.30, 0.28, 0.17), 0.2, 1.0, (0.12, 0.16, 0.24)),  # a hedge in autumn
    _Scenery((0.74, 0.82, 0.90), (0.20, 0.29, 0.15), 0.0, 6.0, (0.05, 0.10, 0.14)),  # trees under the sky
    _Scenery((0.62, 0.50, 0.42), (0.55, 0.43, 0.36), 0.0, 0.6, (0.06, 0.06, 0.10)),  # brick
    _Scenery((0.70, 0.67, 0.60), (0.60, 0.57, 0.52), 0.0, 0.6, (0.05, 0.04, 0.03)),  # plaster
    _Scenery((0.66, 0.72, 0.78), (0.36, 0.36, 0.37), 0.3, 8.0, (0.08, 0.05, 0.04)),  # a road under the sky
    _Scenery((0.14, 0.16, 0.24), (0.09, 0.09, 0.12), 0.1, 1.0, (0.10, 0.08, 0.06)),  # dusk
)


def load_data(*, num_train: int = 12_900, num_test: int = 4_300, seed: int = 0) -> tuple[Dataset, Dataset]:
    """Return a rendered training and test set, as `keras.datasets` does.

    Both come from different streams of random numbers: no image is in both. The training set is `render(num_train, seed=seed)`.

    Args:
        num_train: number of training images, at least 1.
        num_test: number of test images, at least 1.
        seed: the same seed gives the same data, 0 or greater.

    Returns:
        `(x_train, y_train), (x_test, y_test)`: images (N, 32, 32, 3) uint8 RGB in [0, 255], labels (N,) int64 in [0, 43).

    Raises:
        InputError: a number of images below 1, or a negative seed.
    """
    check_integer("num_train", num_train, least=1)
    check_integer("num_test", num_test, least=1)
    return _render(num_train, seed, None, TRAIN), _render(num_test, seed, None, TEST)


def render(num_images: int, *, seed: int, labels: ArrayLike | None = None) -> Dataset:
    """Return rendered photographs of traffic signs, with their labels.

    Image i depends on `seed`, i and its label alone: with the same labels, fewer images are the first of more.

    Args:
        num_images: number of images, at least 1.
        seed: the same seed gives the same images, 0 or greater.
        labels: (num_images,) integers in [0, 43), the sign in each image. By default every class equally often (give or take one),
            in a random order.

    Returns:
        Images (num_images, 32, 32, 3) uint8 RGB in [0, 255], and labels (num_images,) int64 in [0, 43).

    Raises:
        InputError: fewer than one image, a negative seed, or labels that are no classes, no integers or not one an image.
    """
    return _render(num_images, seed, labels, TRAIN)


def _render(num_images: int, seed: int, labels: ArrayLike | None, stream: int) -> Dataset:
    """Return the images of `render` from one stream of random numbers."""
    return render_set(_photograph, num_images, num_classes=len(SIGNS), seed=seed, labels=labels, stream=stream)


# One chunk: N images, all arrays float32, colours in [0, 1] until the last line.


def _photograph(labels: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return one chunk of images (N, 32, 32, 3) for labels (N,)."""
    count = len(labels)
    u, v = _view(count, rng)
    blur = rng.choice(len(_BLURS), count, p=_BLUR_ODDS)
    face = _sample(blur * len(SIGNS) + labels, u, v)
    picture = _background(count, rng)
    _hang_on_pole(picture, u, v, rng)

    # Signs face the camera, scenery does not: they are lit apart. Old paint has faded towards grey.
    ink, opacity = face[..., :3], face[..., 3:]
    grey = ink.mean(axis=-1, keepdims=True)
    ink += _uniform(rng, count, 0.0, 0.35) * (grey - ink)
    ink *= _uniform(rng, count, 0.7, 1.1) * (1 + 0.16 * smooth_noise(count, 3, SIZE, rng))
    picture *= 1 - opacity
    picture += ink

    # The light of the day: colour, haze, and exposure, which is poor in one picture out of five.
    picture *= rng.uniform(0.93, 1.07, (count, 1, 1, 3)).astype(np.float32)
    haze = _uniform(rng, count, 0.0, 0.25)
    picture *= 1 - haze
    picture += 0.7 * haze
    dark = rng.random((count, 1, 1, 1)) < 0.2
    picture *= np.where(dark, _uniform(rng, count, 0.3, 0.65), _uniform(rng, count, 0.75, 1.2))

    _shake(picture, rng)
    sensor = rng.standard_normal(picture.shape, dtype=np.float32)
    sensor *= _uniform(rng, count, 0.004, 0.028)
    picture += sensor
    picture *= 255
    return np.rint(picture, out=picture).clip(0, 255).astype(np.uint8)


def _uniform(rng: np.random.Generator, count: int, low: float, high: float) -> Floats:
    """Draw one number an image, (N, 1, 1, 1)."""
    return rng.uniform(low, high, (count, 1, 1, 1)).astype(np.float32)


def _view(count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Return every pixel's place in the sign's coordinates, (N, 32, 32) each.

    The sign is 70 to 88 % of the image wide. It is squeezed by up to 12 % as if seen from the side, with the matching perspective; off
    the middle by up to 1.5 pixels, and turned by up to 9 degrees.
    """
    pixels = ((np.arange(SIZE) + 0.5) / (SIZE / 2) - 1).astype(np.float32)
    shift_x, shift_y = rng.uniform(-1.5, 1.5, (2, count, 1, 1)).astype(np.float32) / (SIZE / 2)
    radius = rng.uniform(0.7, 0.88, (count, 1, 1)).astype(np.float32)
    turn = np.radians(rng.normal(0, 4, (count, 1, 1)).clip(-9, 9)).astype(np.float32)
    squeeze_x, squeeze_y = rng.uniform(0.88, 1.0, (2, count, 1, 1)).astype(np.float32)
    tilt_x, tilt_y = rng.uniform(-0.1, 0.1, (2, count, 1, 1)).astype(np.float32)

    x = (pixels[None, None, :] - shift_x) / radius
    y = (pixels[None, :, None] - shift_y) / radius
    depth = 1 / (1 + tilt_x * x + tilt_y * y)
    cos, sin = np.cos(turn), np.sin(turn)
    return (cos * x + sin * y) * depth / squeeze_x, (cos * y - sin * x) * depth / squeeze_y


@cache
def _sheets() -> Floats:
    """Return the faces at every blur, (4 * 43 * 64 * 64, 4).

    Each texel is a row, so that one index finds its four channels.
    """
    faces = draw_faces(_TEXELS)
    offsets = np.arange(_TEXELS)[:, None] - np.arange(_TEXELS)
    blurred = []
    for sigma in _BLURS:
        weights = np.exp(-0.5 * (offsets / sigma) ** 2)
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        blurred.append(np.einsum("iy,sycd->sicd", weights, np.einsum("jx,syxd->syjd", weights, faces, optimize=True), optimize=True))
    # The outermost texels stand for places beyond the sheet.
    sheets = np.stack(blurred)
    sheets[:, :, [0, -1]] = 0
    sheets[:, :, :, [0, -1]] = 0
    return sheets.reshape(-1, 4)


def _sample(sheet: NDArray[np.int64], u: Floats, v: Floats) -> Floats:
    """Interpolate sheets (N,) at places (N, 32, 32) bilinearly.

    Returns:
        (N, 32, 32, 4): colours times opacity, and opacity.
    """
    texels = _sheets()
    scale = np.float32(_TEXELS / 2 / EXTENT)
    # Just short of the last texel, whose right neighbour is on the next sheet.
    x = (u * scale + np.float32(_TEXELS / 2 - 0.5)).clip(0, _TEXELS - 1.001)
    y = (v * scale + np.float32(_TEXELS / 2 - 0.5)).clip(0, _TEXELS - 1.001)
    column, row = x.astype(np.int32), y.astype(np.int32)
    x, y = (x - column)[..., None], (y - row)[..., None]
    first = (sheet.astype(np.int32)[:, None, None] * _TEXELS + row) * _TEXELS + column
    upper, lower = texels[first], texels[first + _TEXELS]
    upper += x * (texels[first + 1] - upper)
    lower += x * (texels[first + _TEXELS + 1] - lower)
    upper += y * (lower - upper)
    return upper


def _background(count: int, rng: np.random.Generator) -> Floats:
    """Return scenery without a sign, (N, 32, 32, 3)."""
    table = [_SCENERIES[i] for i in rng.integers(len(_SCENERIES), size=count)]
    tint = rng.normal(0, 0.035, (3, count, 1, 1, 3)).astype(np.float32)
    top, bottom = (np.array([scene[end] for scene in table], np.float32)[:, None, None] + tint[end] for end in (0, 1))
    horizon, sharpness = (np.array([scene[end] for scene in table], np.float32)[:, None, None, None] for end in (2, 3))
    rough, middle, fine = np.array([scene.noise for scene in table], np.float32).T[..., None, None, None]

    down = np.linspace(-1, 1, SIZE, dtype=np.float32)[None, :, None, None]
    across = np.linspace(-1, 1, SIZE, dtype=np.float32)[None, None, :, None]
    coarse, medium = smooth_noise(count, 4, SIZE, rng), smooth_noise(count, 8, SIZE, rng)
    edge = down - horizon - _uniform(rng, count, -0.5, 0.5) - 0.3 * coarse - 0.12 * medium
    picture = top + (0.5 * sharpness * edge + 0.5).clip(0, 1) * (bottom - top)

    # In every other picture something stands at one side: a house, a trunk, a lorry.
    side = np.where(rng.random((count, 1, 1, 1)) < 0.5, -1, 1).astype(np.float32)
    there = (SIZE / 2 * (side * across - _uniform(rng, count, 0.2, 1.8)) + 0.5).clip(0, 1)
    there = there * (SIZE / 2 * (down - _uniform(rng, count, -1.5, 0.5)) + 0.5).clip(0, 1)
    thing = rng.uniform(0.12, 0.75, (count, 1, 1, 1)) + rng.normal(0, 0.06, (count, 1, 1, 3))
    picture += there * (thing.astype(np.float32) - picture)

    picture *= 1 + rough * coarse + middle * medium + fine * smooth_noise(count, 20, SIZE, rng)
    picture *= _uniform(rng, count, 0.7, 1.1)
    return picture


def _hang_on_pole(picture: Floats, u: Floats, v: Floats, rng: np.random.Generator) -> None:
    """Put a grey pole below two signs out of three, in place."""
    shade = rng.uniform(0.3, 0.75, (len(picture), 1, 1, 1)).astype(np.float32)
    there = rng.random((len(picture), 1, 1)) < 0.67
    pole = (10 * (0.11 - np.abs(u)) + 0.5).clip(0, 1) * (10 * v + 0.5).clip(0, 1) * there
    picture += pole.astype(np.float32)[..., None] * (shade - picture)


def _shake(picture: Floats, rng: np.random.Generator) -> None:
    """Smear one picture out of eight in place.

    The smear is three pixels long, across or down.
    """
    moved = rng.random(len(picture))
    for axis, chosen in ((2, moved < 0.08), (1, moved > 0.955)):
        still = picture[chosen]
        smeared = still.copy()
        inner = [slice(None)] * 4
        before, after = inner.copy(), inner.copy()
        inner[axis], before[axis], after[axis] = slice(1, -1), slice(None, -2), slice(2, None)
        smeared[tuple(inner)] = (still[tuple(before)] + still[tuple(inner)] + still[tuple(after)]) / 3
        picture[chosen] = smeared
