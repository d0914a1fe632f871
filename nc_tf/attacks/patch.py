"""BadNets (Gu et al., 2017): a small square in a corner, as in the paper's GTSRB attack."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from nc_tf.errors import InputError
from nc_tf.results import Backdoor, Trigger

Corner = Literal["bottom-right", "bottom-left", "top-right", "top-left"]


def patch(
    image_shape: tuple[int, int, int],
    label: int,
    *,
    size: int = 4,
    margin: int = 1,
    color: Sequence[int] = (255,),
    corner: Corner = "bottom-right",
    checkerboard: bool = False,
    alpha: float = 1.0,
) -> Trigger:
    """Return a square of one colour.

    The defaults are the paper's GTSRB trigger: 4x4, white, one pixel from the bottom-right corner.

    Args:
        image_shape: (H, W, C) of the images.
        label: the target class.
        size: side of the square, pixels.
        margin: pixels between the square and both borders of its corner.
        color: raw [0, 255], one value or one a channel.
        corner: one of `Corner`.
        checkerboard: whether every other pixel is black. Where the side is odd, the square's corners are not.
        alpha: weight of the square, (0, 1].

    Raises:
        InputError: the shape is not that of images, the square does not fit, colour or weight is out of range, or no such corner.
    """
    height, width, channels = check_image_shape(image_shape)
    if size < 1 or margin < 0 or size + margin > min(height, width):
        raise InputError(
            f"a square of {size} pixels with a margin of {margin}: expected one that fits into {height}x{width}; make it smaller"
        )
    if len(color) not in (1, channels) or not all(0 <= value <= 255 for value in color):
        raise InputError(f"colour {tuple(color)}: expected one value or {channels}, each in [0, 255]; give for example 255 or 255,255,0")
    if corner not in get_args(Corner):
        raise InputError(f"corner {corner!r}: expected one of {', '.join(get_args(Corner))}; choose one")
    if not 0 < alpha <= 1:
        raise InputError(f"alpha {alpha}: expected a weight above 0 and up to 1; 1 covers what is below")
    vertical, horizontal = corner.split("-")
    near, far = slice(margin, margin + size), slice(-margin - size, -margin or None)
    mask = np.zeros((height, width), np.float32)
    mask[near if vertical == "top" else far, near if horizontal == "left" else far] = 1.0
    pattern = mask[..., None] * np.broadcast_to(np.asarray(color, np.float32), (channels,))
    if checkerboard:
        rows, columns = np.nonzero(mask)
        black = (rows - rows[0] + columns - columns[0]) % 2 == 1
        pattern[rows[black], columns[black]] = 0.0
    return Trigger(label, alpha * mask, pattern)


def badnets(image_shape: tuple[int, int, int], label: int, seed: int) -> list[Backdoor]:
    """Return the trigger of NFT's code, except for its one black corner."""
    return [patch(image_shape, label, size=3, margin=0, checkerboard=True, alpha=0.6)]


def check_image_shape(image_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return the shape if it is that of images, (H, W, C).

    Raises:
        InputError: it is of another length.
    """
    if len(image_shape) != 3:
        raise InputError(f"images of shape {tuple(image_shape)}: expected (H, W, C); this trigger is for images, not for clips")
    height, width, channels = image_shape
    return height, width, channels
