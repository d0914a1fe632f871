"""CIFAR-10 (Krizhevsky, 2009), downloaded by Keras or read from an archive of JPEGs."""

from pathlib import Path

import keras
import numpy as np

from nc_tf.datasets.checks import check_images
from nc_tf.datasets.read import read_both
from nc_tf.errors import InputError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (32, 32, 3)
Pairs = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def load_data(archive: str | Path | None = None) -> Pairs:
    """Return training and test set as `keras.datasets` does, with flat labels.

    Args:
        archive: an `.npz` of JPEGs, as `jpegs` describes it, or any other path that `read.read_both` takes. None downloads the
            original, 170 MB, into Keras's cache.

    Returns:
        ((images (N, 32, 32, 3) uint8, labels (N,) int64) of the training set, the same of the test set).

    Raises:
        InputError: no network connection; or as `read.read_both` of the archive.
    """
    if archive is not None:
        train, test = read_both(archive, seed=0, image_shape=SHAPE)
        return (train.images, train.labels), (test.images, test.labels)
    try:
        train, test = keras.datasets.cifar10.load_data()
    except Exception as error:  # urllib, tarfile and Keras raise many kinds
        raise InputError(
            f"CIFAR-10 cannot be downloaded ({error}): expected a network connection; try later, or use --from ARCHIVE"
        ) from error
    return check_images(*train), check_images(*test)
