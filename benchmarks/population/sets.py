"""The data of the population: four sets of small pictures, each cut down to some of its classes."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from nc_tf.datasets.read import read, read_both

Pair = tuple[np.ndarray, np.ndarray]

SETS = ("gtsrb", "cifar10", "mnist", "signs")
CLASSES = {"gtsrb": (2, 3, 4, 10, 43), "cifar10": (2, 3, 4, 10), "mnist": (2, 3, 4, 10), "signs": (2, 3, 4, 10, 43)}
FILES = {"gtsrb": "gtsrb_dataset.h5", "cifar10": "cifar10_jpeg.npz", "mnist": "mnist_test.npz"}
MNIST_TEST = 2000  # the file has MNIST's test images alone: the last of them are left for tests


@lru_cache(maxsize=2)
def whole_set(name: str, folder: Path) -> tuple[Pair, Pair]:
    """Return training and test images with their classes; raw, uint8."""
    if name == "signs":
        from nc_tf.datasets.rendered.signs import load_data

        return load_data()
    if name == "mnist":
        every = read(folder / FILES[name])
        images, labels = every.images, every.labels
        return (images[:-MNIST_TEST], labels[:-MNIST_TEST]), (images[-MNIST_TEST:], labels[-MNIST_TEST:])
    train, test = read_both(folder / FILES[name], seed=0)
    return (train.images, train.labels), (test.images, test.labels)


def some_classes(pair: Pair, classes: tuple[int, ...], most: int, seed: int) -> Pair:
    """Return the images of these classes, numbered from 0 in this order.

    Args:
        pair: images and classes.
        classes: the classes to keep.
        most: most images; a random sample is taken, in random order.
        seed: of the sample.
    """
    images, labels = pair
    rows = np.flatnonzero(np.isin(labels, classes))
    rows = np.random.default_rng(seed).permutation(rows)[:most]
    number = {label: place for place, label in enumerate(classes)}
    return images[rows], np.array([number[label] for label in labels[rows].tolist()], np.int64)
