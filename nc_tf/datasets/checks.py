"""Checks of labelled images with raw pixels, for every data file and for the arrays of Python callers."""

from math import prod
from typing import Any, overload

import numpy as np

from nc_tf.errors import InputError
from nc_tf.results import Unit

LARGEST_PICTURE = 2**26  # pixels; a small PNG can unpack to gigabytes

# Floats up to here count as images in [0, 1], with room for data augmentation that overshoots. A raw image this dark shows nothing.
LARGEST_UNIT_PIXEL = 1.5

# A larger class number is damage (an overflow, a timestamp, an identifier), and a table of that many classes fits into no memory.
LARGEST_LABEL = 2**31 - 1


@overload
def check_images(
    images: Any,
    labels: None = None,
    *,
    image_shape: tuple[int | None, ...] | None = None,
    num_classes: int | None = None,
    name: str | None = None,
    one_class: bool = False,
) -> tuple[np.ndarray, None]: ...


@overload
def check_images(
    images: Any,
    labels: Any,
    *,
    image_shape: tuple[int | None, ...] | None = None,
    num_classes: int | None = None,
    name: str | None = None,
    one_class: bool = False,
) -> tuple[np.ndarray, np.ndarray]: ...


def check_images(
    images: Any,
    labels: Any = None,
    *,
    image_shape: tuple[int | None, ...] | None = None,
    num_classes: int | None = None,
    name: str | None = None,
    one_class: bool = False,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Check images and their labels, and return both in one form.

    Pixels are not rescaled.

    Args:
        images: (N, H, W, C) or grayscale (N, H, W); clips (N, T, H, W, C); flat (N, values) where `image_shape` is flat. Any number
            type, raw pixels in [0, 255].
        labels: (N,) or (N, 1) class numbers from 0, or (N, K) one-hot rows; any number type that holds whole numbers. None: not known.
        image_shape: the expected shape of one image, (H, W, C) or (T, H, W, C), such as a model's input shape less the batch axis;
            None in a place means any size. None: any shape.
        num_classes: the number of classes of the model; labels must lie below it. None: any number.
        name: the name of the data in error messages, usually a path; by default "images" or "clips".
        one_class: whether all images may have the same label, as triggered ones have.

    Returns:
        images: (N, H, W, C) or (N, T, H, W, C), uint8 if they came as integers, else float32, in [0, 255].
        labels: (N,) int64, or None if none were given.

    Raises:
        InputError: wrong rank, order of axes, shape, type or range; NaN; no image; counts that differ; labels that are no class
            numbers or no one-hot rows; a single class.
    """
    images = np.asarray(images)
    sides = [side for side in image_shape or () if side is not None]
    if images.ndim == 2 and len(sides) == len(image_shape or ()) and prod(sides) == images.shape[1]:
        images = images.reshape(-1, *sides)
    unit = Unit.of(images.shape[1:])
    name = name or unit.many
    images = _checked_images(images, name, unit)
    if image_shape is not None and unit is not Unit.of(image_shape):
        expected = f"{Unit.of(image_shape).many} {shape_words(image_shape)}"
        raise InputError(f"{name}: {unit.many} {images.shape[1:]} given: expected {expected}; choose other data, or another model")
    if image_shape is not None and not _has_shape(images.shape[1:], image_shape):
        raise InputError(
            f"{name}: one {unit} has shape {images.shape[1:]}: expected {shape_words(image_shape)}, the input of the model; "
            f"resize the {unit.many}, or choose the data the model was trained on"
        )
    if labels is None:
        return images, None
    labels = np.asarray(labels)
    checked = check_labels(labels, name, unit, num_classes=num_classes, one_class=one_class, number=len(images))
    return images, checked


def check_labels(
    labels: np.ndarray, name: str, unit: Unit, *, number: int | None = None, num_classes: int | None = None, one_class: bool = False
) -> np.ndarray:
    """Check labels, and return them as class numbers.

    Args:
        labels: (N,) or (N, 1) class numbers, or (N, K) one-hot rows, of any number type.
        name: the name of the data in error messages.
        unit: images or clips.
        number: the expected number of labels; None for any number.
        num_classes: number of classes of the model; None where there is none.
        one_class: whether all labels may be the same.

    Returns:
        (N,) int64 class numbers.

    Raises:
        InputError: the labels are not as described.
    """
    labels = _checked_labels(labels, name, unit)
    if number is not None:
        check_count(number, labels, name, unit)
    if num_classes is not None and labels.max() >= num_classes:
        raise InputError(
            f"{name}: label {labels.max()}: expected labels from 0 to {num_classes - 1}, the classes of the model; "
            "choose the data the model was trained on"
        )
    if not one_class and (labels == labels[0]).all():
        raise InputError(
            f"{name}: every label is {labels[0]}: expected {unit.many} of at least two classes; add {unit.many} of other classes"
        )
    return labels


def check_count(number: int, labels: np.ndarray, name: str, unit: Unit) -> None:
    """Refuse labels that are more or fewer than the images.

    Raises:
        InputError: the counts differ; the message begins with `name`.
    """
    if labels.ndim and len(labels) != number:
        counts = f"{number} {unit.many} and {len(labels)} labels"
        raise InputError(f"{name}: {counts}: expected one label {unit.one}; check how they were saved")


def shape_words(shape: tuple[int | None, ...]) -> str:
    """Return a shape in words, such as (T, 64, 64, 3).

    An axis of any size has its letter.
    """
    if len(shape) not in (3, 4):
        return str(tuple(shape))
    return f"({', '.join(str(size or axis) for size, axis in zip(shape, 'THWC'[-len(shape) :], strict=True))})"


def _has_shape(shape: tuple[int, ...], expected: tuple[int | None, ...]) -> bool:
    return len(shape) == len(expected) and all(side in (None, size) for size, side in zip(shape, expected, strict=True))


def _checked_images(images: np.ndarray, name: str, unit: Unit) -> np.ndarray:
    shape, many = images.shape, unit.many
    if images.dtype.kind not in "uif":
        raise InputError(f"{name}: {many} of type {images.dtype}: expected numbers in [0, 255]; save them as uint8")
    if images.ndim not in (3, 4, 5):
        raise InputError(
            f"{name}: images of shape {shape}: expected (N, H, W, C), or (N, T, H, W, C) for clips; reshape them, and transpose if needed"
        )
    if images.ndim == 3 and shape[-1] in (1, 3, 4):
        raise InputError(f"{name}: images of shape {shape} look like one image: expected (N, H, W, C); add the first axis, images[None]")
    if 0 in shape:
        raise InputError(f"{name}: no {many} (shape {shape}): expected at least one; check how they were saved")
    if images.ndim == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3, 4):
        raise InputError(
            f"{name}: images of shape {shape} have their channels first: expected (N, H, W, C); "
            "transpose them, axes (0, 2, 3, 1), or name the arrays 'data' and 'label'"
        )
    with np.errstate(invalid="ignore"):  # the check is for NaN
        low, high = images.min(), images.max()
    if not np.isfinite(low) or not np.isfinite(high):
        raise InputError(f"{name}: the {many} hold NaN or infinity: expected raw pixels in [0, 255]; remove the damaged {many}")
    if low < 0:
        raise InputError(
            f"{name}: smallest value {low:.6g}: expected raw pixels in [0, 255]; undo the preprocessing, --intensity-range does it again"
        )
    if high > 255:
        raise InputError(f"{name}: largest value {high:.6g}: expected raw pixels in [0, 255]; scale the {many} to [0, 255]")
    if images.dtype.kind == "f" and high <= LARGEST_UNIT_PIXEL:
        raise InputError(f"{name}: largest value {float(high):.6g}: expected raw pixels in [0, 255]; multiply by 255")
    images = images.astype(np.float32 if images.dtype.kind == "f" else np.uint8, copy=False)
    return images[..., None] if images.ndim == 3 else images


def _checked_labels(labels: np.ndarray, name: str, unit: Unit) -> np.ndarray:
    if labels.dtype.kind not in "buif":
        raise InputError(f"{name}: labels of type {labels.dtype}: expected whole numbers from 0, or one-hot rows; number the classes")
    if labels.ndim == 2 and labels.shape[1] > 1:
        return _from_one_hot(labels, name)
    if labels.shape[1:] not in ((), (1,)) or labels.ndim == 0:  # keras.datasets.cifar10 has labels of shape (N, 1)
        raise InputError(f"{name}: labels of shape {labels.shape}: expected (N,) class numbers or (N, K) one-hot rows; reshape them")
    labels = labels.reshape(-1)
    if not len(labels):
        raise InputError(f"{name}: no labels: expected one {unit.one}; check how they were saved")
    if labels.dtype.kind == "f":
        whole = np.isfinite(labels) & (labels == np.round(labels))
        if not whole.all():
            index = int(np.argmin(whole))
            raise InputError(f"{name}: label {labels[index]} at index {index}: expected whole numbers from 0; check how they were saved")
    low, high = labels.min(), labels.max()
    if low < 0:
        raise InputError(
            f"{name}: label {int(low)}: expected whole numbers from 0; drop the unlabelled {unit.many}, or count the classes from 0"
        )
    if high > LARGEST_LABEL:
        raise InputError(f"{name}: label {int(high)}: expected class numbers below {LARGEST_LABEL}; check how they were saved")
    return labels.astype(np.int64, copy=False)


def _from_one_hot(labels: np.ndarray, name: str) -> np.ndarray:
    valid = (labels == 1).sum(axis=1) == 1
    valid &= (labels == 0).sum(axis=1) == labels.shape[1] - 1
    if not valid.all():
        index = int(np.argmin(valid))
        raise InputError(
            f"{name}: label row {index} of {labels.shape[1]} values is not one-hot: "
            "expected a single 1 among zeros; save class numbers, such as labels.argmax(axis=1)"
        )
    return labels.argmax(axis=1).astype(np.int64, copy=False)
