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

    docs/data-files.md says which layouts are understood, and what is refused. Nothing in the data is run or followed elsewhere: no pickle,
    no link, no external or virtual HDF5 storage, no playlist in the place of a video. Where a sample is wanted, no other image is decoded
    or kept.

    Args:
        path: the file or folder; it may be a link to one.
        subset: which set to take where there are two; where it is missing, the only set there is.
        image_shape: (H, W, C), for clips (T, H, W, C), None for any size. Pictures and videos in a folder are brought to it; what lies
            in a file must have it.
        one_class: whether all images may have the same label, as triggered ones have.
        count: read this many, chosen by the seed, the same as `sample` chooses; those of them that cannot be read are left out.
        at_most: the same, but all of a set that has fewer.
        seed: of the choice.

    Returns:
        The images, checked by `check_images`, which subset they are, and what was left out.

    Raises:
        InputError: the path, the format or the content is not as described, or more are wanted than there are.
    """
    if subset not in ("test", "train"):
        raise InputError(f"subset {subset!r}: expected 'test' or 'train'; choose one of them")
    path = Path(path)
    with _source(path, image_shape, one_class) as find:
        found = find(subset)
        rows = _drawn(path, found, np.arange(found.number), _Sample(count, at_most, seed), image_shape, one_class)
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

    Where the source has one set only, a fifth of it, chosen by the seed, becomes the test set.

    Args:
        path: as `read` takes it.
        seed: of the fifth, and of the sample.
        image_shape: as `read` takes it.
        count, at_most: of the training images, as `read` takes them.
        test_at_most: the same of the test images.

    Raises:
        InputError: as `read`; or too few images to set some aside.
    """
    path, sample, test_sample = Path(path), _Sample(count, at_most, seed), _Sample(None, test_at_most, seed)
    with _source(path, image_shape, one_class=False) as find:
        train, test = find("train"), find("test")
        if train.subset == test.subset:
            return _parts(path, train, (sample, test_sample), image_shape)
        rows = _drawn(path, train, np.arange(train.number), sample, image_shape)
        test_rows = _drawn(path, test, np.arange(test.number), test_sample, image_shape)
        searched, measured = train.load(rows), test.load(test_rows)
    first = _checked(path, train, searched, image_shape, rows is not None)
    return first, _checked(path, test, measured, image_shape, test_rows is not None)


@dataclass(frozen=True)
class _Sample:
    """The number of images to draw, as `read` takes it, and the seed."""

    count: int | None
    at_most: int | None
    seed: int


def _drawn(
    path: Path, found: Found, rows: np.ndarray, sample: _Sample, image_shape: ImageShape | None, one_class: bool = False
) -> np.ndarray | None:
    """Draw from these rows of a set; None stands for all.

    The labels of the whole set are checked: a sample of them may look like one class.
    """
    count = sample.count if sample.at_most is None else min(sample.at_most, len(rows))
    if count is None or count == len(rows) == found.number:
        return None
    unit = _unit(image_shape)
    _check_names(path, found, check_labels(found.labels, str(path), unit, one_class=one_class))
    return rows[sample_rows(len(rows), count, sample.seed, unit)]


def _parts(
    path: Path, found: Found, samples: tuple[_Sample, _Sample], image_shape: ImageShape | None
) -> tuple[LabelledImages, LabelledImages]:
    """Read four fifths of the only set and the other fifth, or samples."""
    try:
        parts = list(map(np.sort, train_test_split(np.arange(found.number), test_size=0.2, random_state=samples[0].seed)))
    except ValueError as error:
        count = f"{found.number} {_unit(image_shape).many}"
        raise InputError(f"{path}: {count}: expected enough to set a fifth aside for measuring; give more") from error
    drawn = [_drawn(path, found, part, sample, image_shape) for part, sample in zip(parts, samples, strict=True)]
    sampled = any(rows is not None for rows in drawn)
    wanted = [part if rows is None else rows for part, rows in zip(parts, drawn, strict=True)]
    loaded = found.load(np.union1d(*wanted) if sampled else None)
    both = _checked(path, found, loaded, image_shape, sampled)
    first, second = (
        _of(both.take(np.flatnonzero(np.isin(loaded.rows, rows))), len(part)) for rows, part in zip(wanted, parts, strict=True)
    )
    return first, replace(second, left_out=())  # said once


def _checked(path: Path, found: Found, loaded: Loaded, image_shape: ImageShape | None, one_class: bool) -> LabelledImages:
    images, labels = check_images(loaded.images, loaded.labels, image_shape=image_shape, name=str(path), one_class=one_class)
    _check_names(path, found, labels)
    names = found.class_names
    read = LabelledImages(images, labels, names and tuple(map(printable, names)), found.subset, loaded.left_out)
    return _of(read, found.number)


def _of(data: LabelledImages, number: int) -> LabelledImages:
    """Return the images with the number that their set has."""
    return replace(data, available=None if len(data.images) == number else number)


def _check_names(path: Path, found: Found, labels: np.ndarray) -> None:
    names = found.class_names
    if names and labels.max() >= len(names):
        raise InputError(
            f"{path}: label {labels.max()}, and the names of {len(names)} classes: expected a name for each label; correct `classes`"
        )


@contextmanager
def _source(path: Path, image_shape: ImageShape | None, one_class: bool) -> Iterator[Find]:
    """Open the data; what it yields finds one set.

    Damage that shows meanwhile is named.
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
    suffix, clips_wanted = path.suffix.lower(), unit is Unit.CLIP
    folder = "the folder of UCF-101" if clips_wanted else "a folder with one sub-folder a class"
    if not path.exists():
        raise InputError(f"{path} does not exist: expected an .h5 or .npz file, or {folder}; check the path")
    check_plain(path)
    if path.is_dir() and (split_folder(path) or clips_wanted):
        from nc_tf.datasets.ucf101 import dataset as ucf101  # with TensorFlow, which nothing else here needs

        clips = ucf101.load_archive(path, ucf101.fitting(image_shape, str(path)), one_class=one_class)
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
    """Return the text in `classes`; None where something else is called so."""
    names, load = arrays
    try:
        classes = load("classes") if "classes" in names else np.empty(0)
    except InputError:
        return None
    return tuple(map(str, classes)) if classes.ndim == 1 and classes.dtype.kind == "U" else None


def _unit(image_shape: ImageShape | None) -> Unit:
    return Unit.of(image_shape or ())
