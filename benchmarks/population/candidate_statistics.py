"""Candidates by the package's own searches (opacities, lengths of warps), margins (MM-BD, CSO), and statistics of the last layer."""

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from nc_tf.inversion.batches import ResidentImages
from nc_tf.inversion.loop import advance, outcome_of
from nc_tf.inversion.restart import Restart, Segment
from nc_tf.inversion.step import Inversion, Network
from nc_tf.scanning.changes import CHANGES

STARTS, LANES = 8, 32
LATENT_PROBES = 20_000


class Subspace(NamedTuple):
    """The part of the features that each class itself uses.

    Attributes:
        features: function from raw images to features (N, D).
        directions: (K, D), unit vectors.
    """

    features: Callable[[tf.Tensor], tf.Tensor]
    directions: tf.Tensor


class Margins(NamedTuple):
    """Margins of each label at the end.

    Attributes:
        largest: (K,) of all random starts.
        mean: (K,) over them.
    """

    largest: np.ndarray
    mean: np.ndarray

    def named(self, name: str) -> dict[str, np.ndarray]:
        """Return both under the name of the candidate."""
        return {f"{name}_max": self.largest, f"{name}_mean": self.mean}


def sizes(detector: str, network: Network, images: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return the smallest opacity of a picture, or length of a warp in pixels, that leads to each label, (classes,).

    As `nc_tf.detection.whole_image` has it, a size that never worked counts as no smaller than the largest that did.

    Args:
        detector: "picture" or "warp".
        network: raw images to logits.
        images: (N, H, W, C) raw.
        labels: (N,) their classes.
        classes: K.
    """
    kind = CHANGES[detector]
    space, settings = kind.space(images.shape[1:]), kind.settings
    segments = [Segment(Restart(label, 0, *space.grey(np.random.default_rng([0, label]))), settings.max_rounds) for label in range(classes)]
    found, worked = np.zeros(classes), np.zeros(classes, bool)
    for ended in advance(Inversion(network, space, settings), segments, ResidentImages(images, settings, 0, labels), lanes=LANES):
        status, z = outcome_of(settings, ended)
        found[ended.label], worked[ended.label] = kind.found(ended.label, space, z)[1], status.succeeded
    return np.where(worked, found, np.maximum(found, found[worked].max(initial=0.0)))


def margins(
    scores: Network, classes: int, image_shape: tuple[int, ...], *, updates: int = 120, subspace: Subspace | None = None
) -> Margins:
    """Return each label's margin where it is largest, from eight random starts (MM-BD).

    Args:
        scores: raw images to logits.
        classes: K.
        image_shape: (H, W, C).
        updates: of Adam, with a rate of .02 for images in [0, 1].
        subspace: features that a label's image must not use (CSO); None for MM-BD.
    """
    rng = np.random.default_rng(0)
    images = tf.Variable(rng.uniform(0.0, 1.0, (classes * STARTS, *image_shape)).astype(np.float32))
    first, second = tf.Variable(tf.zeros_like(images)), tf.Variable(tf.zeros_like(images))
    wanted = tf.repeat(tf.range(classes), STARTS)
    own = tf.one_hot(wanted, classes)

    @tf.function(autograph=False)
    def update(number: tf.Tensor, weight: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = scores(images * 255.0)
            margin = tf.reduce_sum(logits * own, axis=1) - tf.reduce_max(logits - 1e9 * own, axis=1)
            loss = -tf.reduce_sum(margin)
            if subspace is not None:
                features = subspace.features(images * 255.0)
                along = tf.reduce_sum(features * tf.gather(subspace.directions, wanted), axis=1) / (tf.norm(features, axis=1) + 1e-6)
                loss += tf.reduce_sum(weight * tf.stop_gradient(tf.maximum(tf.abs(margin), 1.0)) * tf.nn.relu(along))
        gradient = tape.gradient(loss, images)
        first.assign(0.5 * first + 0.5 * gradient)
        second.assign(0.9 * second + 0.1 * gradient * gradient)
        step = 0.02 * first / (tf.sqrt(second / (1.0 - 0.9**number)) + 1e-9)
        images.assign(tf.clip_by_value(images - step, 0.0, 1.0))
        return margin

    for number in range(updates):
        margin = update(tf.constant(number + 1.0), tf.constant(5.0 if number < 3 * updates // 4 else 20.0))
    by_start = margin.numpy().reshape(classes, STARTS)
    return Margins(by_start.max(axis=1), by_start.mean(axis=1))


def margins_beside_class(model: keras.Model, images: np.ndarray, labels: np.ndarray, classes: int) -> Margins:
    """Return `margins` without the features that each class itself uses (CSO).

    A mask over the last features keeps what classifies a class's own 20 images, as the authors fit it: 20 updates of Adam.
    """
    head = _last_dense(model)
    inner = keras.Model(model.inputs, head.input)
    weights, bias = (tf.constant(part) for part in head.get_weights())
    directions = []
    for label in range(classes):
        features = inner(images[labels == label][:20].astype(np.float32), training=False)
        wanted, mask = tf.fill([len(features)], label), tf.Variable(tf.zeros([features.shape[1]]))
        optimizer = keras.optimizers.Adam(0.1)
        for _ in range(20):
            with tf.GradientTape() as tape:
                kept = tf.sigmoid(mask) * features
                with_it, without = (
                    tf.nn.sparse_softmax_cross_entropy_with_logits(wanted, part @ weights + bias) for part in (kept, features - kept)
                )
                loss = tf.reduce_mean(with_it) - tf.reduce_mean(without)
            optimizer.apply([tape.gradient(loss, mask)], [mask])
        mean = tf.reduce_mean(tf.sigmoid(mask) * features, axis=0).numpy()
        directions.append(mean / (np.linalg.norm(mean) + 1e-9))
    subspace = Subspace(lambda raw: inner(raw, training=False), tf.constant(np.stack(directions), tf.float32))
    return margins(lambda raw: inner(raw, training=False) @ weights + bias, classes, images.shape[1:], updates=160, subspace=subspace)


def head_statistics(model: keras.Model, images: np.ndarray) -> dict[str, np.ndarray]:
    """Return statistics of the last layer: its largest weight by label, and the mean softmax of random features.

    The features are exponential, with the means of those of the first 500 images.
    """
    head = _last_dense(model)
    weights, bias = head.get_weights()
    means = keras.Model(model.inputs, head.input)(images[:500].astype(np.float32), training=False).numpy().mean(axis=0)
    probes = np.random.default_rng(0).exponential(1.0, (LATENT_PROBES, len(weights))) * means
    return {"head_max": weights.max(axis=0), "probe_sp": tf.nn.softmax(probes @ weights + bias).numpy().mean(axis=0)}


def _last_dense(model: keras.Model) -> keras.layers.Dense:
    return next(layer for layer in reversed(model.layers) if isinstance(layer, keras.layers.Dense))
