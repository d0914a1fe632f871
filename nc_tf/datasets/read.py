"""Labelled images from a file or a folder: the DATA argument of every command."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.model_selection import train_test_split

from nc_tf.datasets.checks import check_images, check_labels
from nc_tf.datasets.formats import cifar_binary, folders, idx, jpegs
from nc_tf.datasets.formats.arrays import DAMAGE, h5_arrays
from nc_tf.datasets.formats.conversions import refuse_other, refuse_pickles
from nc_tf.datasets.formats.pairs import pair_found
from nc_tf.datasets.labelled import Found, ImageShape, LabelledImages, Loaded, Subset, sample_rows
from nc_tf.datasets.ucf101.splits import split_folder
from nc_tf.errors import InputError, printable
from nc_tf.results import Unit
from nc_tf.storage.bounds import check_plain
from nc_tf.storage.npz_file import Arrays, npz_arrays

__all__ = ["LabelledImages", "check_images", "read", "read_both"]

Find = Callable[[Subset], Found]


def read(
    path: str | Path,
    *,
    subset: Subset = "test",
    image_shape: ImageShape | None = None,
    one_class: bool = False,
    count: int | None = None,
    at_most: int | None = None,
    seed: int = 0,
) -> LabelledImages:
    """Read labelled images from a file or a folder.

    docs/reference/data-files.md lists the layouts that are read, and those that are refused. No code in the data is run, and no other
    file is opened: pickles, links, external or virtual HDF5 storage, and playlists are refused. For a random sample no other image is
    decoded.

    Args:
        path: the file or folder; it may be a link to one.
        subset: the set to take of two; if it is missing, the only set there is.
        image_shape: (H, W, C), for clips (T, H, W, C), None for any size. Pictures and videos in a folder are resized to it; arrays in
            a file must have it.
        one_class: whether all images may have the same label, as triggered ones have.
        count: size of the random sample to read, the same as `LabelledImages.sample` draws; unreadable images of it are left out.
        at_most: like `count`, but a set with fewer images is read whole.
        seed: seed of the sample.

    Returns:
        The images, checked by `check_images`, with their subset and the account of files left out.

    Raises:
        InputError: the path, the format or the content is not as described, or `count` exceeds the number of images.
    """
    if subset not in ("test", "train"):
        raise InputError(f"subset {subset!r}: expected 'test' or 'train'; choose one of them")
    path = Path(path)
    with _source(path, image_shape, one_class) as find:
        found = find(subset)
        rows = _sampled_rows(path, found, np.arange(found.number), _Sample(count, at_most, seed), image_shape, one_class)
        loaded = found.load(rows)
    return _checked(path, found, loaded, image_shape, one_class or rows is not None)


def read_both(
    path: str | Path,
    *,
    seed: int,
    image_shape: ImageShape | None = None,
    count: int | None = None,
    at_most: int | None = None,
    test_at_most: int | None = None,
) -> tuple[LabelledImages, LabelledImages]:
    """Read a training and a test set.

    If the source has one set only, a random fifth of it becomes the test set.

    Args:
        path: as `read` takes it.
        seed: seed of the fifth, and of the samples.
        image_shape: as `read` takes it.
        count: size of the sample of training images, as `read` takes it.
        at_most: largest number of training images, as `read` takes it.
        test_at_most: largest number of test images.

    Raises:
        InputError: as `read`; or too few images to set a fifth aside.
    """
    path, sample, test_sample = Path(path), _Sample(count, at_most, seed), _Sample(None, test_at_most, seed)
    with _source(path, image_shape, one_class=False) as find:
        train, test = find("train"), find("test")
        if train.subset == test.subset:
            return _read_split(path, train, (sample, test_sample), image_shape)
        rows = _sampled_rows(path, train, np.arange(train.number), sample, image_shape)
        test_rows = _sampled_rows(path, test, np.arange(test.number), test_sample, image_shape)
        train_images, test_images = train.load(rows), test.load(test_rows)
    first = _checked(path, train, train_images, image_shape, rows is not None)
    return first, _checked(path, test, test_images, image_shape, test_rows is not None)


@dataclass(frozen=True)
class _Sample:
    """The random sample to draw, as `read` takes it."""

    count: int | None
    at_most: int | None
    seed: int


def _sampled_rows(
    path: Path, found: Found, rows: np.ndarray, sample: _Sample, image_shape: ImageShape | None, one_class: bool = False
) -> np.ndarray | None:
    """Return a random sample of rows; None for the whole set.

    The labels of the whole set are checked: a sample of them may have one class only.
    """
    count = sample.count if sample.at_most is None else min(sample.at_most, len(rows))
    if count is None or count == len(rows) == found.number:
        return None
    unit = _unit(image_shape)
    _check_names(path, found, check_labels(found.labels, str(path), unit, one_class=one_class))
    return rows[sample_rows(len(rows), count, sample.seed, unit)]


def _read_split(
    path: Path, found: Found, samples: tuple[_Sample, _Sample], image_shape: ImageShape | None
) -> tuple[LabelledImages, LabelledImages]:
    """Read a random fifth of the only set apart from the rest."""
    try:
        parts = list(map(np.sort, train_test_split(np.arange(found.number), test_size=0.2, random_state=samples[0].seed)))
    except ValueError as error:
        count = f"{found.number} {_unit(image_shape).many}"
        raise InputError(f"{path}: {count}: expected enough to set a fifth aside for measuring; give more") from error
    drawn = [_sampled_rows(path, found, part, sample, image_shape) for part, sample in zip(parts, samples, strict=True)]
    sampled = any(rows is not None for rows in drawn)
    chosen = [part if rows is None else rows for part, rows in zip(parts, drawn, strict=True)]
    loaded = found.load(np.union1d(*chosen) if sampled else None)
    both = _checked(path, found, loaded, image_shape, sampled)
    first, second = (
        _with_available(both.take(np.flatnonzero(np.isin(loaded.rows, rows))), len(part)) for rows, part in zip(chosen, parts, strict=True)
    )
    return first, replace(second, left_out=())  # the account is printed once


def _checked(path: Path, found: Found, loaded: Loaded, image_shape: ImageShape | None, one_class: bool) -> LabelledImages:
    images, labels = check_images(loaded.images, loaded.labels, image_shape=image_shape, name=str(path), one_class=one_class)
    _check_names(path, found, labels)
    names = found.class_names
    read = LabelledImages(images, labels, names and tuple(map(printable, names)), found.subset, loaded.left_out)
    return _with_available(read, found.number)


def _with_available(data: LabelledImages, number: int) -> LabelledImages:
    """Return the images with the number of images of their set."""
    return replace(data, available=None if len(data.images) == number else number)


def _check_names(path: Path, found: Found, labels: np.ndarray) -> None:
    names = found.class_names
    if names and labels.max() >= len(names):
        raise InputError(
            f"{path}: label {labels.max()}, and the names of {len(names)} classes: expected a name for each label; correct `classes`"
        )


@contextmanager
def _source(path: Path, image_shape: ImageShape | None, one_class: bool) -> Iterator[Find]:
    """Open the data, and yield a function that finds one set.

    Damage that shows meanwhile becomes an `InputError`.
    """
    unit = _unit(image_shape)
    try:
        with _opened(path, image_shape, one_class, unit) as find:
            yield find
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f"{path} does not fit into memory: expected fewer or smaller {unit.many}; save a part of them") from error
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}): expected a whole file of its kind; copy or download it again") from error


@contextmanager
def _opened(path: Path, image_shape: ImageShape | None, one_class: bool, unit: Unit) -> Iterator[Find]:
    suffix, for_clips = path.suffix.lower(), unit is Unit.CLIP
    folder = "the folder of UCF-101" if for_clips else "a folder with one sub-folder a class"
    if not path.exists():
        raise InputError(f"{path} does not exist: expected an .h5 or .npz file, or {folder}; check the path")
    check_plain(path)
    if path.is_dir() and (split_folder(path) or for_clips):
        from nc_tf.datasets.ucf101 import dataset as ucf101  # imports TensorFlow, which no other format needs

        clips = ucf101.load_archive(path, ucf101.format_for(image_shape, str(path)), one_class=one_class)
        yield partial(clips.found, name=str(path))
    elif idx.image_files(path) if path.is_dir() else idx.is_idx(path):
        yield partial(idx.idx_found, path)
    elif cifar_binary.batches(path):
        yield partial(cifar_binary.cifar_found, path)
    elif path.is_dir():
        refuse_pickles(path, f".npz or {folder}")
        yield lambda subset: folders.find(path, subset, image_shape, one_class=one_class)
    elif suffix in (".h5", ".hdf5"):
        with h5_arrays(path) as arrays:
            yield partial(pair_found, path, arrays, None)
    elif suffix == ".npz":
        with npz_arrays(path, text=jpegs.TEXT) as arrays:
            if jpegs.KEYS.issubset(arrays[0]):
                yield partial(jpegs.unpack(arrays, str(path)).found, name=str(path))
            else:
                yield partial(pair_found, path, arrays, _class_names(arrays))
    else:
        refuse_other(path, f".h5, .hdf5, .npz, or {folder}", unit.many)


def _class_names(arrays: Arrays) -> tuple[str, ...] | None:
    """Return the class names in `classes`; None without text in it."""
    names, load = arrays
    try:
        classes = load("classes") if "classes" in names else np.empty(0)
    except InputError:
        return None
    return tuple(map(str, classes)) if classes.ndim == 1 and classes.dtype.kind == "U" else None


def _unit(image_shape: ImageShape | None) -> Unit:
    return Unit.of(image_shape or ())
