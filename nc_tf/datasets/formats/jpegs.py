"""Pictures or clips as JPEGs in one `.npz` file, smaller than their pixels, with random access to every row."""

import io
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nc_tf.datasets.checks import LARGEST_PICTURE
from nc_tf.datasets.formats.arrays import DAMAGE, Arrays
from nc_tf.datasets.labelled import Found, LeftOut, Loaded, Subset
from nc_tf.errors import InputError
from nc_tf.results import Unit
from nc_tf.storage.bounds import check_packed, check_size
from nc_tf.storage.files import whole_file

KEYS = {"buf", "offsets", "labels", "is_test"}  # arrays by which such an `.npz` file is recognised
TEXT = ("classes", "names", "settings", "skipped")
CHANNELS = {"RGB": 3, "L": 1}  # by Pillow's mode


@dataclass(frozen=True, eq=False)
class JpegArchive:
    """N pictures, or N clips of T frames, with their classes.

    Attributes:
        buf: (B,) uint8, the bytes of one JPEG after another.
        offsets: (N * T + 1,) int64; frame t of row i is `buf[offsets[i * T + t] : offsets[i * T + t + 1]]`.
        labels: (N,) integers, class numbers from 0.
        is_test: (N,) bool, whether a row is of the test set.
        classes: the name of each class by its number; empty if not known.
        n_frames: (N,) integers, the length of the video that each clip was cut from; None for pictures.
        names: (N,) the file of each row; empty if not known.
        settings: sources and settings of the rows, by which a caller tells whether they are up to date; not interpreted here.
        skipped: one message for each source file that could not be read.
    """

    buf: np.ndarray
    offsets: np.ndarray
    labels: np.ndarray
    is_test: np.ndarray
    classes: tuple[str, ...] = ()
    n_frames: np.ndarray | None = None
    names: tuple[str, ...] = ()
    settings: str = ""
    skipped: tuple[str, ...] = ()

    @property
    def frames(self) -> int:
        """Number of frames a row, T; 1 for pictures."""
        return (len(self.offsets) - 1) // len(self.labels)

    def found(self, subset: Subset, name: str) -> Found:
        """Return one set, not yet decoded; the other if it is empty.

        Args:
            subset: the set.
            name: the name of the archive in error messages, usually a path.

        Raises:
            InputError: on loading: a picture is damaged or unlike the first, or the pictures do not fit into memory.
        """
        of_set = np.flatnonzero(self.is_test == (subset == "test"))
        if not len(of_set):
            of_set, subset = np.arange(len(self.labels)), "train" if subset == "test" else "test"

        def load(rows: np.ndarray | None) -> Loaded:
            rows = np.arange(len(of_set)) if rows is None else rows
            return Loaded(self._decode(of_set[rows], name), self.labels[of_set[rows]], rows, self._left_out())

        return Found(self.labels[of_set], load, self.classes or None, subset)

    def _left_out(self) -> tuple[str, ...]:
        left_out, unit = LeftOut(), Unit.IMAGE if self.n_frames is None else Unit.CLIP
        if self.skipped:
            why = "that could not be read when the file was made"
            left_out.add(f"{unit} {why}", f"{unit.many} {why}", count=len(self.skipped))
        return left_out.phrases()

    def _decode(self, rows: np.ndarray, name: str) -> np.ndarray:
        pictures = (rows[:, None] * self.frames + np.arange(self.frames)).reshape(-1)
        first = self._picture(pictures[0], name)
        shape = (len(rows), *([] if self.n_frames is None else [self.frames]), first.height, first.width, CHANNELS[first.mode])
        check_size(shape, np.dtype(np.uint8), name)
        check_packed(prod(shape), int((self.offsets[pictures + 1] - self.offsets[pictures]).sum()), name)
        images = np.empty((len(pictures), *shape[-3:]), np.uint8)
        for image, number in zip(images, pictures, strict=True):
            picture = self._picture(number, name)
            if (picture.size, picture.mode) != (first.size, first.mode):
                raise InputError(
                    f"{name}: JPEG {number} is {picture.width}x{picture.height} pixels ({picture.mode}), JPEG {pictures[0]} "
                    f"{first.width}x{first.height} ({first.mode}): expected one size; make the file again"
                )
            try:
                image[...] = np.asarray(picture).reshape(image.shape)
            except DAMAGE as error:
                raise InputError(f"{name}: JPEG {number} is damaged ({error}): expected whole JPEGs; make the file again") from error
        return images.reshape(shape)

    def _picture(self, number: np.integer, name: str) -> Image.Image:
        """Return one JPEG, opened by its header, without decoding a pixel."""
        try:
            picture = Image.open(io.BytesIO(self.buf[self.offsets[number] : self.offsets[number + 1]].tobytes()), formats=["JPEG"])
        except DAMAGE as error:
            raise InputError(f"{name}: JPEG {number} is no JPEG ({type(error).__name__}): expected JPEGs; make the file again") from error
        if picture.width * picture.height > LARGEST_PICTURE or picture.mode not in CHANNELS:
            raise InputError(
                f"{name}: JPEG {number} has {picture.width}x{picture.height} pixels ({picture.mode}): "
                f"expected RGB or L, and at most {LARGEST_PICTURE:,}; make the file again"
            )
        return picture


