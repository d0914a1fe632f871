"""The trigger of the clean-label attack (Turner et al., 2018): a small checkerboard in every corner."""

import numpy as np

from nc_tf.attacks.patch import Corner, patch
from nc_tf.results import Trigger

CORNERS: tuple[Corner, ...] = ("bottom-right", "bottom-left", "top-right", "top-left")


def corners(image_shape: tuple[int, int, int], label: int, *, size: int = 3, margin: int = 0, alpha: float = 1.0) -> Trigger:
    """Four checkerboards; wrap it in `CleanLabel` to plant it as its authors do.

    Their images of the target class are also made hard to recognise otherwise, by adversarial noise; NFT's code, and this, leaves that out.

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
