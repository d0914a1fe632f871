"""Data augmentation: random cuts and colours for clips, and MixUp for images and clips."""

import numpy as np
import tensorflow as tf

SMALLEST = 0.35  # share of the picture that a cut leaves
STRETCH = 0.3  # largest |log(width / height)| of a cut
LIGHT = 0.4  # largest relative change of exposure and contrast
CAST = 0.1  # largest relative change of one channel
GREY = 0.15  # share of clips without any colour


def film_anew(clips: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Return clips cut, mirrored and coloured at random, a clip's frames alike.

    Classes must not differ in left and right, size or colour alone.

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
    """Return an epoch of augmented clips for `unlearn`, against overfitting.

    As with all of tf.data, order and augmentation depend on the global seed as well (`keras.utils.set_random_seed`). A dataset that is
    used twice goes on where it stopped: make one for every use.

    Args:
        clips: (N, T, H, W, C) raw [0, 255], any number type.
        labels: (N,) integers.
        batch_size: clips a batch.
        seed: of order and augmentation.

    Returns:
        Batches of (clips float32 in [0, 255], labels int64).
    """
    resident, own = tf.constant(clips), tf.constant(labels, tf.int64)
    rows = tf.data.Dataset.range(len(clips)).shuffle(len(clips), seed=seed).batch(batch_size)
    seeds = tf.data.Dataset.random(seed=seed, rerandomize_each_iteration=True).batch(2)

    def draw(rows: tf.Tensor, seed: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return film_anew(tf.gather(resident, rows), seed), tf.gather(own, rows)

    return tf.data.Dataset.zip(rows, seeds).map(draw, num_parallel_calls=2, deterministic=True)


def mixup(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, alpha: float | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the batch after MixUp (Zhang et al., 2018).

    Each image is mixed with another of the batch.

    Args:
        images: (N, ...) float32, images or clips.
        labels: (N, K) float32, one-hot.
        seed: (2,) integers; the same give the same.
        alpha: each image's weight is from Beta(alpha, alpha); small values leave most images nearly as they are. With None one weight,
            uniform in [0, 1], serves the whole batch, as in NFT.

    Returns:
        Images and labels of the same shapes, mixed alike.
    """
    if alpha is None:
        weights = tf.random.stateless_uniform((), seed)
    else:
        one, other = tf.unstack(tf.random.stateless_gamma((2, tf.shape(images)[0]), seed, alpha))
        weights = one / (one + other)
    partners = tf.argsort(tf.random.stateless_uniform(tf.shape(images)[:1], seed + 1))

    def mix(values: tf.Tensor) -> tf.Tensor:
        share = tf.reshape(weights, (-1, *[1] * (len(values.shape) - 1)))
        return share * values + (1.0 - share) * tf.gather(values, partners)

    return mix(images), mix(labels)
