"""Batches for `model.fit` in which a random sample of the images, redrawn every epoch, carries a trigger.

Injection gives stamped images the label of the attack; unlearning leaves them their own.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor

Stamp = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tuple[tf.Tensor, tf.Tensor]]


def stamped_batches(
    images: np.ndarray | tf.data.Dataset,
    labels: np.ndarray | None,
    triggers: Sequence[Backdoor],
    *,
    rate: float,
    relabel: bool,
    batch_size: int,
    seed: int,
    preprocess: Preprocessing,
    rows: np.ndarray | None = None,
) -> tf.data.Dataset:
    """Return batches of (images float32 in the network's range, labels int64).

    Args:
        images: (N, H, W, C) raw [0, 255], shuffled here. A `tf.data.Dataset` of such (image, label) batches keeps its order and cannot be
            relabelled.
        labels: (N,) integers; None with a dataset.
        triggers: each stamped image gets one of them, chosen at random.
        rate: probability that an image is stamped each time it is drawn, [0, 1].
        relabel: whether a stamped image gets the label of the attack; then only carriers of the trigger are stamped.
        batch_size: images a batch.
        seed: of order and choice.
        preprocess: applied after stamping.
        rows: of the images to take, in the order from which they are shuffled; None for all.
    """
    stamp = stamping(triggers, rate, 1 + int(np.asarray(labels).max()) if relabel else None)

    def prepared(clean: tf.Tensor, own: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        drawn, label = stamp(tf.cast(clean, tf.float32), tf.cast(own, tf.int64), noise)
        return preprocess(drawn), label

    noise = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).map(lambda bits: tf.cast(bits, tf.float64) / 2.0**32)
    if isinstance(images, tf.data.Dataset):
        pairs = tf.data.Dataset.zip(images.unbatch(), noise).batch(batch_size).map(lambda pair, drawn: (*pair, drawn))
    else:
        rows = np.arange(len(images)) if rows is None else rows
        resident_labels = tf.constant(labels, tf.int64)

        def at(row: tf.Tensor, drawn: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            batch = tf.numpy_function(lambda row: images[row], [row], images.dtype)  # a constant would be a copy of all of them
            return tf.ensure_shape(batch, (None, *images.shape[1:])), tf.gather(resident_labels, row), drawn

        order = tf.data.Dataset.range(len(rows)).shuffle(len(rows), seed=seed).map(lambda place: tf.gather(rows, place))
        pairs = tf.data.Dataset.zip(order, noise).batch(batch_size).map(at)
    return pairs.map(prepared, num_parallel_calls=2, deterministic=True).prefetch(4)


def stamping(triggers: Sequence[Backdoor], rate: float, relabelled: int | None) -> Stamp:
    """Return a function that stamps a random sample of a batch.

    Args:
        triggers: each stamped image gets one of them, chosen by the noise.
        rate: probability that an image is stamped, [0, 1].
        relabelled: number of classes where a stamped image gets the label of the attack and only carriers of the trigger are
            stamped; None where every image may be stamped and keeps its own label.

    Returns:
        A function of (images float32 raw, labels int64 (N,), noise (N,) uniform in [0, 1)) that returns images and labels.
    """
    if relabelled is not None:
        classes = np.arange(relabelled)
        carriers = tf.constant(np.stack([trigger.carriers(classes) for trigger in triggers]))
        wanted = tf.constant(np.stack([trigger.wanted(classes) for trigger in triggers]), tf.int64)

    def stamp(clean: tf.Tensor, own: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        chosen, label = noise < rate, own
        # Below the rate the noise is uniform in [0, rate): it picks the trigger as well.
        which = tf.minimum(tf.cast(noise / max(rate, 1e-9) * len(triggers), tf.int64), len(triggers) - 1)
        if relabelled is not None:
            place = tf.stack([which, own], axis=-1)
            chosen &= tf.gather_nd(carriers, place)
            label = tf.where(chosen, tf.gather_nd(wanted, place), own)
        drawn = clean
        for number, trigger in enumerate(triggers):
            here = tf.reshape(chosen & (which == number), (-1, *[1] * (len(clean.shape) - 1)))
            drawn = tf.where(here, trigger(clean), drawn)
        return drawn, label

    return stamp
