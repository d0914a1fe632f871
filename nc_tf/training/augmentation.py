"""Clips as they might have been filmed as well, for training sets too small to show everything in every light."""

import numpy as np
import tensorflow as tf

SMALLEST = 0.35  # share of the picture that a cut leaves
STRETCH = 0.3  # logarithm of how much wider than high it may become, or the other way round
LIGHT = 0.4  # how far exposure and contrast go up or down
CAST = 0.1  # the same of each channel
GREY = 0.15  # share of clips without any colour


def film_anew(clips: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Cut, stretched back, mirrored or not, lit and coloured anew, every clip in its own way and all of its frames alike.

    Of no use where left and right, size or colour are what the classes differ in.

    Args:
        clips: (N, T, H, W, C) raw [0, 255], any number type.
        seed: (2,) integers; the same give the same.

    Returns:
        (N, T, H, W, C) float32 in [0, 255].
    """
    count, frames, height, width, channels = tf.unstack(tf.shape(clips))
    draws = tf.random.stateless_uniform((9 + channels, count), seed)
    area, stretch = SMALLEST + (1 - SMALLEST) * draws[0], tf.exp(STRETCH * (2 * draws[1] - 1))
    high, wide = tf.minimum(tf.sqrt(area / stretch), 1.0), tf.minimum(tf.sqrt(area * stretch), 1.0)
    top, left = draws[2] * (1 - high), draws[3] * (1 - wide)
    mirrored = draws[4] < 0.5
    begin, end = tf.where(mirrored, left + wide, left), tf.where(mirrored, left, left + wide)
    boxes = tf.repeat(tf.stack([top, begin, top + high, end], axis=1), frames, axis=0)
    pictures = tf.reshape(tf.cast(clips, tf.float32), (-1, height, width, channels))
    cut = tf.image.crop_and_resize(pictures, boxes, tf.range(count * frames), (height, width))
    filmed = tf.reshape(cut, tf.shape(clips))

    def of_clip(values: tf.Tensor) -> tf.Tensor:
        return tf.reshape(values, (count, 1, 1, 1, -1))

    mean = tf.reduce_mean(filmed, axis=(1, 2, 3, 4), keepdims=True)
    filmed = mean + (filmed - mean) * of_clip(1 + LIGHT * (2 * draws[5] - 1))
    exposure = (1 + LIGHT * (2 * draws[6] - 1)) * (1 + CAST * (2 * draws[9:] - 1))
    filmed *= of_clip(tf.transpose(exposure))
    paleness = of_clip(tf.where(draws[7] < GREY, 1.0, 0.3 * draws[8]))
    filmed += paleness * (tf.reduce_mean(filmed, axis=-1, keepdims=True) - filmed)
    return tf.ensure_shape(tf.clip_by_value(filmed, 0.0, 255.0), clips.shape)


def filmed_batches(clips: np.ndarray, labels: np.ndarray, batch_size: int, *, seed: int = 0) -> tf.data.Dataset:
    """What `unlearn` takes in place of few clips, so that they are not learned by heart: an epoch of them, each filmed anew every time.

    As with all of tf.data, order and films depend on the global seed as well (`keras.utils.set_random_seed`), and a dataset that is used
    twice goes on where it was: make one for every use.

    Args:
        clips: (N, T, H, W, C) raw [0, 255], any number type.
        labels: (N,) integers.
        batch_size: clips a batch.
        seed: of order and films.

    Returns:
        Batches of (clips float32 in [0, 255], labels int64).
    """
    resident, own = tf.constant(clips), tf.constant(labels, tf.int64)
    rows = tf.data.Dataset.range(len(clips)).shuffle(len(clips), seed=seed).batch(batch_size)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def draw(rows: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return film_anew(tf.gather(resident, rows), seed), tf.gather(own, rows)

    return tf.data.Dataset.zip(rows, seeds).map(draw, num_parallel_calls=2, deterministic=True)


def mix_pairs(clips: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, alpha: float = 0.2) -> tuple[tf.Tensor, tf.Tensor]:
    """MixUp (Zhang et al., 2018): each clip with another of the batch, with a weight of its own from Beta(alpha, alpha).

    Args:
        clips: (N, ...) float32.
        labels: (N, K) float32, one-hot.
        seed: (2,) integers; the same give the same.
        alpha: above 0; small ones leave most clips nearly as they are.

    Returns:
        Clips and labels of the same shapes, mixed alike.
    """
    count = tf.shape(clips)[0]
    one, other = tf.unstack(tf.random.stateless_gamma((2, count), seed, alpha))
    weight = one / (one + other)
    partners = tf.argsort(tf.random.stateless_uniform((count,), seed + 1))

    def mix(values: tf.Tensor) -> tf.Tensor:
        share = tf.reshape(weight, (-1, *[1] * (len(values.shape) - 1)))
        return share * values + (1 - share) * tf.gather(values, partners)

    return mix(clips), mix(labels)
