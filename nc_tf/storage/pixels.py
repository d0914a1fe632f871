"""Raw pixels as a picture shows them."""

import numpy as np

# Of a clip so many frames are shown side by side, with so many white pixels between them.
STRIP_FRAMES, STRIP_GAP = 8, 2


def drawable(pixels: np.ndarray) -> np.ndarray:
    """(H, W, C) in [0, 255], or the `film_strip` of (T, H, W, C), clipped -> uint8 (H, W, 3), or (H, W) of other than three channels:
    their mean is drawn."""
    if pixels.ndim == 4:
        pixels = film_strip(pixels)
    if pixels.shape[-1] != 3:
        pixels = pixels.mean(axis=-1)
    return np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)


def film_strip(clip: np.ndarray) -> np.ndarray:
    """(T, H, W, C) in [0, 255] -> (H, W', C): frames evenly spaced over the clip, the first and the last among them, side by side."""
    chosen = np.linspace(0, len(clip) - 1, min(len(clip), STRIP_FRAMES)).round().astype(int)
    gap = np.full((clip.shape[1], STRIP_GAP, clip.shape[3]), 255.0)
    parts = [part for frame in clip[chosen] for part in (gap, frame)]
    return np.concatenate(parts[1:], axis=1)
