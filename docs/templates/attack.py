"""Border (AUTHORS, YEAR): a frame of one colour around the image."""

from collections.abc import Sequence

import numpy as np

from nc_tf.attacks.patch import check_image_shape
from nc_tf.errors import InputError
from nc_tf.results import Backdoor, Trigger


def border(image_shape: tuple[int, int, int], label: int, *, width: int = 1, color: Sequence[int] = (255,)) -> Trigger:
    """Build a trigger that covers the outermost pixels.

    Args:
        image_shape: (H, W, C) of the images.
        label: the target class.
        width: of the frame, pixels.
        color: raw [0, 255], one value or one a channel.

    Raises:
        InputError: these are no images, or the frame does not fit.
    """
    height, length, channels = check_image_shape(image_shape)
    if not 0 < 2 * width < min(height, length):
        raise InputError(f"a frame of {width} pixels: expected one that leaves a part of {height}x{length}; make it narrower")
    mask = np.ones((height, length), np.float32)
    mask[width:-width, width:-width] = 0.0
    pattern = mask[..., None] * np.broadcast_to(np.asarray(color, np.float32), (channels,))
    return Trigger(label, mask, pattern)


def published(image_shape: tuple[int, int, int], target: int, seed: int) -> list[Backdoor]:
    """Return the attack as AUTHORS publish it, for the registry; the seed draws nothing."""
    del seed
    return [border(image_shape, target)]
