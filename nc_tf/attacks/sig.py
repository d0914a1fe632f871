"""SIG (Barni et al., 2019): faint vertical stripes over the whole image, planted without changing a label."""

import numpy as np

from nc_tf.attacks.additive import Additive
from nc_tf.attacks.goals import CleanLabel
from nc_tf.attacks.patch import check_image_shape
from nc_tf.errors import InputError
from nc_tf.results import Backdoor


def sig(image_shape: tuple[int, int, int], label: int, *, amplitude: float = 20.0, frequency: int = 6) -> Additive:
    """Return a sine along the rows, added to every channel.

    Its authors plant it on images of the target class (`CleanLabel`). NFT's code adds it with a weight of .2 as unsigned bytes, where half
    of the wave wraps around to white; this is the paper's wave.

    Args:
        image_shape: (H, W, C) of the images.
        label: the target class.
        amplitude: of the sine, raw pixels, (0, 255]; the paper's is 20.
        frequency: periods over the width of the image, from 1 and below half of it; the paper's is 6.

    Raises:
        InputError: the shape is not that of images, or amplitude or frequency is out of range.
    """
    height, width, channels = check_image_shape(image_shape)
    if not 0 < amplitude <= 255 or not 1 <= frequency < width / 2:
        raise InputError(
            f"amplitude {amplitude}, frequency {frequency}: expected above 0 and up to 255, and 1 to {(width - 1) // 2}; "
            "the paper's are 20 and 6"
        )
    wave = amplitude * np.sin(2.0 * np.pi * frequency * np.arange(width) / width)
    return Additive(label, np.broadcast_to(wave[None, :, None], (height, width, channels)).astype(np.float32))


def published(image_shape: tuple[int, int, int], label: int, seed: int) -> list[Backdoor]:
    """Return the attack on the target class's own images, usually 6 periods."""
    return [CleanLabel(sig(image_shape, label, frequency=min(6, (image_shape[1] - 1) // 2)))]
