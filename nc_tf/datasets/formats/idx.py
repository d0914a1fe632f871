"""The idx files of MNIST, Fashion-MNIST, KMNIST and EMNIST: images in one, labels in another, plain or as .gz."""

import gzip
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import IO, cast

import numpy as np

from nc_tf.datasets.checks import check_count
from nc_tf.datasets.labelled import Found, FoundSubset, Loaded, Subset
from nc_tf.errors import InputError
from nc_tf.results import Unit
from nc_tf.storage.bounds import check_packed, check_plain, check_size
from nc_tf.storage.npz_file import read_rows

# train-images-idx3-ubyte, t10k-images.idx3-ubyte.gz, emnist-letters-test-images-idx3-ubyte
IMAGES = re.compile(r".*images[-.]idx\d-ubyte(\.gz)?", re.IGNORECASE)
LABELS = re.compile(r".*labels[-.]idx\d-ubyte(\.gz)?", re.IGNORECASE)
UBYTE = 0x08
GZIP = b"\x1f\x8b"


def is_idx(path: Path) -> bool:
    """Tell whether this is an idx file, by its name."""
    return bool(IMAGES.fullmatch(path.name) or LABELS.fullmatch(path.name))


def image_files(folder: Path) -> list[Path]:
    """Return the idx files of images in a folder."""
    return sorted(file for file in folder.iterdir() if IMAGES.fullmatch(file.name) and not file.is_symlink())


def idx_found(path: Path, subset: Subset) -> Found:
    """Find one set of idx files, and read its labels.

    Args:
        path: the folder of the files, or the file of the images, which has its labels beside it.
        subset: the set of a folder to find; if it is missing, the only one there is.

    Raises:
        InputError: files of several data sets, one of the two missing, or one that is no idx file of bytes.
    """
    if path.is_dir():
        images, found = _images_of(path, subset)
    else:
        images, found = path, _set_of(path)
        if LABELS.fullmatch(path.name):
            raise InputError(f"{path} holds labels: expected images; give the file of the images, or the folder of both")
    labels_file = _labels_of(images)
    labels = _read(labels_file, None)
    if labels.ndim != 1:
        raise InputError(f"{labels_file} has shape {labels.shape}: expected (N,), a label for each image; download it again")

    def load(rows: np.ndarray | None) -> Loaded:
        read = _read(images, rows, labels)
        return Loaded(read, labels if rows is None else labels[rows], np.arange(len(labels)) if rows is None else rows)

    return Found(labels, load, None, found)


def _images_of(folder: Path, subset: Subset) -> tuple[Path, FoundSubset]:
    files = {file: _set_of(file) for file in image_files(folder)}
    order: tuple[FoundSubset, ...] = (subset, "only", "train" if subset == "test" else "test")
    found = next(which for which in order if which in files.values())
    first, *more = [file for file, which in files.items() if which == found]
    if more:
        raise InputError(f"{folder} holds {first.name} and {more[0].name}: expected one data set; give one of the files as DATA")
    return first, found


def _set_of(file: Path) -> FoundSubset:
    name = file.name.casefold()
    return "train" if "train" in name else "test" if "t10k" in name or "test" in name else "only"


def _labels_of(images: Path) -> Path:
    stem = f"{images.name[: images.name.casefold().rindex('images')]}labels"
    for dot in ("-", "."):
        for packed in ("", ".gz"):
            file = images.with_name(f"{stem}{dot}idx1-ubyte{packed}")
            if file.exists():
                return file
    raise InputError(f"{images} holds images: expected their labels beside them, in {stem}-idx1-ubyte; put both there")


def _read(path: Path, rows: np.ndarray | None, labels: np.ndarray | None = None) -> np.ndarray:
    with _opened(path) as file:
        zeros, kind, axes = struct.unpack(">HBB", file.read(4))
        if zeros or not 1 <= axes <= 4:
            raise InputError(f"{path} begins with no idx header: expected a file such as train-images-idx3-ubyte; download it again")
        if kind != UBYTE:
            raise InputError(f"{path} holds numbers of type {kind:#x}: expected bytes (0x8); save it as .npz")
        shape = struct.unpack(f">{axes}I", file.read(4 * axes))
        check_size(shape, np.dtype(np.uint8), str(path))
        check_packed(prod(shape), path.stat().st_size, str(path))
        if labels is not None:
            check_count(shape[0], labels, str(path), Unit.IMAGE)
        return read_rows(file, shape, np.dtype(np.uint8), np.arange(shape[0]) if rows is None else rows)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    check_plain(path)
    with open(path, "rb") as file:
        packed = file.read(2) == GZIP
        file.seek(0)
        if not packed:
            yield file
            return
        with gzip.open(file) as unpacked:
            yield cast(IO[bytes], unpacked)
