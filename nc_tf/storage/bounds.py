"""Checks of a file before it is read: it is a plain file, its arrays fit into memory, and it is no bomb."""

import os
import stat
from math import prod
from pathlib import Path

import numpy as np

from nc_tf.errors import InputError
from nc_tf.results import Unit

# Arrays that are larger when unpacked are refused: a file of a few kilobytes can declare terabytes. All of GTSRB takes 0.15 GiB.
MEMORY_BOUND = 32 * 2**30

# NumPy's kinds of type: truth values, whole numbers with and without sign, floats; and text.
NUMBERS, TEXT = "buif", "U"

# Photographs pack to a half, MNIST to a tenth, one-hot labels in the order of their classes to a thousandth. The ratio is not checked
# below `FREE_BYTES`: such an array fits into memory, and small arrays of labels, masks and flat colours often pack better. Text becomes
# Python objects, which take ten times the space.
MOST_TIMES = 100
FREE_BYTES = {**dict.fromkeys(NUMBERS, 2**28), TEXT: 2**24}


def check_plain(path: str | Path) -> None:
    """Refuse a path whose reading may never end.

    Folders and links to files pass.

    Raises:
        InputError: the path is a pipe, a device or a socket.
        OSError: nothing is there.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path} is a pipe or a device: expected a plain file; copy the content into one")


def check_size(shape: tuple[int, ...], dtype: np.dtype, name: str, kinds: str = NUMBERS) -> None:
    """Refuse an array by its header, before memory is spent on it.

    Args:
        shape: of the array, as the file declares it.
        dtype: of the array, likewise.
        name: of the array, for error messages.
        kinds: letters of the accepted kinds of type, as NumPy has them.

    Raises:
        InputError: the array holds Python objects (unpickling them can run code) or another kind, or exceeds `MEMORY_BOUND`.
    """
    if dtype.hasobject:
        raise InputError(
            f"{name} holds objects or strings, and unpickling objects can run code: expected an array of numbers; save it as one"
        )
    if dtype.kind not in kinds:
        expected = "text" if kinds == TEXT else "numbers"
        raise InputError(f"{name} has type {dtype}: expected an array of {expected}; save it as one")
    size = prod(shape) * max(dtype.itemsize, 1)  # empty text takes no bytes, but still time for each element
    if size > MEMORY_BOUND:
        raise InputError(
            f"{name} declares shape {tuple(shape)}, {size / 2**30:,.0f} GiB: "
            f"expected at most {MEMORY_BOUND / 2**30:,.0f} GiB; check the file, or save fewer {Unit.of(shape[1:]).many}"
        )


def check_packed(unpacked: int, stored: int, name: str, kind: str = "u") -> None:
    """Refuse a bomb, content that takes far more memory than disk.

    Args:
        unpacked: bytes in memory.
        stored: bytes on the disk.
        name: of the content, for error messages.
        kind: letter of its kind of type, as NumPy has it.

    Raises:
        InputError: the content takes more than `FREE_BYTES` plus `MOST_TIMES` its stored bytes.
    """
    if unpacked > FREE_BYTES[kind] + MOST_TIMES * stored:
        raise InputError(
            f"{name} unpacks {stored:,} bytes to {unpacked:,}, more than {MOST_TIMES} times as many: expected images, which pack less; "
            "if this is no bomb, save it uncompressed"
        )
