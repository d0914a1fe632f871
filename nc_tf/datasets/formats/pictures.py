"""Picture files, decoded and resized; unreadable ones are named, and refused if they are many."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from nc_tf.datasets.checks import LARGEST_PICTURE
from nc_tf.datasets.formats.arrays import DAMAGE
from nc_tf.datasets.labelled import NAMED, ImageShape
from nc_tf.errors import InputError
from nc_tf.storage.bounds import check_packed, check_size

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".ppm", ".pgm", ".bmp", ".webp", ".tif", ".tiff", ".gif")
FORMATS = ("PNG", "JPEG", "PPM", "BMP", "WEBP", "TIFF", "GIF")  # by content, because a suffix may be wrong; no other decoder is used

# Pillow's bilinear filter widens its kernel when shrinking, so that every pixel of the frame counts and nothing aliases. Unlike bicubic
# and Lanczos it never overshoots, so that it draws no halo around the edge of a sign, which a trigger search could exploit.
RESIZE_FILTER = Image.Resampling.BILINEAR

MOST_BROKEN = 0.1  # share of the pictures; with more the set is damaged, or of a kind that is not read


class Pictures(NamedTuple):
    """Decoded pictures.

    Attributes:
        images: (n, H, W, C) uint8.
        rows: (n,) the places of their files among those given, ascending.
        problems: one message for each of the others.
    """

    images: np.ndarray
    rows: np.ndarray
    problems: tuple[str, ...]


class _Unreadable(Exception):
    """A picture that cannot be read; the message is the reason."""


def read_pictures(folder: Path, files: Sequence[Path], image_shape: ImageShape | None) -> Pictures:
    """Return decoded pictures; an animated one gives its first frame.

    Args:
        folder: the name of the set in error messages.
        files: at least one.
        image_shape: (H, W, C) to resize them to. None, or None in a place: their own size, which must be the same; gray if all are.

    Raises:
        InputError: too many pictures cannot be read or fit into memory, they have two sizes, or no picture has the channels of the shape.
    """
    height, width, channels = image_shape or (None, None, None)
    if channels not in (None, 1, 3):
        raise InputError(f"{folder} is a folder of pictures, the model takes {channels} channels: expected 1 or 3; save an .npz file")
    problems: dict[int, str] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of harmless metadata, and of sizes that are refused here
        if height is None or width is None or channels is None:
            height, width, channels = _own_shape(folder, files, (height, width, channels), problems)
        shape = (len(files), height, width, channels)
        check_size(shape, np.dtype(np.uint8), str(folder))
        images, decoded = np.empty(shape, np.uint8), list[int]()
        for row, file in enumerate(files):
            if row not in problems:
                try:
                    images[len(decoded)] = _decoded(file, shape[1:])
                    decoded.append(row)
                except _Unreadable as error:
                    problems[row] = f"{file.relative_to(folder)}: {error}"
    _refuse_many(folder, len(files), problems)
    return Pictures(images[: len(decoded)], np.array(decoded, np.int64), tuple(problems.values()))


def _own_shape(
    folder: Path, files: Sequence[Path], image_shape: tuple[int | None, int | None, int | None], problems: dict[int, str]
) -> tuple[int, int, int]:
    """Return the image shape, completed by the size of the pictures themselves.

    Headers alone are read, so that no picture is decoded that does not fit into memory.
    """
    height, width, channels = image_shape
    headers = {}
    for row, file in enumerate(files):
        try:
            with _opened(file) as picture:
                headers[row] = picture.mode, picture.size
        except _Unreadable as error:
            problems[row] = f"{file.relative_to(folder)}: {error}"
    _refuse_many(folder, len(files), problems)
    if height is None or width is None:
        _, first = next(iter(headers.values()))
        for row, (_, size) in headers.items():
            if size != first:  # neither is more right than the other
                raise InputError(
                    f"{files[row]} is {size[0]}x{size[1]} pixels, the first picture {first[0]}x{first[1]}: "
                    "expected one size; resize the pictures"
                )
        width, height = width or first[0], height or first[1]
        check_packed(len(files) * prod(first), sum(file.stat().st_size for file in files), str(folder))
    gray = all(mode in ("L", "1") for mode, _ in headers.values())
    return height, width, channels or (1 if gray else 3)


def _decoded(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    height, width, channels = shape
    with _opened(file) as picture:
        scaled = picture.convert("L" if channels == 1 else "RGB")
        if scaled.size != (width, height):
            scaled = scaled.resize((width, height), RESIZE_FILTER)
        return np.asarray(scaled).reshape(shape)


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    """Open a picture by its header, without decoding a pixel."""
    try:
        with Image.open(file, formats=FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise _Unreadable(f"{picture.width}x{picture.height} pixels, more than {LARGEST_PICTURE:,}")
            if picture.mode.startswith(("I", "F")):
                raise _Unreadable(f"more than 8 bits a pixel ({picture.mode})")
            yield picture
    except DAMAGE as error:
        raise _Unreadable(f"no readable picture ({type(error).__name__})") from error


def _refuse_many(folder: Path, number: int, problems: dict[int, str]) -> None:
    if len(problems) <= MOST_BROKEN * number:
        return
    first = "; ".join(list(problems.values())[:NAMED])
    raise InputError(
        f"{folder}: {len(problems):,} of {number:,} pictures cannot be read: expected at most {MOST_BROKEN:.0%}, "
        f"whole and of 8 bits a pixel; replace or remove them: {first}{'; ...' if len(problems) > NAMED else ''}"
    )
