"""Shared parts of the rendered data sets: labels, independent random numbers, pictures in chunks, smooth noise."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nc_tf.errors import InputError

Floats = NDArray[np.float32]
Dataset = tuple[NDArray[np.uint8], NDArray[np.int64]]
Draw = Callable[[NDArray[np.int64], np.random.Generator], NDArray[np.uint8]]

# Streams of random numbers under one seed, so that no test picture is a training picture.
TRAIN, TEST = 0, 1

# Pictures drawn together. A chunk is always full, so that no picture depends on the number of pictures after it.
_CHUNK = 64
# Keys of independent random numbers under one seed: the stream, then pixels or order.
_PIXELS, _ORDER = 0, 1


def render_set(
    draw: Draw, count: int, *, num_classes: int, seed: int, labels: ArrayLike | None = None, stream: int = TRAIN, what: str = "images"
) -> Dataset:
    """Return labelled pictures.

    Each depends on the seed, its position and its label alone.

    Args:
        draw: function of labels (64,) and random numbers that returns 64 pictures (64, ...).
        count: number of pictures, at least 1.
        num_classes: labels are integers in [0, num_classes).
        seed: 0 or greater.
        labels: (count,); by default every class equally often (give or take one), in a random order.
        stream: number of the set, of several sets under one seed.
        what: name of the pictures in messages.

    Returns:
        Pictures (count, ...) uint8 and labels (count,) int64.

    Raises:
        InputError: fewer than one picture, a negative seed, or labels that are no classes, no integers or not one a picture.
    """
    check_integer(f"num_{what}", count, least=1)
    check_integer("seed", seed, least=0)
    if labels is None:
        checked = _random(seed, stream, _ORDER).permutation(np.arange(count, dtype=np.int64) % num_classes)
    else:
        checked = _checked_labels(labels, count, num_classes, what)
    pictures = []
    for chunk, start in enumerate(range(0, count, _CHUNK)):
        here = checked[start : start + _CHUNK]
        full = np.zeros(_CHUNK, np.int64)
        full[: len(here)] = here
        pictures.append(draw(full, _random(seed, stream, _PIXELS, chunk))[: len(here)])
    return np.concatenate(pictures), checked


def check_integer(name: str, value: Any, least: int) -> None:
    """Refuse a value that is no integer of at least `least`.

    Raises:
        InputError: the message begins with `name`.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name} {value!r}: expected an integer of at least {least}; pass {name}={least} or more")


def _checked_labels(labels: ArrayLike, count: int, num_classes: int, what: str) -> NDArray[np.int64]:
    given = np.asarray(labels)
    if given.shape != (count,):
        raise InputError(f"labels of shape {given.shape}: expected one for each of {count} {what}; pass shape ({count},)")
    if not np.issubdtype(given.dtype, np.integer):
        raise InputError(f"labels of type {given.dtype}: expected integers; convert one-hot labels by argmax, others by astype(int)")
    wrong = given[(given < 0) | (given >= num_classes)]
    if len(wrong):
        raise InputError(f"label {wrong[0]}: expected 0 to {num_classes - 1}; leave out labels that are no class of CLASS_NAMES")
    return given.astype(np.int64)


def _random(seed: int, *key: int) -> np.random.Generator:
    """Return an independent generator for each key under one seed."""
    return np.random.default_rng(np.random.SeedSequence(int(seed), spawn_key=key))


def smooth_noise(count: int, cells: int, size: int, rng: np.random.Generator) -> Floats:
    """Return smooth noise of about unit variance, (count, size, size, 1).

    It has `cells` independent cells across and down.
    """
    stretch = _stretch(cells, size)
    smooth = stretch @ rng.standard_normal((count, cells, cells), dtype=np.float32) @ stretch.T
    return np.asarray(smooth, np.float32)[..., None]


@cache
def _stretch(cells: int, size: int) -> Floats:
    """Return the matrix (size, cells) that interpolates a row of numbers smoothly."""
    places = np.linspace(0, cells - 1, size)[:, None] - np.arange(cells)
    weights = np.exp(-0.5 * (places / 0.55) ** 2)
    # Averaging makes noise weaker; the factor makes up for that, once across and once down.
    return np.asarray(1.35 * weights / weights.sum(axis=1, keepdims=True), np.float32)
