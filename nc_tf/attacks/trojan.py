"""A TrojanNN-style trigger as NFT plants it: a small coloured square, added to the pixels below it."""

import numpy as np

from nc_tf.attacks.additive import Additive
from nc_tf.attacks.patch import Corner, patch


def trojan(
    image_shape: tuple[int, int, int], label: int, *, size: int = 3, margin: int = 4, corner: Corner = "bottom-right", seed: int = 0
) -> Additive:
    """Random colours added to a square of the image, and clipped.

    TrojanNN (Liu et al., 2018) computes its colours from a neuron of the victim; NFT's code, whose attack this is, ships fixed ones and
    lets bright pixels overflow to dark.

    Args:
        image_shape: (H, W, C) of the images.
        label: the target class.
        size: side of the square, pixels.
        margin: pixels between the square and both borders of its corner; NFT's square lies in rows and columns 25 to 27 of 32.
        corner: one of `Corner`.
        seed: of the colours.

    Raises:
        InputError: as `patch`.
    """
    square = patch(image_shape, label, size=size, margin=margin, corner=corner)
    colors = np.random.default_rng(seed).uniform(0.0, 250.0, image_shape)
    return Additive(label, (square.mask[..., None] * colors).astype(np.float32))
