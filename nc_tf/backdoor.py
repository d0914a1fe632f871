"""Backdoors: what an attacker does to images, and what the model shall answer then; triggers are the ones that searches find."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from nc_tf.errors import InputError


class Backdoor(Protocol):
    """The change that an attacker makes to images, and the answer that the model shall give then.

    A `Trigger` is one; `nc_tf.attacks` has others.
    """

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of its images, or of the frames of its clips.

        It is (T, H, W, C) where every frame has a trigger of its own.
        """

    def __call__(self, images: Any) -> Any:
        """Return images with the trigger.

        Args:
            images: (N, H, W, C), or clips (N, T, H, W, C), raw, float in [0, 255], array or tensor.

        Returns:
            The same shape and kind.
        """

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes that the attack leads images to.

        Args:
            labels: (N,) classes of the images.

        Returns:
            (N,) the wanted classes; an image whose own class is wanted is no victim.
        """

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Return which training images the attacker puts the trigger on.

        Args:
            labels: (N,) classes of the images.

        Returns:
            (N,) bool.
        """


def fits(backdoor: Backdoor, image_shape: tuple[int, ...]) -> bool:
    """Return whether a backdoor fits inputs of this shape.

    Inputs are images (H, W, C) or clips (T, H, W, C). A backdoor for single frames is put on each frame of a clip.
    """
    return tuple(image_shape[-len(backdoor.image_shape) :]) == tuple(backdoor.image_shape)


@dataclass(frozen=True, eq=False)
class OneTarget:
    """The common part of triggers that send any image to one label.

    Attributes:
        label: the target class.
    """

    label: int

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return `label` for all images; see `Backdoor.wanted`."""
        return np.full_like(labels, self.label)

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Return that all images carry the trigger; see `Backdoor.carriers`."""
        return np.ones(len(labels), bool)


class Painted:
    """The common part of triggers that are a mask and a pattern.

    Attributes:
        mask: (H, W) float32 in [0, 1], upsampled to the size of the image; (T, H, W) where each frame of a clip has its own.
        pattern: (H, W, C) float32 in raw pixel range [0, 255]; (T, H, W, C) likewise.
    """

    mask: np.ndarray
    pattern: np.ndarray

    def __call__(self, images: Any) -> Any:
        """Return raw images with the trigger.

        Args:
            images: (..., H, W, C) float, array or tensor.

        Returns:
            The same shape and kind.
        """
        mask = self.mask[..., None]
        return images * (1.0 - mask) + mask * self.pattern

    @property
    def overlay(self) -> np.ndarray:
        """Mask times pattern, as the original draws a trigger.

        (H, W, C), or (T, H, W, C).
        """
        return self.mask[..., None] * self.pattern

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C), or (T, H, W, C)."""
        return self.pattern.shape

    @property
    def l1_norm(self) -> float:
        """Sum of the mask: the equivalent number of fully replaced pixels.

        Where each frame has a mask of its own, the mean over the frames.
        """
        return float(np.abs(self.mask).sum(axis=(-2, -1), dtype=np.float64).mean())


@dataclass(frozen=True, eq=False)
class Trigger(OneTarget, Painted):
    """A mask and a pattern that send any image to `label`, or any clip, whose frames share them or have their own.

    Attributes:
        label: the target class.
        mask: (H, W) float32 in [0, 1], upsampled to the size of the image; (T, H, W) where each frame of a clip has its own.
        pattern: (H, W, C) float32 in raw pixel range [0, 255]; (T, H, W, C) likewise.
    """

    mask: np.ndarray
    pattern: np.ndarray


@dataclass(frozen=True, eq=False)
class AllToAllTrigger(Painted):
    """A mask and a pattern that send every class to one of its own.

    Attributes:
        mask: (H, W) float32 in [0, 1].
        pattern: (H, W, C) float32 in raw pixel range [0, 255].
        targets: the label that each class is sent to, one a class of the model; a class that stays has its own number.
    """

    mask: np.ndarray
    pattern: np.ndarray
    targets: Sequence[int]

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """Return (source, target) of every class that does not stay."""
        return tuple((source, target) for source, target in enumerate(self.targets) if source != target)

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return the target of each class; see `Backdoor.wanted`."""
        return np.asarray(self.targets, labels.dtype)[labels]

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Return that all images carry the trigger; see `Backdoor.carriers`."""
        return np.ones(len(labels), bool)


@dataclass(frozen=True, eq=False)
class Warp(OneTarget):
    """The trigger that reads every pixel from another place, bilinearly.

    Attributes:
        label: the target class.
        places: (H, W, 2) float32, row and column to read from, within the image.
        channels: C.
    """

    places: np.ndarray
    channels: int

    def __post_init__(self) -> None:
        """Check the places.

        Raises:
            InputError: their shape is wrong, or one lies outside the image.
        """
        height, width = self.places.shape[:2]
        if self.places.shape[2:] != (2,) or not (self.places.min() >= 0 and (self.places.max((0, 1)) <= (height - 1, width - 1)).all()):
            raise InputError(f"places to read from of shape {self.places.shape}: expected (H, W, 2), all of them within the image")

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the images, (H, W, C)."""
        return (*self.places.shape[:2], self.channels)

    def __call__(self, images: Any) -> Any:
        """Return triggered images; see `Backdoor`."""
        height, width, channels = self.image_shape
        if isinstance(images, np.ndarray):
            take, reshape = np.take, np.reshape
        else:
            import tensorflow as tf  # takes seconds, and arrays do without

            take, reshape = tf.gather, tf.reshape
        flat = reshape(images, (-1, height * width, channels))
        upper = np.minimum(self.places.astype(np.int32), (height - 2, width - 2))  # the first of the four neighbours
        down, right = np.moveaxis(self.places - upper, -1, 0).reshape(2, -1, 1)
        rows, columns = np.moveaxis(upper, -1, 0).reshape(2, -1)
        read = read_between(lambda row, column: take(flat, (rows + row) * width + columns + column, axis=1), down, right)
        return reshape(read, (-1, *images.shape[1:]))


def read_between(neighbour: Callable[[int, int], Any], down: Any, right: Any) -> Any:
    """Return pixels read from between four neighbours, bilinearly.

    Args:
        neighbour: returns the pixel of every place that lies this number of rows below, and of columns right of, its upper left neighbour.
        down: share of the way to the row below, [0, 1], array or tensor.
        right: share of the way to the next column, likewise.
    """
    above = neighbour(0, 0) * (1 - right) + neighbour(0, 1) * right
    below = neighbour(1, 0) * (1 - right) + neighbour(1, 1) * right
    return above * (1 - down) + below * down


# A trigger that a scan finds: for one label, or for all classes at once.
FoundTrigger = Trigger | Warp | AllToAllTrigger
