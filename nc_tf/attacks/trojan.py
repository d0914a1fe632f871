"""A TrojanNN-style trigger, as in NFT's code: a small coloured square, added to the pixels below it."""

import numpy as np

from nc_tf.attacks.additive import Additive
from nc_tf.attacks.patch import Corner, patch
from nc_tf.results import Backdoor


def trojan(
    image_shape: tuple[int, int, int], label: int, *, size: int = 3, margin: int = 4, corner: Corner = "bottom-right", seed: int = 0
) -> Additive:
    """Return random colours that are added to a square of the image.

    TrojanNN (Liu et al., 2018) computes its colours from a neuron of the victim. NFT's code, the source of this attack, has fixed colours
    and lets bright pixels overflow to dark; here the sum is clipped.

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


def published(image_shape: tuple[int, int, int], label: int, seed: int) -> list[Backdoor]:
    """Return the attack with size and place of NFT's code."""
    return [trojan(image_shape, label, seed=seed)]
