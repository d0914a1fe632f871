"""Raw pixels as a picture shows them."""

import numpy as np


def drawable(pixels: np.ndarray) -> np.ndarray:
    """(H, W), or (H, W, C) in [0, 255], clipped -> uint8 (H, W) or (H, W, 3): of other than three channels the mean is drawn."""
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        pixels = pixels.mean(axis=-1)
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)