def unpack(arrays: Arrays, name: str) -> JpegArchive:
    """Return the archive in the arrays of a file that has `KEYS`.

    No JPEG is decoded.

    Raises:
        InputError: the arrays contradict each other; the message begins with `name`.
    """
    names, load = arrays
    text = {key: tuple(map(str, np.atleast_1d(load(key)))) if key in names else () for key in TEXT}
    archive = JpegArchive(
        load("buf"),
        load("offsets"),
        load("labels"),
        load("is_test"),
        text["classes"],
        load("n_frames") if "n_frames" in names else None,
        text["names"],
        "".join(text["settings"]),
        text["skipped"],
    )
    wrong = _contradiction(archive)
    if wrong:
        raise InputError(f"{name}: {wrong}; make the file again")
    return replace(archive, offsets=archive.offsets.astype(np.int64), is_test=archive.is_test.astype(bool))


def _contradiction(archive: JpegArchive) -> str | None:
    """Return the first fault of the arrays, or None."""
    buf, offsets, labels, n_frames = archive.buf, archive.offsets, archive.labels, archive.n_frames
    if buf.dtype != np.uint8 or buf.ndim != 1:
        return f"buf is {buf.dtype} {buf.shape}: expected uint8 (B,)"
    if offsets.dtype.kind not in "ui" or offsets.ndim != 1:
        return f"offsets is {offsets.dtype} {offsets.shape}: expected whole numbers (N * T + 1,)"
    if labels.ndim != 1 or not len(labels):
        return f"labels has shape {labels.shape}: expected (N,), at least one"
    frames, rest = divmod(len(offsets) - 1, len(labels))
    if rest or frames < 1 or (n_frames is None and frames > 1):
        expected = "N + 1" if n_frames is None else "N * T + 1"
        return f"{len(offsets)} offsets for {len(labels)} labels: expected {expected}"
    if int(offsets[0]) < 0 or int(offsets[-1]) > len(buf) or (offsets[1:] < offsets[:-1]).any():
        return f"offsets between {min(offsets)} and {max(offsets)}: expected ascending ones from 0 to {len(buf)}, the length of buf"
    for key, array, kinds in (("labels", labels, "ui"), ("is_test", archive.is_test, "bui"), ("n_frames", n_frames, "ui")):
        if array is not None and array.shape != labels.shape:
            return f"{key} has shape {array.shape}: expected {labels.shape}, one for each label"
        if array is not None and array.dtype.kind not in kinds:
            return f"{key} is {array.dtype}: expected {'true or false' if 'b' in kinds else 'whole numbers'}"
    if archive.classes and labels.max() >= len(archive.classes):
        return f"label {labels.max()}, and the names of {len(archive.classes)} classes: expected a name for each label"
    return None


def save(path: Path, archive: JpegArchive) -> None:
    """Write an archive, whole or not at all.

    Raises:
        InputError: the file cannot be written.
    """
    arrays: dict[str, Any] = {
        **{key: getattr(archive, key) for key in ("buf", "offsets", "labels", "is_test")},
        **{key: np.array(getattr(archive, key), dtype=str) for key in TEXT},
        **({} if archive.n_frames is None else {"n_frames": archive.n_frames}),
    }
    with whole_file(path) as temporary:
        np.savez(temporary, **arrays)  # uncompressed: JPEGs are compressed already
