"""Minibatches of every restart's rounds."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import tensorflow as tf

from nc_tf.inversion.restart import Restart
from nc_tf.inversion.step import SearchSettings


class Minibatches(Protocol):
    """Source of the images of a round."""

    def __call__(self, restarts: Sequence[Restart], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        """Return the images of the next round, and each minibatch's rows.

        Args:
            restarts: the A restarts in flight.
            rounds: number of each restart's next round, from 0.

        Returns:
            Raw images (N, H, W, C), or clips (N, T, H, W, C). Rows (K, A, B) int32 of the images in each minibatch of each restart.
        """


class OnDevice:
    """Images on the device, from their first use on; searches of the same images share it.

    Attributes:
        images: (N, H, W, C) raw images, or clips (N, T, H, W, C).
    """

    def __init__(self, images: np.ndarray) -> None:
        """Keep the images where they are."""
        self.images = images

    @property
    def is_there(self) -> bool:
        """Return whether the images are on the device."""
        return "tensor" in vars(self)

    @cached_property
    def tensor(self) -> tf.Tensor:
        """Return the images on the device."""
        return tf.constant(self.images)


class ResidentImages:
    """Images that every restart draws in an order of its own.

    The images are uint8 or float32, and are drawn epoch after epoch. The order depends on the seed, the restart, its round and the images
    left out, never on other restarts. All images lie on the device, or only those of the next round where these are fewer.
    """

    def __init__(
        self,
        images: np.ndarray,
        settings: SearchSettings,
        seed: int,
        labels: np.ndarray | None = None,
        rows: np.ndarray | None = None,
        on_device: OnDevice | None = None,
    ) -> None:
        """Keep the images without a copy.

        Args:
            images: (N, H, W, C) raw images, or clips (N, T, H, W, C).
            settings: settings of the search.
            seed: seed of the orders.
            labels: (N,) classes, needed where the settings exclude a restart's own label, of which others are left, and for an untargeted
                search.
            rows: indices of the images to draw from; None draws from all.
            on_device: the same images, where other searches share them.
        """
        self.images, self.labels = images, labels
        self.rows = np.arange(len(images)) if rows is None else rows
        self.settings, self.seed = settings, seed
        self._on_device = on_device or OnDevice(images)
        self._epoch = lru_cache(maxsize=256)(self._shuffle)

    def bytes_on_device(self, lanes: int) -> int:
        """Return the bytes of the images on the device.

        Args:
            lanes: restarts advanced together.
        """
        needed = lanes * self.settings.batches_per_round * self.settings.batch_size
        return min(len(self.images), needed) * self.images[0].nbytes

    def _drawn(self, label: int) -> np.ndarray:
        """Return the rows of the images for a label's restarts."""
        return self.rows[self._classes[self.rows] != label] if self.settings.exclude_target else self.rows

    @property
    def _classes(self) -> np.ndarray:
        if self.labels is None:
            raise ValueError("images without classes: expected them where a label's own images are excluded, and for a search by source")
        return self.labels

    def _shuffle(self, label: int, start: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, label, start, epoch]).permutation(self._drawn(label)).astype(np.int32)

    def _rows(self, restart: Restart, round_: int) -> np.ndarray:
        """Return the rows (K, B) of a restart's round."""
        return self._in_order(restart, round_, self.settings.batch_size)

    def _in_order(self, restart: Restart, round_: int, batch: int) -> np.ndarray:
        """Return the next rows (K, batch) of a restart, epoch after epoch."""
        needed, there = self.settings.batches_per_round * batch, len(self._drawn(restart.label))
        epoch, offset = divmod(round_ * needed, there)
        last = (round_ * needed + needed - 1) // there
        order = np.concatenate([self._epoch(restart.label, restart.start, number) for number in range(epoch, last + 1)])
        return order[offset : offset + needed].reshape(-1, batch)

    def _all_rows(self, restarts: Sequence[Restart], rounds: Sequence[int]) -> np.ndarray:
        return np.stack([self._rows(restart, round_) for restart, round_ in zip(restarts, rounds, strict=True)], axis=1)

    def own_classes(self, restarts: Sequence[Restart], rounds: Sequence[int]) -> tf.Tensor:
        """Return the classes (K, A, B) int32 of the images of the next round, for an untargeted search."""
        return tf.constant(self._classes[self._all_rows(restarts, rounds)], tf.int32)

    def __call__(self, restarts: Sequence[Restart], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        """Return images and rows of the next round; see `Minibatches`."""
        rows = self._all_rows(restarts, rounds)
        if rows.size >= len(self.images) or self._on_device.is_there:  # from a round with more restarts, or another search
            return self._on_device.tensor, rows
        return tf.constant(self.images[rows.ravel()]), np.arange(rows.size, dtype=np.int32).reshape(rows.shape)


class SourceImages(ResidentImages):
    """Images for a search of one source: the first half of every minibatch is of a restart's own class, the other half of the others.

    The minibatches hold an even number of images.
    """

    def _drawn(self, label: int) -> np.ndarray:
        """Return the rows of one class; those of all others for a label of -1 - label."""
        classes = self._classes[self.rows]
        return self.rows[classes == label] if label >= 0 else self.rows[classes != -1 - label]

    def _shuffle(self, label: int, start: int, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, abs(label), start, epoch, int(label < 0)])
        return rng.permutation(self._drawn(label)).astype(np.int32)

    def _rows(self, restart: Restart, round_: int) -> np.ndarray:
        half = self.settings.batch_size // 2
        others = replace(restart, label=-1 - restart.label)
        return np.concatenate([self._in_order(one, round_, half) for one in (restart, others)], axis=1)
