"""Masks and patterns: the tanh space they are searched in, super-pixel upsampling, stamping. Knows neither models nor files.

The search moves unbounded twins, `z_mask` and `z_pattern`; tanh brings them into range (paper section V-A, the original's visualizer.py).
All tensors carry the arms on the leading axis.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError

# The original divides by 2 - epsilon, so that the ends of [0, 1] stay at a finite z.
EPSILON = 1e-7
# Masks of grey starts before the tanh, in the border and in the middle: .05 everywhere, or .5 in one of them and .007 in the other.
GREY = ((-1.5, -1.5), (0.0, -2.5), (-2.5, 0.0))


def to_tanh(unit: np.ndarray, epsilon: float = EPSILON) -> np.ndarray:
    """[0, 1] -> unbounded, in float64 because in float32 both ends would be infinite. Inverse of `from_tanh`; returns float32."""
    return np.arctanh((np.clip(np.asarray(unit, np.float64), 0.0, 1.0) - 0.5) * (2.0 - epsilon)).astype(np.float32)


def from_tanh(z: tf.Tensor, epsilon: float = EPSILON) -> tf.Tensor:
    """Unbounded -> [0, 1], up to rounding of 1e-7 beyond either end."""
    return tf.tanh(z) / (2.0 - epsilon) + 0.5


@dataclass(frozen=True)
class TriggerSpace:
    """Where triggers for images of one shape live: one mask value a super-pixel, one colour a pixel.

    Attributes:
        image_shape: (H, W, C).
        upsample_size: side of a super-pixel, which shares one mask value; pixels.
        epsilon: how far tanh stays from its ends.
    """

    image_shape: tuple[int, int, int]
    upsample_size: int = 1
    epsilon: float = EPSILON

    def __post_init__(self) -> None:
        if len(self.image_shape) != 3:
            raise InputError(f"images of shape {self.image_shape}: expected (H, W, C); clips cannot be searched yet")
        if not 1 <= self.upsample_size <= min(self.image_shape[:2]):
            raise InputError(
                f"upsample size {self.upsample_size}: expected 1 to {min(self.image_shape[:2])}, the image's smaller side; choose one"
            )

    @property
    def mask_shape(self) -> tuple[int, int]:
        """(h, w) of the mask before upsampling; the last super-pixels may hang over the border and are cropped."""
        height, width, _ = self.image_shape
        return -(-height // self.upsample_size), -(-width // self.upsample_size)

    def random(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The original's start: mask (h, w) uniform in [0, 1], pattern (H, W, C) uniform in [0, 255]."""
        return rng.random(self.mask_shape), rng.random(self.image_shape) * 255.0

    def grey(self, rng: np.random.Generator, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """A start without a lead for any colour or place: a pattern (H, W, C) of mid-grey, and a mask (h, w) that is near .05 everywhere
        (number 0), near .5 in the border, a quarter of the image wide, and near nothing in the middle (1), or the other way round (2);
        3, 4, 5 and so on begin like these again, with other noise.

        The middle is where the objects are, and what an object is recognised by draws a search that sees all of the image away from a
        patch that works only as a whole. One that begins in the border finds it there (docs/scan-presets.md).
        """
        border, middle = GREY[number % len(GREY)]
        mask = np.full(self.mask_shape, border)
        mask[tuple(slice(side // 4, side - side // 4) for side in self.mask_shape)] = middle
        mask += rng.normal(0.0, 0.1, self.mask_shape)
        return np.tanh(mask) / 2.0 + 0.5, np.full(self.image_shape, 127.5)

    def encode(self, mask: np.ndarray, pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """mask (h, w) in [0, 1], pattern (H, W, C) in [0, 255] -> z_mask (h, w, 1), z_pattern (H, W, C), float32.

        Raises:
            InputError: the shapes are not this space's.
        """
        if np.shape(mask) != self.mask_shape or np.shape(pattern) != self.image_shape:
            raise InputError(
                f"mask {np.shape(mask)} and pattern {np.shape(pattern)}: expected {self.mask_shape} and {self.image_shape}; "
                "start from arrays of these shapes"
            )
        return to_tanh(mask, self.epsilon)[..., None], to_tanh(np.asarray(pattern) / 255.0, self.epsilon)

    def masks(self, z_mask: tf.Tensor) -> tf.Tensor:
        """(A, h, w, 1) unbounded -> (A, H, W, 1) in [0, 1], upsampled and cropped."""
        height, width, _ = self.image_shape
        coarse = from_tanh(z_mask, self.epsilon)
        if self.upsample_size == 1:
            return coarse
        fine = tf.repeat(tf.repeat(coarse, self.upsample_size, axis=1), self.upsample_size, axis=2)
        return fine[:, :height, :width]

    def patterns(self, z_pattern: tf.Tensor) -> tf.Tensor:
        """(A, H, W, C) unbounded -> the same shape in raw pixels, [0, 255]."""
        return from_tanh(z_pattern, self.epsilon) * 255.0

    def stamp(self, images: tf.Tensor, masks: tf.Tensor, patterns: tf.Tensor) -> tf.Tensor:
        """images (A, B, H, W, C) raw, with each arm's own mask and pattern laid over its B images."""
        masks, patterns = masks[:, None], patterns[:, None]
        return images * (1.0 - masks) + masks * patterns
