"""WaNet (Nguyen and Tran, 2021): a slight smooth warp of the image, which paints no pixel."""

import numpy as np
import tensorflow as tf

from nc_tf.attacks.goals import Cover
from nc_tf.attacks.patch import check_image_shape
from nc_tf.errors import InputError
from nc_tf.results import Backdoor, Warp


def warp(image_shape: tuple[int, int, int], label: int, *, grid: int = 4, strength: float = 0.5, seed: int = 0) -> Warp:
    """Return a warp by random directions.

    Cubic splines spread them over the image (the paper's section 3.2). Its authors train with a noise mode: two times more images are
    warped by the field and fresh noise, and keep their label. Without it the network would learn to detect any warp. Here two other fields
    stand for the noise (`published`): `Cover(warp(..., seed=...))` with two other seeds.

    Args:
        image_shape: (H, W, C) of the images, at least 2x2.
        label: the target class.
        grid: points a side, from 2; the paper's is 4.
        strength: mean length of the directions in half pixels, above 0; the paper's is .5.
        seed: of the directions.

    Raises:
        InputError: the shape is not that of images, or grid or strength is out of range.
    """
    height, width, channels = check_image_shape(image_shape)
    if min(height, width) < 2 or grid < 2 or strength <= 0:
        raise InputError(
            f"a grid of {grid} with strength {strength} for {height}x{width}: expected 2 or more, above 0, and 2x2 or more; "
            "the paper's are 4 and .5"
        )
    directions = np.random.default_rng(seed).uniform(-1.0, 1.0, (1, grid, grid, 2))
    directions /= np.abs(directions).mean()
    field = tf.image.resize(directions, (height, width), method="bicubic")[0].numpy()
    # The authors move by strength / height in coordinates from -1 to 1, which are (size - 1) / 2 pixels each.
    moved = field * strength / height * (np.array([height, width]) - 1) / 2
    places = np.clip(np.moveaxis(np.mgrid[:height, :width], 0, -1) + moved, 0, (height - 1, width - 1))
    return Warp(label, places.astype(np.float32), channels)


def published(image_shape: tuple[int, int, int], label: int, seed: int) -> list[Backdoor]:
    """Return the warp, and two covers for its noise mode."""
    return [warp(image_shape, label, seed=seed), *(Cover(warp(image_shape, label, seed=other)) for other in (seed + 1, seed + 2))]
