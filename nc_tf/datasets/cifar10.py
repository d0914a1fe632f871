"""CIFAR-10 (Krizhevsky, 2009): through Keras, which downloads it, or from an archive of JPEGs."""

import io
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from nc_tf.datasets.checks import check_images
from nc_tf.errors import InputError

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (32, 32, 3)
Pairs = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def load_data(archive: str | Path | None = None) -> Pairs:
    """Training and test set, as `keras.datasets.cifar10.load_data` has them, with flat labels.

    Args:
        archive: an `.npz` with `buf` (bytes of one JPEG after another, uint8), `offsets` (N + 1,), `labels` (N,) and `is_test` (N,); None
            downloads the original, 170 MB, into Keras's cache.

    Returns:
        ((images (N, 32, 32, 3) uint8, labels (N,) int64) of the training set, the same of the test set).

    Raises:
        InputError: no network, or the archive is missing or something else.
    """
    if archive is not None:
        return _from_archive(Path(archive))
    try:
        train, test = keras.datasets.cifar10.load_data()
    except Exception as error:  # whatever urllib, tarfile and Keras raise
        raise InputError(f"CIFAR-10 cannot be downloaded ({error}): expected a network; try later, or use --from ARCHIVE") from error
    return check_images(*train), check_images(*test)


def _from_archive(path: Path) -> Pairs:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            buffer, offsets, labels, is_test = (saved[key] for key in ("buf", "offsets", "labels", "is_test"))
        images = np.stack([_picture(buffer[begin:end]) for begin, end in pairwise(offsets)])
        train, test = ((images[chosen], labels[chosen]) for chosen in (~is_test.astype(bool), is_test.astype(bool)))
    except Exception as error:  # NumPy, zipfile and Pillow raise a dozen kinds for a broken file
        raise InputError(
            f"{path} cannot be read ({error}): expected an .npz of {SHAPE} JPEGs with buf, offsets, labels and is_test; check the path"
        ) from error
    return check_images(*train, name=f"{path}, training set"), check_images(*test, name=f"{path}, test set")


def _picture(data: np.ndarray) -> np.ndarray:
    picture = np.asarray(Image.open(io.BytesIO(data.tobytes()), formats=["JPEG"]))
    if picture.shape != SHAPE:
        raise ValueError(f"a picture of shape {picture.shape}")
    return picture
