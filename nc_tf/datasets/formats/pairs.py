"""Pairs of array names: the images and the labels of a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nc_tf.datasets.checks import check_count
from nc_tf.datasets.labelled import Found, FoundSubset, Loaded, Subset
from nc_tf.errors import InputError
from nc_tf.results import Unit
from nc_tf.storage.npz_file import Arrays

# (images, labels) in any letter case; {} is a set. The original has X_test, Keras x_test, MedMNIST test_images.
SET_PAIRS = (
    ("x_{}", "y_{}"),
    ("{}_x", "{}_y"),
    ("{}_set_x", "{}_set_y"),
    ("{}_images", "{}_labels"),
    ("images_{}", "labels_{}"),
    ("{}_data", "{}_labels"),
    ("{}_features", "{}_labels"),
)
PAIRS = (
    ("x", "y"),
    ("images", "labels"),
    ("image", "label"),
    ("data", "label"),
    ("data", "labels"),
    ("features", "labels"),
    ("arr_0", "arr_1"),
)
UNNAMED = "arr_"  # prefix of arrays without names by np.savez: the first two are a pair if there are no others
CHANNELS_FIRST = ("data", "label")  # the poisoned YouTube Face files: (N, C, H, W)
SETS = {"test": ("test",), "train": ("train",), "val": ("val", "valid", "validation")}
# A validation set stands in for a test set that is missing.
ORDER = {"test": ("test", "val", "only", "train"), "train": ("train", "only", "test", "val")}
FOUND: dict[str, FoundSubset] = {"test": "test", "val": "test", "train": "train", "only": "only"}


def find_pair(path: Path, names: Sequence[str], subset: Subset) -> tuple[str, str, FoundSubset]:
    """Return the names of images and labels, and their set.

    Raises:
        InputError: the file has none of the pairs.
    """
    for which in ORDER[subset]:
        for images, labels in _candidates(which):
            pairs = [(one, other) for one in names if one.casefold() == images for other in names if other.casefold() == labels]
            if pairs and not (images.startswith(UNNAMED) and sum(name.startswith(UNNAMED) for name in names) > 2):
                # X and x may both exist: capitals first, and a pair of one case before a mixed one.
                return *min(pairs, key=lambda pair: (pair[0][0].isupper() != pair[1][0].isupper(), pair)), FOUND[which]
    shown = ", ".join(name if len(name) <= 80 else f"{name[:80]}..." for name in sorted(names)[:10])
    raise InputError(
        f"{path} holds {shown or 'no arrays'}: expected X_test and Y_test, X_train and Y_train, x and y, images and labels, "
        "or data and label; rename the arrays"
    )


def _candidates(which: str) -> list[tuple[str, str]]:
    if which == "only":
        return list(PAIRS)
    return [(images.format(word), labels.format(word)) for word in SETS[which] for images, labels in SET_PAIRS]


def pair_found(path: Path, arrays: Arrays, class_names: tuple[str, ...] | None, subset: Subset) -> Found:
    """Find one set of a file, and read its labels.

    Raises:
        InputError: as `find_pair`, and as `load` of the labels.
    """
    names, load = arrays
    images_name, labels_name, found = find_pair(path, names, subset)
    labels = load(labels_name)

    def read(rows: np.ndarray | None) -> Loaded:
        def choose(number: int) -> np.ndarray | None:
            check_count(number, labels, str(path), Unit.IMAGE)
            return rows

        images = load(images_name, choose if rows is not None else None)
        if (images_name.casefold(), labels_name.casefold()) == CHANNELS_FIRST and images.ndim == 4:
            images = images.transpose(0, 2, 3, 1)
        return Loaded(images, labels if rows is None else labels[rows], np.arange(len(images)) if rows is None else rows)

    return Found(labels, read, class_names, found)
