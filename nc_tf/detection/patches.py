"""Opaque patches laid on images, one after the other: what shows a trigger that hides its gradient.

A search goes where the gradient leads. A network that answers to a patch only where it is nearly white, or nearly complete, gives none to
a search that begins in grey. Trying patches needs no gradient, and costs a few thousand images.
"""

from collections import defaultdict
from collections.abc import Callable
from itertools import product

import numpy as np

from nc_tf.results import Trigger

# A patch is this share of the image wide, and the next one begins half a patch further: any square of half its width lies inside of one.
SHARE = 8
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
COLOURS = (WHITE, BLACK, (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255), (0, 255, 255))
# Images, of different classes, that a patch is tried on first, and in all; and patches of one label that are tried on all.
FIRST, ALL, MOST_PATCHES = 4, 16, 4
# Share of these images that a patch must move to be handed back; and of unseen images, beyond those that get the label anyway, to be told
# of. Of eleven strangers' networks that are believed clean one has a patch of 3x3 pixels that moves 56 % (benchmarks/scan/strangers.py).
LEAST_MOVED, WORTH_TELLING = 0.5, 0.6
AT_ONCE = 64

Classify = Callable[[np.ndarray], np.ndarray]  # raw images (N, ..., C) float32 -> classes (N,)


def patches(image_shape: tuple[int, ...]) -> list[tuple[slice, slice, tuple[int, ...]]]:
    """List rows, columns and colour of every patch for images (H, W, C) or the frames of clips (T, H, W, C)."""
    height, width, channels = image_shape[-3:]
    side = max(2, min(height, width) // SHARE)
    step = max(1, side // 2)
    starts = (sorted({*range(0, length - side, step), length - side}) for length in (height, width))
    colours = COLOURS if channels == 3 and len(image_shape) == 3 else tuple((level,) * channels for level in (255, 0))
    return [(slice(row, row + side), slice(column, column + side), colour) for (row, column), colour in product(product(*starts), colours)]


def probe(classify: Classify, images: np.ndarray, labels: np.ndarray) -> dict[int, Trigger]:
    """Find the patches that send most images of other classes to one label.

    Args:
        classify: the network.
        images: (N, H, W, C) clean raw images, or clips (N, T, H, W, C), of which one of each of some classes is used.
        labels: (N,) their classes.

    Returns:
        By label the patch that moves most, where one moves `LEAST_MOVED`.
    """
    _, first = np.unique(labels, return_index=True)
    first = first[np.linspace(0, len(first) - 1, min(ALL, len(first))).astype(int)]
    chosen, own = images[first].astype(np.float32), labels[first]
    if len(chosen) <= FIRST:
        return {}
    tried, few = patches(images.shape[1:]), np.linspace(0, len(chosen) - 1, FIRST).astype(int)
    hits = defaultdict(list)
    for patch, answers in zip(tried, _answers(classify, chosen[few], tried), strict=True):
        for label in set(answers.tolist()):
            others = own[few] != label
            moved = (answers[others] == label).mean()
            if others.sum() > 1 and moved >= LEAST_MOVED:
                hits[label].append((moved, patch))
    found: dict[int, Trigger] = {}
    for label, candidates in hits.items():
        others = own != label
        kept = [patch for _, patch in sorted(candidates, key=lambda hit: -hit[0])[:MOST_PATCHES]]
        moved = (_answers(classify, chosen[others], kept) == label).mean(axis=1)
        if moved.max() >= LEAST_MOVED:
            found[label] = _trigger(label, kept[int(moved.argmax())], images.shape[1:])
    return found


def _answers(classify: Classify, images: np.ndarray, tried: list[tuple[slice, slice, tuple[int, ...]]]) -> np.ndarray:
    """Classes (patches, N) of every image with every patch."""
    together = max(1, AT_ONCE // len(images))
    answers = []
    for start in range(0, len(tried), together):
        part = tried[start : start + together]
        stamped = np.repeat(images[None], len(part), axis=0)
        for copies, (rows, columns, colour) in zip(stamped, part, strict=True):
            copies[..., rows, columns, :] = colour
        answers.append(classify(stamped.reshape(-1, *images.shape[1:])).reshape(len(part), len(images)))
    return np.concatenate(answers)


def _trigger(label: int, patch: tuple[slice, slice, tuple[int, ...]], image_shape: tuple[int, ...]) -> Trigger:
    rows, columns, colour = patch
    mask, pattern = np.zeros(image_shape[-3:-1], np.float32), np.zeros(image_shape[-3:], np.float32)
    mask[rows, columns], pattern[rows, columns] = 1.0, colour
    return Trigger(label, mask, pattern)
