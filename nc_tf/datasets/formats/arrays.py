"""Named arrays in an HDF5 file, and the exceptions of readers on damage.

No link is followed, and headers are checked before memory is allocated.
"""

import lzma
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from nc_tf.errors import InputError
from nc_tf.storage.bounds import check_packed, check_plain, check_size
from nc_tf.storage.npz_file import Arrays, Choose

# Exceptions of the readers on damaged files.
DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,
    SyntaxError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tokenize.TokenError,
    struct.error,
    Image.DecompressionBombError,
)

BLOCK = 2**20  # bytes read together of an array without chunks, where some of its rows are read


@contextmanager
def h5_arrays(path: Path) -> Iterator[Arrays]:
    """Open the arrays at the top of an HDF5 file.

    For some rows of an array, only the chunks that hold them are read.

    Raises:
        InputError: a pipe or a device; on reading an array: a link, no array, no numbers, data in other files, or too large.
    """
    check_plain(path)
    with h5py.File(path, "r") as file:

        def load(name: str, choose: Choose | None = None) -> np.ndarray:
            array = h5_dataset(file, name, path)
            check_size(array.shape, array.dtype, f"{name} in {path}")
            check_unpacks(array, name, path)
            rows = choose(array.shape[0]) if choose and array.shape else None
            return array[()] if rows is None else _rows(array, rows)

        yield list(file.keys()), load


def h5_dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """Return an array of an open HDF5 file, unread and unchecked.

    Raises:
        InputError: a link, no array, or data in other files; the message names the file by `path`.
    """
    # The link itself is inspected: to open a soft or external one would already read another place of the disk.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{name} in {path} is a link to another place: expected the data itself; save a copy without links")
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.shape is None:
        raise InputError(f"{name} in {path} is not an array: expected an array of numbers; save it as one")
    if array.is_virtual or array.external:
        raise InputError(f"{name} in {path} keeps its data in other files: expected the data itself; save a copy in one file")
    return array


def check_unpacks(array: h5py.Dataset, name: str, path: Path) -> None:
    """Refuse an array far larger than its bytes in the file.

    Raises:
        InputError: see `check_packed`; the message names the file by `path`.
    """
    stored = min(array.id.get_storage_size(), path.stat().st_size)
    chunk = prod(array.chunks or ()) * array.dtype.itemsize
    check_packed(max(array.nbytes, chunk), stored, f"{name} in {path}")


def _rows(array: h5py.Dataset, rows: np.ndarray) -> np.ndarray:
    """Return rows, read block by block.

    HDF5 is slow at rows that are no neighbours.
    """
    found = np.empty((len(rows), *array.shape[1:]), array.dtype)
    row_bytes = max(1, prod(array.shape[1:]) * array.dtype.itemsize)
    step = array.chunks[0] if array.chunks else max(1, BLOCK // row_bytes)
    block = rows // step
    for start in np.unique(block):
        here = np.flatnonzero(block == start)
        first = rows[here[0]]
        found[here] = array[first : rows[here[-1]] + 1][rows[here] - first]
    return found
