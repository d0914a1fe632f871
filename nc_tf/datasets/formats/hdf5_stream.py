"""A stream of labelled images out of an HDF5 file that is too large for memory, by tensorflow-io."""

from pathlib import Path

import h5py
import tensorflow as tf

from nc_tf.datasets.checks import check_images
from nc_tf.datasets.formats import tfio
from nc_tf.datasets.formats.arrays import DAMAGE, check_unpacks, h5_dataset
from nc_tf.datasets.formats.pairs import CHANNELS_FIRST, find_pair
from nc_tf.datasets.labelled import Subset
from nc_tf.errors import InputError
from nc_tf.storage.bounds import check_plain, check_size

MOST_AXES = 4  # with more axes tensorflow-io 0.37.1 writes past the end of an array of its own, and the process crashes
CHECKED = 64  # images that are checked before the first is returned; a check of the others would read them all


def stream(path: str | Path, *, subset: Subset = "train") -> tf.data.Dataset:
    """Return one set of an HDF5 file as a stream.

    The names and layouts are those of `read.read`.

    Args:
        path: the `.h5` or `.hdf5` file. tensorflow-io refuses a file with float16 or tables, also in other arrays.
        subset: "train" or "test"; if it is missing, the only set there is.

    Returns:
        (image (H, W, C) uint8 or float32, raw [0, 255]; label () int64), one by one, in the order of the file, with a known cardinality;
        clips are refused. `.batch(n)` makes batches that `nc_tf.unlearn` takes in the place of arrays.

    Raises:
        InputError: no tensorflow-io (see `tfio.load`); the file is missing, damaged, or refused as by `read.read`; or `check_images`
            refuses the first images.
    """
    package, path = tfio.load(), Path(path)
    try:
        check_plain(path)
        with h5py.File(path, "r") as file:
            names = find_pair(path, list(file.keys()), subset)[:2]
            arrays = [h5_dataset(file, name, path) for name in names]
            for name, array in zip(names, arrays, strict=True):
                if not 1 <= array.ndim <= MOST_AXES:
                    raise InputError(
                        f"{name} in {path} has shape {array.shape}: expected 1 to {MOST_AXES} axes, tensorflow-io reads no more; "
                        "keep clips as JPEGs (`nc-tf data ucf101`), or use read.read"
                    )
                check_size((CHECKED, *array.shape[1:]), array.dtype, f"the first rows of {name} in {path}")
                check_unpacks(array, name, path)
            number, labels_number = (len(array) for array in arrays)
            first, first_labels = (array[:CHECKED] for array in arrays)
        images, labels = (package.IODataset.from_hdf5(str(path), dataset=f"/{name}") for name in names)
    except InputError:
        raise
    except (*DAMAGE, tf.errors.OpError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be streamed ({reason}): expected a whole HDF5 file of numbers; copy it again") from error
    if number != labels_number:
        raise InputError(f"{path}: {number} images and {labels_number} labels: expected one label an image; check how they were saved")
    transposed = tuple(map(str.casefold, names)) == CHANNELS_FIRST and first.ndim == 4
    checked, _ = check_images(first.transpose(0, 2, 3, 1) if transposed else first, first_labels, name=str(path), one_class=True)
    one_hot = first_labels.ndim == 2 and first_labels.shape[1] > 1

    def tidy(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.transpose(image, (1, 2, 0)) if transposed else image
        label = tf.argmax(label, axis=-1) if one_hot else tf.reshape(label, ())
        return tf.cast(tf.reshape(image, checked.shape[1:]), checked.dtype), tf.cast(label, tf.int64)

    pairs = tf.data.Dataset.zip((images, labels)).map(tidy, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    return pairs.apply(tf.data.experimental.assert_cardinality(number))
