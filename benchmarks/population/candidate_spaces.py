"""Trigger spaces of the candidates for whole-image backdoors, and their search: all labels at once, the smallest norm that works."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

Network = Callable[[tf.Tensor], tf.Tensor]
Variables = tuple[tf.Tensor, ...]

SUCCESS, ROUND, BATCH = 0.9, 8, 24  # wanted success rate, updates a round, images a label
# A Fourier coefficient of 2,000 raw pixels is a wave of amplitude 88 in a picture of 32x32.
LARGEST_COEFFICIENT = 2000.0


@dataclass(frozen=True)
class Space(ABC):
    """A space of changes to whole images.

    Attributes:
        image_shape: (H, W, C).
    """

    image_shape: tuple[int, int, int]

    @property
    @abstractmethod
    def rates(self) -> tuple[float, ...]:
        """Return the learning rate of each variable."""

    @abstractmethod
    def start(self, labels: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return the first variables of each label, (K, ...) each."""

    @abstractmethod
    def change(self, variables: Variables, images: tf.Tensor) -> tf.Tensor:
        """Return changed raw images (K, B, H, W, C)."""

    @abstractmethod
    def norms(self, variables: Variables) -> tf.Tensor:
        """Return the size of each label's change, (K,)."""


@dataclass(frozen=True)
class Additive(Space):
    """One picture added to every image; its norm is L2, in units of 255."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Return the learning rate of each variable."""
        return (1.5,)

    def start(self, labels: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return the first variables."""
        return (rng.normal(0.0, 1.0, (labels, *self.image_shape)),)

    def change(self, variables: Variables, images: tf.Tensor) -> tf.Tensor:
        """Return changed images."""
        return tf.clip_by_value(images + variables[0][:, None], 0.0, 255.0)

    def norms(self, variables: Variables) -> tf.Tensor:
        """Return each label's norm."""
        return tf.sqrt(tf.reduce_sum(tf.square(variables[0]), axis=(1, 2, 3)) + 1e-6) / 255.0


@dataclass(frozen=True)
class Waves(Space):
    """A mask over frequencies and an amplitude for each: the paper's trigger in the Fourier domain; its norm is the mask's L1."""

    @property
    def rates(self) -> tuple[float, ...]:
        """Return the learning rate of each variable."""
        return (0.1, 0.1)

    def start(self, labels: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Return the first variables."""
        height, width, _ = self.image_shape
        return rng.normal(-4.0, 0.1, (labels, height, width, 1)), rng.normal(0.0, 0.1, (labels, *self.image_shape))

    def change(self, variables: Variables, images: tf.Tensor) -> tf.Tensor:
        """Return changed images."""
        coefficients = tf.sigmoid(variables[0]) * LARGEST_COEFFICIENT * tf.tanh(variables[1])
        down, across = (tf.constant(_waves(side), tf.float32) for side in self.image_shape[:2])
        return tf.clip_by_value(images + tf.einsum("kuvc,uh,vw->khwc", coefficients, down, across)[:, None], 0.0, 255.0)

    def norms(self, variables: Variables) -> tf.Tensor:
        """Return each label's norm."""
        return tf.reduce_sum(tf.sigmoid(variables[0]), axis=(1, 2, 3))


def _waves(side: int) -> np.ndarray:
    """Return an orthonormal basis of real waves, (side, side), a row each: constant, then cosines and sines by frequency."""
    place = 2.0 * np.pi * np.arange(side) / side
    rows = [np.ones(side)]
    for frequency in range(1, side // 2 + 1):
        rows += [np.cos(frequency * place), np.sin(frequency * place)]
    rows = [row for row in rows if np.abs(row).max() > 1e-6][:side]
    return np.stack([row / np.linalg.norm(row) for row in rows])


SPACES: dict[str, type[Space]] = {"additive": Additive, "waves": Waves}


class State(NamedTuple):
    """State of the search, with a leading axis of K labels."""

    variables: Variables
    first: Variables
    second: Variables
    cost: tf.Tensor
    norm: tf.Tensor  # smallest that worked, infinite before
    best: Variables


class Found(NamedTuple):
    """Smallest change that works for each label.

    Attributes:
        norms: (K,) float64; where no round worked, that of the last.
        worked: (K,) whether one did.
        variables: of the space.
    """

    norms: np.ndarray
    worked: np.ndarray
    variables: Variables


def smallest(network: Network, space: Space, images: np.ndarray, classes: np.ndarray, labels: int, *, rounds: int, seed: int) -> Found:
    """Search every label's smallest change that sends nine of ten images to it.

    The cost of the norm grows by 1.3 after a round that works, and falls by 1.5 after another.

    Args:
        network: raw images to logits.
        space: of the changes.
        images: (N, H, W, C) clean, raw.
        classes: (N,) of the images; those of the label itself are not drawn.
        labels: K.
        rounds: of eight updates each.
        seed: of starts and minibatches.
    """
    rng = np.random.default_rng(seed)
    variables = tuple(tf.constant(part, tf.float32) for part in space.start(labels, rng))
    zeros = tuple(tf.zeros_like(part) for part in variables)
    # The cost begins low against a cross-entropy of some units: a hundredth of it for the norm of the start.
    cost = 0.02 / tf.maximum(space.norms(variables), 1e-3)
    state = State(variables, zeros, zeros, cost, tf.fill([labels], np.inf), variables)
    others = [np.flatnonzero(classes != label) for label in range(labels)]

    @tf.function(autograph=False)
    def one_round(state: State, batches: tf.Tensor, updates: tf.Tensor) -> State:
        success = tf.zeros([labels])
        for number in range(ROUND):
            state, hit = _update(network, space, state, batches[number], updates + number + 1.0)
            success += hit / ROUND
        norms = space.norms(state.variables)
        better = (success >= SUCCESS) & (norms < state.norm)
        best = tuple(tf.where(_beside(better, new), new, old) for new, old in zip(state.variables, state.best, strict=True))
        cost = state.cost * tf.where(success >= SUCCESS, 1.3, 1 / 1.5)
        return state._replace(cost=cost, norm=tf.where(better, norms, state.norm), best=best)

    for number in range(rounds):
        rows = np.stack([rng.choice(kept, (ROUND, BATCH)) for kept in others], axis=1)
        state = one_round(state, tf.constant(images[rows], tf.float32), tf.constant(float(number * ROUND)))
    worked = np.isfinite(state.norm.numpy())
    kept = tuple(tf.where(_beside(tf.constant(worked), old), old, new) for old, new in zip(state.best, state.variables, strict=True))
    return Found(space.norms(kept).numpy().astype(float), worked, kept)


def _update(network: Network, space: Space, state: State, batch: tf.Tensor, time: tf.Tensor) -> tuple[State, tf.Tensor]:
    """Return the state after one minibatch (K, B, H, W, C) by Adam(.5, .9), and each label's success rate before it."""
    labels = batch.shape[0]
    wanted = tf.repeat(tf.range(labels), BATCH)
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(state.variables)
        logits = network(tf.reshape(space.change(state.variables, batch), (-1, *space.image_shape)))
        entropy = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=wanted, logits=logits)
        loss = tf.reduce_sum(entropy) / BATCH + tf.reduce_sum(state.cost * space.norms(state.variables))
    gradients = tape.gradient(loss, state.variables)
    hit = tf.cast(tf.argmax(logits, axis=1, output_type=tf.int32) == wanted, tf.float32)
    first = tuple(0.5 * m + 0.5 * g for m, g in zip(state.first, gradients, strict=True))
    second = tuple(0.9 * v + 0.1 * g * g for v, g in zip(state.second, gradients, strict=True))
    step = tf.sqrt(1.0 - 0.9**time) / (1.0 - 0.5**time)
    moments = zip(space.rates, state.variables, first, second, strict=True)
    variables = tuple(w - rate * step * m / (tf.sqrt(v) + 1e-9) for rate, w, m, v in moments)
    return state._replace(variables=variables, first=first, second=second), tf.reduce_mean(tf.reshape(hit, (labels, BATCH)), axis=1)


def newly_given(network: Network, space: Space, found: Found, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return the share of other images that each label is newly given to with its change, (K,)."""
    shares = []
    before = np.argmax(network(tf.constant(images, tf.float32)), axis=1)
    for label in range(len(found.norms)):
        kept = classes != label
        change = tuple(part[label : label + 1] for part in found.variables)
        changed = space.change(change, tf.constant(images[kept][None], tf.float32))[0]
        after = np.argmax(network(changed), axis=1)
        shares.append(float(np.mean(after == label) - np.mean(before[kept] == label)))
    return np.array(shares)


def _beside(values: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
    return tf.reshape(values, (-1, *[1] * (part.shape.rank - 1)))
