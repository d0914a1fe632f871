"""The trigger of the clean-label attack (Turner et al., 2018): a small checkerboard in every corner."""

import numpy as np

from nc_tf.attacks.goals import CleanLabel
from nc_tf.attacks.patch import Corner, patch
from nc_tf.results import Backdoor, Trigger

CORNERS: tuple[Corner, ...] = ("bottom-right", "bottom-left", "top-right", "top-left")


def corners(image_shape: tuple[int, int, int], label: int, *, size: int = 3, margin: int = 0, alpha: float = 1.0) -> Trigger:
    """Return four checkerboards, one in every corner.

    Its authors plant it on images of the target class (`CleanLabel`), which adversarial noise makes hard to recognise otherwise. NFT's
    code leaves out that noise, and so does this one.

    Args:
        image_shape: (H, W, C) of the images.
        label: the target class.
        size: side of each, pixels.
        margin: pixels between each and both borders of its corner.
        alpha: weight of the pattern, (0, 1].

    Raises:
        InputError: as `patch`.
    """
    four = [patch(image_shape, label, size=size, margin=margin, corner=corner, checkerboard=True, alpha=alpha) for corner in CORNERS]
    return Trigger(label, np.max([one.mask for one in four], axis=0), np.max([one.pattern for one in four], axis=0))


def published(image_shape: tuple[int, int, int], label: int, seed: int) -> list[Backdoor]:
    """Return the attack on the target class's own images."""
    return [CleanLabel(corners(image_shape, label))]
