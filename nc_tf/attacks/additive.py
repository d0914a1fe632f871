"""Triggers that add to the pixels below them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.results import OneTarget


@dataclass(frozen=True, eq=False)
class Additive(OneTarget):
    """The trigger `clip(image + change, 0, 255)`.

    Attributes:
        label: the target class.
        change: (H, W, C) float32 in raw pixels, [-255, 255].
    """

    change: np.ndarray

    def __post_init__(self) -> None:
        """Check the change.

        Raises:
            InputError: its shape or range is wrong.
        """
        if self.change.ndim != 3 or not (np.abs(self.change) <= 255).all():
            raise InputError(f"a change of shape {self.change.shape}: expected (H, W, C) with values in [-255, 255]; rescale it")

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the images, (H, W, C)."""
        return self.change.shape

    def __call__(self, images: Any) -> Any:
        """Return triggered images; see `nc_tf.results.Backdoor`."""
        clip = tf.clip_by_value if tf.is_tensor(images) else np.clip
        return clip(images + self.change, 0.0, 255.0)
