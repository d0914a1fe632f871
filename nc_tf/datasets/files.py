"""Labelled images from a file or a folder: the DATA argument of every command."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image
from sklearn.model_selection import train_test_split

from nc_tf.datasets import jpegs
from nc_tf.datasets.arrays import DAMAGE, Arrays, h5_arrays, npz_arrays
from nc_tf.datasets.checks import LARGEST_PICTURE, check_images, check_size
from nc_tf.datasets.jpegs import Found
from nc_tf.datasets.splits import split_folder
from nc_tf.errors import InputError
from nc_tf.results import Unit

__all__ = ["LabelledImages", "check_images", "read"]

Subset = Literal["test", "train"]
ImageShape = tuple[int | None, ...]

# (images, labels) of the two subsets, then of files that hold one set only. X_test is the original's spelling, x_test that of Keras.
PAIRS: dict[str, tuple[tuple[str, str], ...]] = {
    "test": (("X_test", "Y_test"), ("x_test", "y_test")),
    "train": (("X_train", "Y_train"), ("x_train", "y_train")),
    "only": (("x", "y"), ("data", "label")),
}
CHANNELS_FIRST = ("data",)  # the poisoned YouTube Face files: (N, C, H, W)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".bmp")
IMAGE_FORMATS = ("PNG", "JPEG", "PPM", "BMP")  # by content: a suffix may lie, and Pillow has decoders that no data set needs

# Pillow's bilinear widens its kernel when shrinking, so every pixel of the frame counts and nothing aliases; unlike bicubic and
# Lanczos it never overshoots, so it draws no halo round the edge of a sign that a trigger search could lean on.
RESIZE_FILTER = Image.Resampling.BILINEAR


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their true classes.

    Attributes:
        images: (N, H, W, C), for clips (N, T, H, W, C); uint8 or float32, raw pixels in [0, 255].
        labels: (N,) int64, class numbers from 0.
        class_names: the name of each class by its number, or None where the source has numbers only.
        subset: which set this is: "test", "train", or "only" where the source makes no such distinction.
        label_order: how the labels came from the source's class numbers, one of `label_order.LABEL_ORDERS`.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] | None = None
    subset: Literal["test", "train", "only"] = "only"
    label_order: str = "number"

    def sample(self, count: int | None, seed: int) -> "LabelledImages":
        """`count` of the images, chosen by the seed, in their own order; all of them with None.

        Raises:
            InputError: more are wanted than there are, or fewer than one.
        """
        if count is None:
            return self
        if not 1 <= count <= len(self.images):
            wanted = f"{count} {Unit.of(self.images.shape[1:]).many} wanted"
            raise InputError(f"{wanted}: expected 1 to {len(self.images)}, what the data holds; choose fewer, or leave it out")
        return self.take(np.random.default_rng(seed).permutation(len(self.images))[:count])

    def take(self, rows: np.ndarray) -> "LabelledImages":
        """The images at these rows, in their own order."""
        rows = np.sort(rows)
        return replace(self, images=self.images[rows], labels=self.labels[rows])


def read_both(path: str | Path, *, seed: int, image_shape: ImageShape | None = None) -> tuple[LabelledImages, LabelledImages]:
    """A training and a test set; where the source has one set only, a fifth of it, chosen by the seed, becomes the test set.

    Raises:
        InputError: as `read`; or too few images to set some aside.
    """
    train, test = _read(Path(path), ("train", "test"), image_shape)
    if train.subset != test.subset:
        return train, test
    try:
        kept, aside = train_test_split(np.arange(len(train.images)), test_size=0.2, random_state=seed)
    except ValueError as error:
        count = f"{len(train.images)} {Unit.of(train.images.shape[1:]).many}"
        raise InputError(f"{path}: {count}: expected enough to set a fifth aside for measuring; give more") from error
    return train.take(kept), train.take(aside)


def read(
    path: str | Path, *, subset: Subset = "test", image_shape: ImageShape | None = None, one_class: bool = False
) -> LabelledImages:
    """Read labelled images from an `.h5`/`.hdf5` file, an `.npz` file, a folder with one sub-folder a class, or a folder of UCF-101.

    docs/data-files.md says which names and layouts are understood and what is refused. Nothing in the data is run or followed
    elsewhere: no pickle, no HDF5 link, no external or virtual HDF5 storage, no playlist in the place of a video.

    Args:
        path: the file or folder.
        subset: which set to take where there are two; where it is missing, the only set there is.
        image_shape: (H, W, C), for clips (T, H, W, C), None for any size. Pictures and videos in a folder are brought to it; what lies
            in a file must have it.
        one_class: whether all images may have the same label, as triggered ones have.

    Returns:
        The images, checked by `check_images`, and which subset they are.

    Raises:
        InputError: the path, the format or the content is not as described; the message names what was found.
    """
    if subset not in ("test", "train"):
        raise InputError(f"subset {subset!r}: expected 'test' or 'train'; choose one of them")
    return _read(Path(path), (subset,), image_shape, one_class)[0]


def _read(path: Path, subsets: Sequence[Subset], image_shape: ImageShape | None, one_class: bool = False) -> list[LabelledImages]:
    try:
        with _source(path, image_shape, one_class) as find:
            sets = [find(subset) for subset in subsets]
    except InputError:
        raise
    except MemoryError as error:
        many = Unit.of(image_shape or ()).many
        raise InputError(f"{path} does not fit into memory: expected fewer or smaller {many}; save a part of them") from error
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path} cannot be read ({reason}): expected a whole file of its kind; copy or download it again") from error
    checked = []
    for images, labels, names, found in sets:
        images, labels = check_images(images, labels, image_shape=image_shape, name=str(path), one_class=one_class)
        if names and labels.max() >= len(names):
            raise InputError(
                f"{path}: label {labels.max()}, and the names of {len(names)} classes: expected a name for each label; correct `classes`"
            )
        checked.append(LabelledImages(images, labels, names and tuple(map(_printable, names)), found))
    return checked


@contextmanager
def _source(path: Path, image_shape: ImageShape | None, one_class: bool) -> Iterator[Callable[[Subset], Found]]:
    """Open whatever lies at `path`; what it yields reads one subset."""
    suffix, clips_wanted = path.suffix.lower(), image_shape is not None and Unit.of(image_shape) is Unit.CLIP
    folder = "the folder of UCF-101" if clips_wanted else "a folder with one sub-folder a class"
    if path.is_dir() and (split_folder(path) or clips_wanted):
        from nc_tf.datasets import ucf101  # with TensorFlow, which nothing else here needs

        clips = ucf101.load_archive(path, ucf101.fitting(image_shape, str(path)), one_class=one_class)
        yield partial(clips.subset, name=str(path))
    elif path.is_dir():
        yield lambda subset: _read_folder(path, subset, image_shape)
    elif not path.exists():
        raise InputError(f"{path} does not exist: expected an .h5 or .npz file, or {folder}; check the path")
    elif suffix in (".h5", ".hdf5"):
        with h5_arrays(path) as arrays:
            yield partial(_read_pair, path, arrays, None)
    elif suffix == ".npz":
        with npz_arrays(path, text=jpegs.TEXT) as arrays:
            if jpegs.KEYS.issubset(arrays[0]):
                yield partial(jpegs.unpack(arrays, str(path)).subset, name=str(path))
            else:
                yield partial(_read_pair, path, arrays, _class_names(arrays))
    else:
        raise InputError(
            f"{path} ends in {path.suffix or 'no suffix'!r}: expected .h5, .hdf5, .npz, or {folder}; "
            f"save the {Unit.of(image_shape or ()).many} in one of these"
        )


def _class_names(arrays: Arrays) -> tuple[str, ...] | None:
    """Those in `classes`; what else may be called so is no concern of ours."""
    names, load = arrays
    try:
        classes = load("classes") if "classes" in names else np.empty(0)
    except InputError:
        return None
    return tuple(map(str, classes)) if classes.ndim == 1 and classes.dtype.kind == "U" else None


def _printable(name: str) -> str:
    """As it is, unless it could write over what stands on a terminal, or add lines to a file: it is a stranger's."""
    return name if name.isprintable() else ascii(name)


