"""Masks and patterns: the tanh space of the search, super-pixel upsampling, stamping.

The search optimises unbounded variables, `z_mask` and `z_pattern`, which tanh maps into range (paper section V-A, the original's
visualizer.py).
The leading axis of every tensor is that of restarts.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError

# The original divides by 2 - epsilon, so that the ends of [0, 1] stay at a finite z.
EPSILON = 1e-7
# Masks of grey starts before the tanh, as (border, middle): after it .05 everywhere, or .5 in one part and .007 in the other.
GREY = ((-1.5, -1.5), (0.0, -2.5), (-2.5, 0.0))


def to_tanh(unit: np.ndarray, epsilon: float = EPSILON) -> np.ndarray:
    """Map [0, 1] to unbounded values, the inverse of `from_tanh`; return float32.

    It computes in float64, because in float32 both ends would be infinite.
    """
    return np.arctanh((np.clip(np.asarray(unit, np.float64), 0.0, 1.0) - 0.5) * (2.0 - epsilon)).astype(np.float32)


def from_tanh(z: tf.Tensor, epsilon: float = EPSILON) -> tf.Tensor:
    """Map unbounded values to [0, 1].

    Rounding may exceed either end by 1e-7.
    """
    return tf.tanh(z) / (2.0 - epsilon) + 0.5


@dataclass(frozen=True)
class TriggerSpace:
    """The space of triggers for images or clips of one shape.

    A trigger has one mask value a super-pixel, and one colour a pixel. A clip's trigger is one picture that all frames share, or a picture
    a frame. Shapes below are those of images, and of clips whose frames share one picture. If every frame has its own, mask and pattern
    have T before H.

    Attributes:
        image_shape: (H, W, C), of clips (T, H, W, C).
        upsample_size: side of a super-pixel, which shares one mask value; pixels.
        epsilon: distance of tanh from its ends.
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
        """Shape of the pattern, (H, W, C)."""
        return self.image_shape if self.per_frame else self.image_shape[-3:]

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Shape of the mask before upsampling, (h, w).

        The last super-pixels may reach over the border and are cropped.
        """
        *frames, height, width, _ = self.pattern_shape
        return *frames, -(-height // self.upsample_size), -(-width // self.upsample_size)

    def random(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Return the original's random start.

        The mask (h, w) is uniform in [0, 1], the pattern (H, W, C) uniform in [0, 255].
        """
        return rng.random(self.mask_shape), rng.random(self.pattern_shape) * 255.0

    def grey(self, rng: np.random.Generator, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return a grey start: mask (h, w) and pattern (H, W, C).

        The pattern is mid-grey, which favours no colour. The mask of number 0 is near .05 everywhere. The mask of number 1 is near .5 in
        the border, a quarter of the image wide, and near .007 in the middle. That of number 2 is the other way round. Numbers 3, 4, 5 and
        so on repeat these with other noise.

        Objects are in the middle. Their features attract a search over the whole image away from a patch that works only as a whole. A
        search that starts in the border finds such a patch there (docs/explanation/how-a-scan-works.md).

        Args:
            rng: generator of the noise.
            number: number of the start, from 0.
        """
        border, middle = GREY[number % len(GREY)]
        mask = np.full(self.mask_shape, border)
        rows, columns = (slice(side // 4, side - side // 4) for side in self.mask_shape[-2:])
        mask[..., rows, columns] = middle
        mask += rng.normal(0.0, 0.1, self.mask_shape)
        return np.tanh(mask) / 2.0 + 0.5, np.full(self.pattern_shape, 127.5)

    def encode(self, mask: np.ndarray, pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return unbounded z_mask (h, w, 1) and z_pattern (H, W, C), float32.

        Args:
            mask: (h, w) in [0, 1].
            pattern: (H, W, C) in [0, 255].

        Raises:
            InputError: the shapes are not those of this space.
        """
        if np.shape(mask) != self.mask_shape or np.shape(pattern) != self.pattern_shape:
            raise InputError(
                f"mask {np.shape(mask)} and pattern {np.shape(pattern)}: expected {self.mask_shape} and {self.pattern_shape}; "
                "start from arrays of these shapes"
            )
        return to_tanh(mask, self.epsilon)[..., None], to_tanh(np.asarray(pattern) / 255.0, self.epsilon)

    def masks(self, z_mask: tf.Tensor) -> tf.Tensor:
        """Return masks (A, H, W, 1) in [0, 1], upsampled and cropped.

        Args:
            z_mask: (A, h, w, 1), unbounded.
        """
        height, width, _ = self.image_shape[-3:]
        coarse = from_tanh(z_mask, self.epsilon)
        if self.upsample_size == 1:
            return coarse
        fine = tf.repeat(tf.repeat(coarse, self.upsample_size, axis=-3), self.upsample_size, axis=-2)
        return fine[..., :height, :width, :]

    def patterns(self, z_pattern: tf.Tensor) -> tf.Tensor:
        """Return raw patterns (A, H, W, C) in [0, 255] of unbounded `z_pattern`."""
        return from_tanh(z_pattern, self.epsilon) * 255.0

    def norms(self, masks: tf.Tensor, regularization: str | None) -> tf.Tensor:
        """Return the norms (A,) of masks (A, H, W, 1).

        The cost weighs this norm, which is "l1", "l2", or 0 with None. If every frame has a mask, it is the mean over the frames.
        """
        if regularization is None:
            return tf.zeros([tf.shape(masks)[0]])
        if regularization == "l1":
            norms = tf.reduce_sum(tf.abs(masks), axis=(-3, -2, -1))
        else:
            # The square root has no finite gradient at a mask of zeros, which the search reaches for a label that needs no trigger.
            norms = tf.sqrt(tf.maximum(tf.reduce_sum(tf.square(masks), axis=(-3, -2, -1)), 1e-20))
        return tf.reduce_mean(norms, axis=1) if self.per_frame else norms

    def stamp(self, images: tf.Tensor, masks: tf.Tensor, patterns: tf.Tensor) -> tf.Tensor:
        """Return raw images (A, B, ..., H, W, C) with the triggers of restarts.

        Args:
            images: (A, B, H, W, C), of clips (A, B, T, H, W, C).
            masks: (A, H, W, 1).
            patterns: (A, H, W, C).
        """
        shared = len(self.image_shape) - len(self.pattern_shape)  # the axis of time, if all frames share them
        for _ in range(1 + shared):
            masks, patterns = tf.expand_dims(masks, 1), tf.expand_dims(patterns, 1)
        return images * (1.0 - masks) + masks * patterns
