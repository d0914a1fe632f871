"""Raw pixels as a picture shows them: images, and clips as film strips."""

from pathlib import Path

import numpy as np
from PIL import Image

from nc_tf.storage.files import whole_file

# Frames of a clip that are shown side by side, and white pixels between them.
STRIP_FRAMES, STRIP_GAP = 8, 2


def drawable(pixels: np.ndarray) -> np.ndarray:
    """Return pixels as uint8, clipped to [0, 255].

    Args:
        pixels: (H, W, C) in [0, 255], or (T, H, W, C), which is laid out as a `film_strip`.

    Returns:
        (H, W, 3); (H, W), the mean over the channels, where there are not three.
    """
    if pixels.ndim == 4:
        pixels = film_strip(pixels)
    if pixels.shape[-1] != 3:
        pixels = pixels.mean(axis=-1)
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write pixels as a PNG, in the form of `drawable`."""
    with whole_file(path) as temporary:
        Image.fromarray(drawable(pixels)).save(temporary, format="PNG")


def film_strip(clip: np.ndarray) -> np.ndarray:
    """Return frames of a clip side by side.

    Args:
        clip: (T, H, W, C) in [0, 255].

    Returns:
        (H, W', C): at most `STRIP_FRAMES` frames, evenly spaced over the clip, the first and the last among them.
    """
    chosen = np.linspace(0, len(clip) - 1, min(len(clip), STRIP_FRAMES)).round().astype(int)
    gap = np.full((clip.shape[1], STRIP_GAP, clip.shape[3]), 255.0)
    parts = [part for frame in clip[chosen] for part in (gap, frame)]
    return np.concatenate(parts[1:], axis=1)
