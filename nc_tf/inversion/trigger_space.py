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
    """Where triggers for images or clips of one shape live: one mask value a super-pixel, one colour a pixel.

    A clip's trigger is one picture that all its frames share, or a picture a frame. Shapes below are those of images and of clips whose
    frames share one; where every frame has its own, mask and pattern have T before H.

    Attributes:
        image_shape: (H, W, C), of clips (T, H, W, C).
        upsample_size: side of a super-pixel, which shares one mask value; pixels.
        epsilon: how far tanh stays from its ends.
        per_frame: whether every frame of a clip has a mask and a pattern of its own.
    """

    image_shape: tuple[int, ...]
    upsample_size: int = 1
    epsilon: float = EPSILON
    per_frame: bool = False

    def __post_init__(self) -> None:
        if len(self.image_shape) not in (3, 4):
            raise InputError(f"images of shape {self.image_shape}: expected (H, W, C), or (T, H, W, C) for clips; reshape them")
        if self.per_frame and len(self.image_shape) != 4:
            raise InputError(f"a trigger a frame for images of shape {self.image_shape}: expected clips (T, H, W, C); leave it out")
        if not 1 <= self.upsample_size <= min(self.image_shape[-3:-1]):
            raise InputError(
                f"upsample size {self.upsample_size}: expected 1 to {min(self.image_shape[-3:-1])}, the image's smaller side; choose one"
            )

    @property
    def pattern_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the pattern."""
        return self.image_shape if self.per_frame else self.image_shape[-3:]

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """(h, w) of the mask before upsampling; the last super-pixels may hang over the border and are cropped."""
        *frames, height, width, _ = self.pattern_shape
        return *frames, -(-height // self.upsample_size), -(-width // self.upsample_size)

    def random(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The original's start: mask (h, w) uniform in [0, 1], pattern (H, W, C) uniform in [0, 255]."""
        return rng.random(self.mask_shape), rng.random(self.pattern_shape) * 255.0

    def grey(self, rng: np.random.Generator, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """A start without a lead for any colour or place: a pattern (H, W, C) of mid-grey, and a mask (h, w) that is near .05 everywhere
        (number 0), near .5 in the border, a quarter of the image wide, and near nothing in the middle (1), or the other way round (2);
        3, 4, 5 and so on begin like these again, with other noise.

        The middle is where the objects are, and what an object is recognised by draws a search that sees all of the image away from a
        patch that works only as a whole. One that begins in the border finds it there (docs/scan-presets.md).
        """
        border, middle = GREY[number % len(GREY)]
        mask = np.full(self.mask_shape, border)
        rows, columns = (slice(side // 4, side - side // 4) for side in self.mask_shape[-2:])
        mask[..., rows, columns] = middle
        mask += rng.normal(0.0, 0.1, self.mask_shape)
        return np.tanh(mask) / 2.0 + 0.5, np.full(self.pattern_shape, 127.5)

    def encode(self, mask: np.ndarray, pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """mask (h, w) in [0, 1], pattern (H, W, C) in [0, 255] -> z_mask (h, w, 1), z_pattern (H, W, C), float32.

        Raises:
            InputError: the shapes are not this space's.
        """
        if np.shape(mask) != self.mask_shape or np.shape(pattern) != self.pattern_shape:
            raise InputError(
                f"mask {np.shape(mask)} and pattern {np.shape(pattern)}: expected {self.mask_shape} and {self.pattern_shape}; "
                "start from arrays of these shapes"
            )
        return to_tanh(mask, self.epsilon)[..., None], to_tanh(np.asarray(pattern) / 255.0, self.epsilon)

    def masks(self, z_mask: tf.Tensor) -> tf.Tensor:
        """(A, h, w, 1) unbounded -> (A, H, W, 1) in [0, 1], upsampled and cropped."""
        height, width, _ = self.image_shape[-3:]
        coarse = from_tanh(z_mask, self.epsilon)
        if self.upsample_size == 1:
            return coarse
        fine = tf.repeat(tf.repeat(coarse, self.upsample_size, axis=-3), self.upsample_size, axis=-2)
        return fine[..., :height, :width, :]

    def patterns(self, z_pattern: tf.Tensor) -> tf.Tensor:
        """(A, H, W, C) unbounded -> the same shape in raw pixels, [0, 255]."""
        return from_tanh(z_pattern, self.epsilon) * 255.0

    def norms(self, masks: tf.Tensor, regularization: str | None) -> tf.Tensor:
        """(A, H, W, 1) -> (A,), the norm that the cost weighs: "l1", "l2", or 0 with None; of a mask a frame the frames' mean."""
        if regularization is None:
            return tf.zeros([tf.shape(masks)[0]])
        if regularization == "l1":
            norms = tf.reduce_sum(tf.abs(masks), axis=(-3, -2, -1))
        else:
            # The square root has no finite gradient at a mask of zeros, which a label that needs no trigger arrives at.
            norms = tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(masks), axis=(-3, -2, -1)), 1e-20))
        return tf.reduce_mean(norms, axis=1) if self.per_frame else norms

    def stamp(self, images: tf.Tensor, masks: tf.Tensor, patterns: tf.Tensor) -> tf.Tensor:
        """images (A, B, H, W, C) raw, clips (A, B, T, H, W, C), with each arm's own mask and pattern laid over its B images."""
        shared = len(self.image_shape) - len(self.pattern_shape)  # the axis of time, if all frames share them
        for _ in range(1 + shared):
            masks, patterns = tf.expand_dims(masks, 1), tf.expand_dims(patterns, 1)
        return images * (1.0 - masks) + masks * patterns
