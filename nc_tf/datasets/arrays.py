"""Named arrays in a file, HDF5 or `.npz`: nothing is unpickled, no link is followed, and headers are read before memory is spent."""

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
from PIL import Image

from nc_tf.datasets.checks import NUMBERS, check_size
from nc_tf.errors import InputError

Arrays = tuple[list[str], Callable[[str], np.ndarray]]  # the names in a file, and how to read one

# What the readers raise on damaged files; those of the second line derive from Exception directly.
DAMAGE = (
    OSError, ValueError, EOFError, KeyError, RuntimeError, SyntaxError,
    zlib.error, lzma.LZMAError, zipfile.BadZipFile, tokenize.TokenError, Image.DecompressionBombError,
)


@contextmanager
def h5_arrays(path: Path) -> Iterator[Arrays]:
    """The arrays at the top of an HDF5 file.

    Raises:
        InputError: on reading one that is a link, no array, no numbers, kept in other files, or too large.
    """
    with h5py.File(path, "r") as file:

        def load(name: str) -> np.ndarray:
            array = h5_dataset(file, name, path)
            check_size(array.shape, array.dtype, f"{name} in {path}")
            return array[()]

        yield list(file.keys()), load


def h5_dataset(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """One array of an open HDF5 file, not yet read; its size and type are still to be asked.

    Raises:
        InputError: a link, no array, or kept in other files; `path` is what the message calls the file.
    """
    # Asked about the link itself: opening a soft or external one would already read another place of the disk.
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise InputError(f"{name} in {path} is a link to another place: expected the data itself; save a copy without links")
    array = file[name]
    if not isinstance(array, h5py.Dataset) or array.shape is None:
        raise InputError(f"{name} in {path} is not an array: expected an array of numbers; save it as one")
    if array.is_virtual or array.external:
        raise InputError(f"{name} in {path} keeps its data in other files: expected the data itself; save a copy in one file")
    return array


@contextmanager
def npz_arrays(path: Path, text: tuple[str, ...] = ()) -> Iterator[Arrays]:
    """The arrays in an `.npz` file; those named in `text` may be text.

    Raises:
        InputError: on reading one with other content, or one that is too large.
    """
    # Not np.load: it allocates what a header declares before anybody can ask how much that is.
    headers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with zipfile.ZipFile(path) as archive:

        def load(name: str) -> np.ndarray:
            with archive.open(f"{name}.npy") as member:
                version = np.lib.format.read_magic(member)
                if version not in headers:
                    raise InputError(f"{name} in {path} is a table with named columns: expected an array of numbers; save it as one")
                shape, _, dtype = headers[version](member)
            check_size(shape, dtype, f"{name} in {path}", "U" if name in text else NUMBERS)
            with archive.open(f"{name}.npy") as member:
                return np.lib.format.read_array(member, allow_pickle=False)

        yield [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")], load
