"""The one reader of `.npz` files, which may be a stranger's: nothing is unpickled, and headers are read before memory is spent."""

import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, Protocol

import numpy as np

from nc_tf.errors import InputError
from nc_tf.storage.bounds import NUMBERS, TEXT, check_packed, check_plain, check_size

# From the number of rows in the file to the wanted ones, ascending; None for all.
Choose = Callable[[int], np.ndarray | None]

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LOCAL_HEADER = 30  # bytes of a zip member before its name


class Load(Protocol):
    """A function that reads one array by its name, as a whole or some of its rows."""

    def __call__(self, name: str, choose: Choose | None = None) -> np.ndarray:
        """Return the array, or its chosen rows."""


Arrays = tuple[list[str], Load]  # the names in a file, and how to read one


@contextmanager
def npz_arrays(path: Path, text: tuple[str, ...] = (), kinds: str = NUMBERS) -> Iterator[Arrays]:
    """Yield the names of the arrays, and a function that reads one.

    Where rows are wanted, other rows of an uncompressed array are not read, and those of a compressed one are not kept.

    Args:
        path: the file.
        text: names of arrays that hold text.
        kinds: letters of the kinds of type, as NumPy has them, that the others may hold.

    Yields:
        The names, and the function.

    Raises:
        InputError: the path is a pipe or a device. On reading an array: its content is of another kind or too large, or the arrays read
            so far unpack to more than the file can honestly hold.
    """
    check_plain(path)
    file_bytes, unpacked, stored = path.stat().st_size, 0, 0
    with zipfile.ZipFile(path) as archive:

        def load(name: str, choose: Choose | None = None) -> np.ndarray:
            nonlocal unpacked, stored
            info, allowed = archive.getinfo(f"{name}.npy"), TEXT if name in text else kinds
            unpacked, stored = unpacked + info.file_size, stored + info.compress_size  # summed, because members may share their bytes
            check_packed(unpacked, min(stored, file_bytes), f"{name} in {path}", allowed[0])
            with archive.open(info) as member:
                shape, by_columns, dtype = _header(member, f"{name} in {path}")
            check_size(shape, dtype, f"{name} in {path}", allowed)
            if prod(shape) * dtype.itemsize > info.file_size:
                raise ValueError(f"{name} is cut short")
            rows = choose(shape[0]) if choose and shape else None
            if rows is None or by_columns:
                with archive.open(info) as member:
                    array = np.lib.format.read_array(member, allow_pickle=False)
                return array if rows is None else array[rows]
            with _seekable(path, archive, info) as file:
                _header(file, name)
                return read_rows(file, shape, dtype, rows)

        yield [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")], load


def read_rows(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype, rows: np.ndarray) -> np.ndarray:
    """Return rows of an array that begins at the position of the file.

    Args:
        file: skipped content is not kept.
        shape: of the whole array.
        dtype: of the whole array.
        rows: (n,), ascending.

    Returns:
        The rows, (n, ...).

    Raises:
        EOFError: the file ends before the last row does.
    """
    array = np.empty((len(rows), *shape[1:]), dtype)
    size, place = prod(shape[1:]) * dtype.itemsize, 0
    for number, row in enumerate(rows.tolist()):
        if row > place:
            file.seek((row - place) * size, 1)
        content = file.read(size)
        if len(content) < size:
            raise EOFError(f"the file ends within row {row}")
        array[number] = np.frombuffer(content, dtype).reshape(shape[1:])
        place = row + 1
    return array


def _header(member: IO[bytes], name: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order of columns and type; np.load would allocate what they declare."""
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
        raise InputError(f"{name} is a table with named columns: expected an array of numbers; save it as one")
    shape, by_columns, dtype = _HEADERS[version](member)
    return shape, by_columns, dtype


@contextmanager
def _seekable(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """Yield a member as a file in which parts can be skipped.

    Skipped parts of an uncompressed member are not read, so its checksum is not verified.
    """
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        with archive.open(info) as member:
            yield member
        return
    with open(path, "rb") as file:
        file.seek(info.header_offset)
        header = file.read(_LOCAL_HEADER)
        file.seek(sum(struct.unpack("<HH", header[-4:])), 1)  # the name and what else may follow it
        yield file
