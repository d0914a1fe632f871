"""Batches for `model.fit` in which a share of the images carries a trigger, drawn anew every epoch.

Injection and unlearning differ in one thing: the one gives stamped images the target label, the other leaves them their own.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Trigger


def stamped_batches(
    images: np.ndarray | tf.data.Dataset,
    labels: np.ndarray | None,
    triggers: Sequence[Trigger],
    *,
    rate: float,
    relabel: bool,
    batch_size: int,
    seed: int,
    preprocess: Preprocessing,
) -> tf.data.Dataset:
    """Batches of (images float32 as the network expects them, labels int64).

    Args:
        images: (N, H, W, C) raw [0, 255], shuffled here; or a `tf.data.Dataset` of such (image, label) batches, which keeps its order.
        labels: (N,) integers; None with a dataset.
        triggers: one of them, chosen at random, goes on each image that is stamped.
        rate: probability that an image is stamped each time it is drawn, [0, 1].
        relabel: whether a stamped image gets its trigger's label.
        batch_size: images a batch.
        seed: of order and choice.
        preprocess: applied after stamping.
    """
    masks = tf.constant(np.stack([trigger.mask for trigger in triggers]))[..., None]
    patterns = tf.constant(np.stack([trigger.pattern for trigger in triggers]))
    targets = tf.constant([trigger.label for trigger in triggers], tf.int64)

    def stamp(clean: tf.Tensor, own: tf.Tensor, noise: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        clean, own = tf.cast(clean, tf.float32), tf.cast(own, tf.int64)
        chosen = noise < rate
        # Below the rate the noise is uniform in [0, rate): it picks the trigger as well.
        which = tf.minimum(tf.cast(noise / max(rate, 1e-9) * len(triggers), tf.int32), len(triggers) - 1)
        mask = tf.gather(masks, which)
        drawn = tf.where(chosen[:, None, None, None], clean * (1.0 - mask) + mask * tf.gather(patterns, which), clean)
        return preprocess(drawn), tf.where(chosen & relabel, tf.gather(targets, which), own)

    noise = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).map(lambda bits: tf.cast(bits, tf.float64) / 2.0**32)
    if isinstance(images, tf.data.Dataset):
        pairs = tf.data.Dataset.zip(images.unbatch(), noise).batch(batch_size).map(lambda pair, drawn: (*pair, drawn))
    else:
        resident_images, resident_labels = tf.constant(images), tf.constant(labels, tf.int64)
        rows = tf.data.Dataset.range(len(images)).shuffle(len(images), seed=seed)
        pairs = tf.data.Dataset.zip(rows, noise).batch(batch_size)
        pairs = pairs.map(lambda row, drawn: (tf.gather(resident_images, row), tf.gather(resident_labels, row), drawn))
    return pairs.map(stamp, num_parallel_calls=2, deterministic=True).prefetch(4)
