"""A detector of triggers without a gradient: opaque patches, laid on images one after the other.

A search follows the gradient. A network that reacts to a patch only where it is nearly white, or nearly complete, has none for a search
that begins in grey. Trying patches needs no gradient, and costs a few thousand images.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import product

import numpy as np

from nc_tf.results import Trigger

# A patch is an eighth of the image wide, and the next one begins half a patch further: any square of half its width lies inside of one.
SHARE = 8
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
COLOURS = (WHITE, BLACK, (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255))
# Images of different classes that every patch is tried on, images that the best ones are tried on, and number of these a label.
FIRST, ALL, MOST_PATCHES = 4, 16, 4
# Share of these images of other classes that a patch must move to its label to be returned.
LEAST_MOVED = 0.5
AT_ONCE = 64  # stamped images in one call of the network

Patch = tuple[slice, slice, tuple[int, ...]]  # rows, columns, colour
Classify = Callable[[np.ndarray], np.ndarray]  # raw images (N, ..., C) float32 -> classes (N,)


def patches(image_shape: tuple[int, ...]) -> list[Patch]:
    """Return every patch for images (H, W, C), or for clips (T, H, W, C)."""
    height, width, channels = image_shape[-3:]
    side = max(2, min(height, width) // SHARE)
    step = max(1, side // 2)
    starts = (sorted({*range(0, length - side, step), length - side}) for length in (height, width))
    colours = COLOURS if channels == 3 and len(image_shape) == 3 else tuple((level,) * channels for level in (255, 0))
    return [(slice(row, row + side), slice(column, column + side), colour) for (row, column), colour in product(product(*starts), colours)]


def probe(classify: Classify, images: np.ndarray, labels: np.ndarray) -> dict[int, Trigger]:
    """Find the patches that send most images to one label.

    Args:
        classify: the network.
        images: (N, H, W, C) clean raw images, or clips (N, T, H, W, C); one image of each of `ALL` classes at most is used.
        labels: (N,) their classes.

    Returns:
        For each label the patch that moves most images, where that is at least `LEAST_MOVED` of them.
    """
    _, first = np.unique(labels, return_index=True)
    first = first[np.linspace(0, len(first) - 1, min(ALL, len(first))).astype(int)]
    chosen, own = images[first].astype(np.float32), labels[first]
    if len(chosen) <= FIRST:
        return {}
    tried, few = patches(images.shape[1:]), np.linspace(0, len(chosen) - 1, FIRST).astype(int)
    candidates = defaultdict(list)
    for patch, classes in zip(tried, _classes_with_patches(classify, chosen[few], tried), strict=True):
        for label in set(classes.tolist()):
            others = own[few] != label
            moved = (classes[others] == label).mean()
            if others.sum() > 1 and moved >= LEAST_MOVED:
                candidates[label].append((moved, patch))
    found: dict[int, Trigger] = {}
    for label, rated in candidates.items():
        others = own != label
        best = [patch for _, patch in sorted(rated, key=lambda candidate: -candidate[0])[:MOST_PATCHES]]
        moved = (_classes_with_patches(classify, chosen[others], best) == label).mean(axis=1)
        if moved.max() >= LEAST_MOVED:
            found[label] = _trigger(label, best[int(moved.argmax())], images.shape[1:])
    return found


def _classes_with_patches(classify: Classify, images: np.ndarray, tried: list[Patch]) -> np.ndarray:
    """Return the classes (patches, N) of every image with every patch."""
    together = max(1, AT_ONCE // len(images))
    classes = []
    for start in range(0, len(tried), together):
        part = tried[start : start + together]
        stamped = np.repeat(images[None], len(part), axis=0)
        for copies, (rows, columns, colour) in zip(stamped, part, strict=True):
            copies[..., rows, columns, :] = colour
        classes.append(classify(stamped.reshape(-1, *images.shape[1:])).reshape(len(part), len(images)))
    return np.concatenate(classes)


def _trigger(label: int, patch: Patch, image_shape: tuple[int, ...]) -> Trigger:
    rows, columns, colour = patch
    mask, pattern = np.zeros(image_shape[-3:-1], np.float32), np.zeros(image_shape[-3:], np.float32)
    mask[rows, columns], pattern[rows, columns] = 1.0, colour
    return Trigger(label, mask, pattern)
