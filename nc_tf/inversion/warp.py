"""Space of smooth warps of the image (WaNet, Nguyen and Tran, 2021): each pixel is read from a displaced place.

A warp paints no pixel, so that neither a mask nor a picture can show it. The displacements are those of a coarse grid, spread over the
image by bicubic interpolation. A search for the smallest norm looks for the shortest warp that sends images to the label.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from nc_tf.backdoor import Warp, read_between
from nc_tf.inversion.cost_schedule import CostSchedule
from nc_tf.inversion.step import Loss, SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace

# Points a side of the grid; WaNet's own are 4, and a finer grid contains smoother fields nearly.
GRID = 6
# Settings of the search: the cost weighs a pixel of length by .4 of the cross-entropy.
SHORTEST_WARP = SearchSettings(
    loss=Loss.CROSS_ENTROPY,
    learning_rate=0.05,
    batch_size=8,
    batches_per_round=16,
    max_rounds=30,
    exclude_target=True,
    cost=CostSchedule(init_cost=0.4, multiplier=1.3, patience=1, threshold=0.9, reset_cost_to_zero=False, early_stop=False),
)


@dataclass(frozen=True)
class WarpSpace(TriggerSpace):
    """The space of warps; the displacements of the grid stand in the place of the mask, and there is no pattern."""

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Shape of the displacements down and right, (grid, grid, 2), pixels."""
        return GRID, GRID, 2

    @property
    def pattern_shape(self) -> tuple[int, ...]:
        """Shape of the pattern, which has no pixel."""
        return (0,)

    def grey(self, rng: np.random.Generator, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return a start: displacements (grid, grid, 2) of a twentieth of a pixel, and no pattern.

        Args:
            rng: generator of the displacements, so that restarts differ.
            number: number of the start; all are alike.
        """
        del number
        return rng.normal(0.0, 0.05, self.mask_shape), np.zeros(self.pattern_shape)

    def encode(self, mask: np.ndarray, pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the displacements and no pattern, float32; both are unbounded as they are."""
        return np.asarray(mask, np.float32), np.asarray(pattern, np.float32)

    def masks(self, z_mask: tf.Tensor) -> tf.Tensor:
        """Return displacements (A, grid, grid, 2) as they are."""
        return z_mask

    def patterns(self, z_pattern: tf.Tensor) -> tf.Tensor:
        """Return no pattern."""
        return z_pattern

    def norms(self, masks: tf.Tensor, regularization: str | None) -> tf.Tensor:
        """Return the root mean square (A,) of displacements (A, grid, grid, 2), pixels.

        Args:
            masks: the displacements.
            regularization: without a meaning here.
        """
        del regularization
        # The square root has no finite gradient at a field of zeros.
        return tf.sqrt(tf.reduce_mean(tf.square(masks), axis=(1, 2, 3)) + 1e-8)

    def stamp(self, images: tf.Tensor, masks: tf.Tensor, patterns: tf.Tensor) -> tf.Tensor:
        """Return images that are read from displaced places, bilinearly.

        Args:
            images: (A, B, H, W, C) raw, float32.
            masks: (A, grid, grid, 2), displacement down and right, pixels.
            patterns: none.
        """
        del patterns
        height, width, channels = self.image_shape
        places = self.places(masks)
        corner = tf.floor(places)
        down, right = tf.unstack(tf.reshape(places - corner, (-1, height * width, 2, 1)), axis=2)
        first = tf.reshape(tf.cast(corner[..., 0] * width + corner[..., 1], tf.int32), (-1, height * width))
        lanes, batch = tf.shape(images)[0], tf.shape(images)[1]
        flat = tf.reshape(tf.transpose(images, (0, 2, 3, 1, 4)), (lanes, height * width, batch * channels))
        read = read_between(lambda row, column: tf.gather(flat, first + row * width + column, axis=1, batch_dims=1), down, right)
        return tf.transpose(tf.reshape(read, (lanes, height, width, batch, channels)), (0, 3, 1, 2, 4))

    def places(self, masks: tf.Tensor) -> tf.Tensor:
        """Return the row and column (A, H, W, 2) that each pixel is read from.

        Places outside of the image are those of the nearest border.

        Args:
            masks: (A, grid, grid, 2), displacement down and right, pixels.
        """
        height, width, _ = self.image_shape
        moved = tf.einsum("hi,aijd,wj->ahwd", spread(height), masks, spread(width))
        # The last row and column are read as the second of two neighbours.
        most = np.array([height - 1, width - 1]) - 1e-3
        return tf.clip_by_value(moved + np.moveaxis(np.mgrid[:height, :width], 0, -1).astype(np.float32), 0.0, most.astype(np.float32))


def spread(side: int) -> np.ndarray:
    """Return the weights (side, grid) of the points of the grid at each pixel of a side, by bicubic interpolation.

    They are those of `tf.image.resize`, which XLA cannot compile: Keys's kernel, and no weight beyond the border.
    """
    distance = np.abs(((np.arange(side) + 0.5) * GRID / side - 0.5)[:, None] - np.arange(GRID))
    near = (1.5 * distance - 2.5) * distance**2 + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    weights = np.where(distance < 1.0, near, np.where(distance < 2.0, far, 0.0))
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def warp_of(label: int, space: TriggerSpace, z: tuple[tf.Tensor, tf.Tensor]) -> tuple[Warp, float]:
    """Return the warp of a state, and its length in pixels.

    Args:
        label: the target class.
        space: a `WarpSpace`.
        z: displacements (1, grid, grid, 2), and nothing.
    """
    if not isinstance(space, WarpSpace):
        raise TypeError(f"{type(space).__name__}: expected a WarpSpace")
    return Warp(label, space.places(z[0])[0].numpy(), space.image_shape[-1]), float(space.norms(z[0], None)[0])
