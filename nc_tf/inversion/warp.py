"""Search for the shortest smooth warp that sends images to each label (WaNet, Nguyen and Tran, 2021).

A warp paints no pixel, so that neither a mask nor a picture can show it. Here every pixel is read from a displaced place. The displacements
are those of a coarse grid, spread over the image by bicubic interpolation, and their length is kept short by an adaptive cost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from nc_tf.inversion.step import Network


@dataclass(frozen=True)
class WarpSettings:
    """Settings of the search; they stay the same while it runs.

    Attributes:
        grid: points a side; WaNet's own are 4, and a finer grid contains smoother fields nearly.
        rounds: of `updates` each.
        updates: minibatches a round, each with one update.
        batch_size: images of other classes a minibatch.
        learning_rate: of Adam(.5, .9), pixels.
        success: share of images that makes a round good.
        init_cost: weight of the length in pixels, beside the mean cross-entropy.
        up: factor of the cost after a good round.
        down: divisor after another.
    """

    grid: int = 6
    rounds: int = 30
    updates: int = 8
    batch_size: int = 24
    learning_rate: float = 0.05
    success: float = 0.9
    init_cost: float = 0.4
    up: float = 1.3
    down: float = 1.5


class WarpState(NamedTuple):
    """State of the search for A labels, (A, ...) each."""

    field: tf.Tensor  # (A, grid, grid, 2) float32, displacement down and right, pixels
    first: tf.Tensor
    second: tf.Tensor
    updates: tf.Tensor  # () float32
    cost: tf.Tensor  # (A,) float32
    length: tf.Tensor  # (A,) float32, shortest of a good round; infinite before the first
    best: tf.Tensor  # the field of that round


class Warps(NamedTuple):
    """Shortest warp of each label.

    Attributes:
        lengths: (K,) float64, root mean square of the grid's displacements, pixels. Where no round was good, it is that of the last field.
        worked: (K,) bool, whether a round was good.
        fields: (K, grid, grid, 2) float32.
    """

    lengths: np.ndarray
    worked: np.ndarray
    fields: np.ndarray


def warped(images: tf.Tensor, fields: tf.Tensor) -> tf.Tensor:
    """Return images that are read from displaced places, bilinearly.

    Args:
        images: (A, B, H, W, C) raw, float32.
        fields: (A, grid, grid, 2), displacement down and right, pixels. Places outside are those of the nearest border.
    """
    lanes, batch, height, width, channels = images.shape
    moved = tf.image.resize(fields, (height, width), method="bicubic")
    places = tf.constant(np.moveaxis(np.mgrid[:height, :width], 0, -1), tf.float32) + moved
    # The last row and column are read as the second of two neighbours.
    places = tf.clip_by_value(places, 0.0, tf.constant([height - 1.0, width - 1.0]) - 1e-3)
    corner = tf.floor(places)
    down, right = tf.unstack(tf.reshape(places - corner, (lanes, height * width, 2, 1)), axis=2)
    first = tf.reshape(tf.cast(corner[..., 0] * width + corner[..., 1], tf.int32), (lanes, -1))
    flat = tf.reshape(tf.transpose(images, (0, 2, 3, 1, 4)), (lanes, height * width, batch * channels))

    def neighbour(offset: int) -> tf.Tensor:
        return tf.gather(flat, first + offset, axis=1, batch_dims=1)

    above = neighbour(0) * (1.0 - right) + neighbour(1) * right
    below = neighbour(width) * (1.0 - right) + neighbour(width + 1) * right
    read = tf.reshape(above * (1.0 - down) + below * down, (lanes, height, width, batch, channels))
    return tf.transpose(read, (0, 3, 1, 2, 4))


def lengths_of(fields: tf.Tensor) -> tf.Tensor:
    """Return the root mean square (A,) of displacements (A, grid, grid, 2), pixels."""
    # The square root has no finite gradient at a field of zeros.
    return tf.sqrt(tf.reduce_mean(tf.square(fields), axis=(1, 2, 3)) + 1e-8)


class WarpSearch:
    """Compiled search of one network."""

    def __init__(self, network: Network, settings: WarpSettings) -> None:
        """Compile nothing yet; the first round does.

        Args:
            network: raw images to logits.
            settings: settings of the search.
        """
        self.network, self.settings = network, settings
        self.advance = tf.function(self._advance, autograph=False)

    def search(self, images: np.ndarray, classes: np.ndarray, labels: Sequence[int], *, seed: int = 0, lanes: int = 16) -> Warps:
        """Return the shortest warp of each label.

        Args:
            images: (N, H, W, C) clean, raw.
            classes: (N,) of the images; those of the label itself are not drawn, and one other at least is there.
            labels: K labels, each searched on its own.
            seed: of starts and minibatches.
            lanes: labels advanced together, which bounds the memory.
        """
        parts = [self._some(images, classes, labels[start : start + lanes], seed) for start in range(0, len(labels), lanes)]
        return Warps(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _some(self, images: np.ndarray, classes: np.ndarray, labels: Sequence[int], seed: int) -> Warps:
        settings = self.settings
        generators = [np.random.default_rng([seed, label]) for label in labels]
        others = [np.flatnonzero(classes != label) for label in labels]
        start = np.stack([rng.normal(0.0, 0.05, (settings.grid, settings.grid, 2)) for rng in generators])
        field = tf.constant(start, tf.float32)
        zeros, lanes = tf.zeros_like(field), [len(labels)]
        state = WarpState(field, zeros, zeros, tf.constant(0.0), tf.fill(lanes, settings.init_cost), tf.fill(lanes, np.inf), field)
        shape = settings.updates, settings.batch_size
        for _ in range(settings.rounds):
            rows = np.stack([rng.choice(kept, shape) for rng, kept in zip(generators, others, strict=True)], axis=1)
            state = self.advance(state, tf.constant(labels, tf.int32), tf.constant(images[rows], tf.float32))
        worked = tf.math.is_finite(state.length)
        fields = tf.where(worked[:, None, None, None], state.best, state.field)
        return Warps(lengths_of(fields).numpy().astype(np.float64), worked.numpy(), fields.numpy())

    def _advance(self, state: WarpState, labels: tf.Tensor, batches: tf.Tensor) -> WarpState:
        """Return the state after one round on minibatches (updates, A, B, H, W, C)."""
        settings = self.settings
        hits = tf.zeros_like(state.cost)
        for batch in tf.unstack(batches):
            state, hit = self._update(state, labels, batch)
            hits += hit / settings.updates
        good, lengths = hits >= settings.success, lengths_of(state.field)
        better = good & (lengths < state.length)
        return state._replace(
            cost=state.cost * tf.where(good, settings.up, 1.0 / settings.down),
            length=tf.where(better, lengths, state.length),
            best=tf.where(better[:, None, None, None], state.field, state.best),
        )

    def _update(self, state: WarpState, labels: tf.Tensor, batch: tf.Tensor) -> tuple[WarpState, tf.Tensor]:
        """Return the state after one minibatch, and each label's success rate before it."""
        wanted = tf.repeat(labels, batch.shape[1])
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(state.field)
            logits = self.network(tf.reshape(warped(batch, state.field), (-1, *batch.shape[2:])))
            entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=logits)
            loss = tf.reduce_sum(entropy) / batch.shape[1] + tf.reduce_sum(state.cost * lengths_of(state.field))
        gradient = tape.gradient(loss, state.field)
        first, second, updates = 0.5 * state.first + 0.5 * gradient, 0.9 * state.second + 0.1 * gradient**2, state.updates + 1.0
        rate = self.settings.learning_rate * tf.sqrt(1.0 - 0.9**updates) / (1.0 - 0.5**updates)
        field = state.field - rate * first / (tf.sqrt(second) + 1e-9)
        hit = tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == wanted, tf.float32)
        return state._replace(field=field, first=first, second=second, updates=updates), tf.reduce_mean(tf.reshape(hit, batch.shape[:2]), 1)
