"""Named arrays in an `.npz` file, from whomever: nothing is unpickled, and headers are read before memory is spent."""

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

Choose = Callable[[int], np.ndarray | None]  # from how many rows there are to those wanted, ascending; None for all

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_LOCAL_HEADER = 30  # bytes of a zip member before its name


class Load(Protocol):
    """Reads one array by its name: the whole of it, or rows."""

    def __call__(self, name: str, choose: Choose | None = None) -> np.ndarray: ...


Arrays = tuple[list[str], Load]  # the names in a file, and how to read one


@contextmanager
def npz_arrays(path: Path, text: tuple[str, ...] = (), kinds: str = NUMBERS) -> Iterator[Arrays]:
    """Open the arrays of an `.npz` file.

    Where rows are wanted, nothing else is read of an uncompressed array, and nothing else is kept of a compressed one.

    Args:
        path: the file.
        text: names of arrays that hold text.
        kinds: the letters of NumPy's kinds of type that the others may hold.

    Raises:
        InputError: a pipe or a device; on reading an array: other content, one that is too large, or together more than the file can
            honestly hold.
    """
    check_plain(path)
    file_bytes, unpacked, stored = path.stat().st_size, 0, 0
    with zipfile.ZipFile(path) as archive:

        def load(name: str, choose: Choose | None = None) -> np.ndarray:
            nonlocal unpacked, stored
            info, allowed = archive.getinfo(f"{name}.npy"), TEXT if name in text else kinds
            unpacked, stored = unpacked + info.file_size, stored + info.compress_size  # over all: members may share their bytes
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
    """Read rows of an array, which begins where the file stands.

    Args:
        file: what is skipped is not kept.
        shape: of the whole array.
        dtype: of the whole array.
        rows: (n,), ascending.

    Raises:
        EOFError: the file ends before.
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
    """Read shape, order of columns and type; np.load would allocate at once what they declare."""
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
        raise InputError(f"{name} is a table with named columns: expected an array of numbers; save it as one")
    shape, by_columns, dtype = _HEADERS[version](member)
    return shape, by_columns, dtype


@contextmanager
def _seekable(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[IO[bytes]]:
    """Open a member so that parts can be skipped.

    The skipped parts of an uncompressed member are not read, so its checksum is not asked.
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