def _read_pair(path: Path, arrays: Arrays, class_names: tuple[str, ...] | None, subset: Subset) -> Found:
    names, load = arrays
    images_name, labels_name, found = find_pair(path, names, subset)
    images, labels = load(images_name), load(labels_name)
    if images_name in CHANNELS_FIRST and images.ndim == 4:
        images = images.transpose(0, 2, 3, 1)
    return images, labels, class_names, found


def find_pair(path: Path, names: Sequence[str], subset: Subset) -> tuple[str, str, Literal["test", "train", "only"]]:
    """The names of the images and of the labels among those in a file, and which set they are.

    Raises:
        InputError: none of the pairs that are understood is there.
    """
    order: tuple[Literal["test", "train", "only"], ...] = (subset, "only", "train" if subset == "test" else "test")
    for found in order:
        for images_name, labels_name in PAIRS[found]:
            if images_name in names and labels_name in names:
                return images_name, labels_name, found
    raise InputError(
        f"{path} holds {', '.join(sorted(names)[:10]) or 'no arrays'}: expected X_test and Y_test, X_train and Y_train, x and y, "
        "or data and label; rename the arrays"
    )


def _read_folder(path: Path, subset: Subset, image_shape: ImageShape | None) -> Found:
    found: Literal["test", "train", "only"] = "only"
    folders = _subfolders(path)
    if folders and {folder.name for folder in folders} <= {"test", "train"}:
        found = subset if (path / subset).is_dir() else "train" if subset == "test" else "test"
        folders = _subfolders(path / found)
    if not folders:
        raise InputError(f"{path} has no sub-folders: expected one a class, with its pictures; sort the pictures into folders")
    numbered = all(folder.name.isdecimal() for folder in folders)
    folders.sort(key=(lambda folder: int(folder.name)) if numbered else (lambda folder: folder.name))
    pictures = [
        (file, int(folder.name) if numbered else number)
        for number, folder in enumerate(folders)
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
    ]
    if not pictures:
        raise InputError(
            f"{path} has sub-folders without pictures: expected {' '.join(IMAGE_SUFFIXES)} files in them; convert the pictures"
        )
    images = _read_pictures(path, [file for file, _ in pictures], image_shape)
    names = None if numbered else tuple(folder.name for folder in folders)
    return images, np.array([label for _, label in pictures]), names, found


