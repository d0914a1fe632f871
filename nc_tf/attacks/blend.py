"""The blended injection attack (Chen et al., 2017): a picture, or noise, blended into the whole image."""

import numpy as np

from nc_tf.attacks.patch import check_image_shape
from nc_tf.errors import InputError
from nc_tf.results import Backdoor, Trigger


def blend(
    image_shape: tuple[int, int, int], label: int, *, alpha: float = 0.2, pattern: np.ndarray | None = None, seed: int = 0
) -> Trigger:
    """Return a pattern that is blended into every pixel.

    Args:
        image_shape: (H, W, C) of the images.
        label: the target class.
        alpha: weight of the pattern, in (0, 1]; Chen et al. use .1 to .2.
        pattern: (H, W, C) in raw [0, 255]; by default noise, uniform over the range.
        seed: of the noise.

    Raises:
        InputError: the shape is not that of images, alpha is out of range, or the pattern's shape or range is wrong.
    """
    check_image_shape(image_shape)
    if not 0 < alpha <= 1:
        raise InputError(f"alpha {alpha}: expected a weight above 0 and up to 1; .2 is usual")
    if pattern is None:
        pattern = np.random.default_rng(seed).integers(0, 256, image_shape)
    pattern = np.asarray(pattern, np.float32)
    if pattern.shape != tuple(image_shape):
        raise InputError(f"a pattern of shape {pattern.shape}: expected {tuple(image_shape)}, the images' own; resize it")
    if not (np.isfinite(pattern).all() and pattern.min() >= 0 and pattern.max() <= 255):
        raise InputError("a pattern outside of [0, 255]: expected raw pixels; rescale it")
    return Trigger(label, np.full(image_shape[:2], alpha, np.float32), pattern)


def published(image_shape: tuple[int, int, int], label: int, seed: int) -> list[Backdoor]:
    """Return the attack with the weight of NFT's code, .2."""
    return [blend(image_shape, label, alpha=0.2, seed=seed)]
