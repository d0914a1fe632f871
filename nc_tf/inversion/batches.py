"""Minibatches of every restart's rounds."""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import tensorflow as tf

from nc_tf.inversion.restart import Arm
from nc_tf.inversion.step import SearchSettings


class Minibatches(Protocol):
    """Where a round's images come from."""

    def __call__(self, arms: Sequence[Arm], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        """Raw images (N, H, W, C) or clips (N, T, H, W, C), and the rows (K, A, B) int32 of each minibatch of each arm's coming round."""


class ResidentImages:
    """Images as uint8 (or float32), which every arm draws in an order of its own, epoch after epoch.

    The order depends on the seed, the arm and its round alone (and on which images are left out): never on which other arms run, or on
    what was run before. On the device lie all images, or, where these are fewer, those of the coming round.
    """

    def __init__(
        self,
        images: np.ndarray,
        settings: SearchSettings,
        seed: int,
        labels: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        """Args:
        images: (N, H, W, C) raw, clips (N, T, H, W, C); they are not copied as a whole where a round needs fewer.
        settings: of the search.
        seed: of the orders.
        labels: (N,): an arm draws the images of other labels than its own, at least one; without them it draws all images.
        rows: the images to draw from; None for all.
        """
        self.images, self.labels = images, labels
        self.rows = np.arange(len(images)) if rows is None else rows
        self.settings, self.seed = settings, seed
        self._epoch = lru_cache(maxsize=256)(self._shuffle)

    @cached_property
    def _all(self) -> tf.Tensor:
        return tf.constant(self.images)

    def bytes_on_device(self, lanes: int) -> int:
        """Bytes of the images on the device while so many arms run."""
        needed = lanes * self.settings.batches_per_round * self.settings.batch_size
        return min(len(self.images), needed) * self.images[0].nbytes

    def _drawn(self, label: int) -> np.ndarray:
        """Rows of the images that the arms of a label draw."""
        return self.rows if self.labels is None else self.rows[self.labels[self.rows] != label]

    def _shuffle(self, label: int, start: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, label, start, epoch]).permutation(self._drawn(label)).astype(np.int32)

    def _rows(self, arm: Arm, round_: int) -> np.ndarray:
        steps, batch = self.settings.batches_per_round, self.settings.batch_size
        needed, there = steps * batch, len(self._drawn(arm.label))
        epoch, offset = divmod(round_ * needed, there)
        last = (round_ * needed + needed - 1) // there
        order = np.concatenate([self._epoch(arm.label, arm.start, number) for number in range(epoch, last + 1)])
        return order[offset : offset + needed].reshape(steps, batch)

    def __call__(self, arms: Sequence[Arm], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        rows = np.stack([self._rows(arm, round_) for arm, round_ in zip(arms, rounds, strict=True)], axis=1)
        if rows.size >= len(self.images) or "_all" in vars(self):  # there already, when arms were more
            return self._all, rows
        return tf.constant(self.images[rows.ravel()]), np.arange(rows.size, dtype=np.int32).reshape(rows.shape)