def _subfolders(path: Path) -> list[Path]:
    return [folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]


def _read_pictures(path: Path, files: list[Path], image_shape: ImageShape | None) -> np.ndarray:
    """Decode pictures into one (N, H, W, C) uint8 array: headers first, so that nothing is decoded that will not fit."""
    height, width, channels = image_shape or (None, None, None)
    if channels not in (None, 1, 3):
        raise InputError(f"{path} is a folder of pictures, the model wants {channels} channels: expected 1 or 3; save an .npz file")
    headers = [_header(file) for file in files]
    if height is None or width is None:
        first = headers[0][1]
        for file, (_, size) in zip(files, headers, strict=True):
            if size != first:  # and there is no telling which of them to follow
                raise InputError(
                    f"{file} is {size[0]}x{size[1]} pixels, the first picture {first[0]}x{first[1]}: expected one size; resize the pictures"
                )
        width, height = width or first[0], height or first[1]
    gray = all(mode in ("L", "1") for mode, _ in headers)
    mode = "L" if channels == 1 or (channels is None and gray) else "RGB"
    shape = (len(files), height, width, 1 if mode == "L" else 3)
    check_size(shape, np.dtype(np.uint8), str(path))
    images = np.empty(shape, np.uint8)
    for row, file in zip(images, files, strict=True):
        with _opened(file) as picture:
            scaled = picture.convert(mode)
            if scaled.size != (width, height):
                scaled = scaled.resize((width, height), RESIZE_FILTER)
            row[...] = np.asarray(scaled).reshape(row.shape)
    return images


def _header(file: Path) -> tuple[str, tuple[int, int]]:
    """Pillow's mode and (width, height), without decoding a pixel."""
    with _opened(file) as picture:
        return picture.mode, picture.size


@contextmanager
def _opened(file: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(file, formats=IMAGE_FORMATS) as picture:
            if picture.width * picture.height > LARGEST_PICTURE:
                raise InputError(f"{file} has {picture.width}x{picture.height} pixels: expected at most {LARGEST_PICTURE:,}; shrink it")
            if picture.mode.startswith(("I", "F")):
                raise InputError(f"{file} has more than 8 bits a pixel ({picture.mode}): expected 8; convert it")
            yield picture
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            f"{file} is not a readable picture ({type(error).__name__}): expected PNG, JPEG, PPM or BMP; replace it"
        ) from error
