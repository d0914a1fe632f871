"""What is asked of a file before it is read: that it is a plain one, that its arrays fit, and that it is no bomb."""

import os
import stat
from math import prod
from pathlib import Path

import numpy as np

from nc_tf.errors import InputError
from nc_tf.results import Unit

# No array that is larger when unpacked is read: a file of a few kilobytes can declare terabytes. All of GTSRB takes 0.15 GiB.
MEMORY_BOUND = 32 * 2**30

NUMBERS, TEXT = "buif", "U"  # NumPy's kinds of type: truth values, whole numbers with and without sign, floats; and text

# Photographs pack to a half, MNIST to a tenth, one-hot labels in the order of their classes to a thousandth. Below the number of bytes
# the ratio does not matter: that much memory is there, and small arrays of labels, masks and flat colours often pack better. Text
# becomes Python objects, which take ten times the space.
MOST_TIMES = 100
FREE_BYTES = {**dict.fromkeys(NUMBERS, 2**28), TEXT: 2**24}


def check_plain(path: str | Path) -> None:
    """Refuse a path whose reading may never end.

    A folder passes, and so does a link to a file.

    Raises:
        InputError: a pipe, a device or a socket.
        OSError: nothing is there.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise InputError(f"{path} is a pipe or a device: expected a plain file; copy the content into one")


def check_size(shape: tuple[int, ...], dtype: np.dtype, name: str, kinds: str = NUMBERS) -> None:
    """Refuse an array by its header, before memory is spent on it.

    Args:
        shape: what the file declares.
        dtype: what the file declares.
        name: what error messages call the array.
        kinds: the letters of NumPy's kinds of type that are let in.

    Raises:
        InputError: Python objects (reading those can run code), another kind, or more bytes than `MEMORY_BOUND`.
    """
    if dtype.hasobject:
        raise InputError(
            f"{name} holds objects or strings, and unpickling objects can run code: expected an array of numbers; save it as one"
        )
    if dtype.kind not in kinds:
        expected = "text" if kinds == TEXT else "numbers"
        raise InputError(f"{name} has type {dtype}: expected an array of {expected}; save it as one")
    size = prod(shape) * max(dtype.itemsize, 1)  # text without a letter takes no bytes, but as much time
    if size > MEMORY_BOUND:
        raise InputError(
            f"{name} declares shape {tuple(shape)}, {size / 2**30:,.0f} GiB: "
            f"expected at most {MEMORY_BOUND / 2**30:,.0f} GiB; check the file, or save fewer {Unit.of(shape[1:]).many}"
        )


def check_packed(unpacked: int, stored: int, name: str, kind: str = "u") -> None:
    """Refuse a bomb: content that takes far more memory than disk.

    Args:
        unpacked: bytes in memory.
        stored: bytes on the disk.
        name: what error messages call it.
        kind: the letter of its kind of type.

    Raises:
        InputError: more than `FREE_BYTES`, and more than `MOST_TIMES` what is stored above them.
    """
    if unpacked > FREE_BYTES[kind] + MOST_TIMES * stored:
        raise InputError(
            f"{name} unpacks {stored:,} bytes to {unpacked:,}, more than {MOST_TIMES} times as many: expected images, which pack less; "
            "if this is no bomb, save it uncompressed"
        )
