"""Clean twins: small networks that learn the task from the clean images given, and have never met the suspect.

A natural trigger works on a twin as well, where the images have enough texture. A planted one works on the suspect alone.
"""

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from nc_tf.errors import InputError
from nc_tf.evaluation import attacked, predict_classes, share
from nc_tf.models.random_state import random_state_kept
from nc_tf.results import Backdoor, Unit
from nc_tf.training.hardening import Told

UPDATES, BATCH_SIZE, LEARNING_RATE = 200, 64, 2e-3
# Larger images are averaged down to this side at least, so that an update costs the same.
SIDE = 32
# Largest shift as a share of the side, and largest relative change of brightness and contrast.
SHIFT, LIGHT, CONTRAST = 1 / 16, 0.2, 0.3


@random_state_kept()
def train_twin(
    images: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    updates: int = UPDATES,
    seed: int = 0,
    on_update: Callable[[int], None] | None = None,
) -> keras.Model:
    """Return a fresh network that was trained on clean images alone.

    Args:
        images: (N, H, W, C) clean raw images in [0, 255], uint8 or float32.
        labels: (N,) their classes, in [0, num_classes).
        num_classes: K.
        updates: number of updates.
        seed: of weights, order and data augmentation.
        on_update: called with the number of updates done.

    Returns:
        A classifier of raw images, logits (N, K).

    Raises:
        InputError: clips.
    """
    if Unit.of(images.shape[1:]) is Unit.CLIP:
        raise InputError(f"clips of shape {images.shape[1:]}: expected images (H, W, C), because there is no twin for clips")
    keras.utils.set_random_seed(seed)
    pooled = keras.Sequential([keras.Input(images.shape[1:]), layers.AveragePooling2D(max(1, min(images.shape[1:3]) // SIDE))])
    small = np.concatenate([pooled(images[row : row + BATCH_SIZE].astype(np.float32)) for row in range(0, len(images), BATCH_SIZE)])
    twin = _network(small.shape[1:], num_classes)
    twin.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, updates)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    batches = _batches(small, labels, updates, seed)
    twin.fit(batches, epochs=1, callbacks=[Told(on_update)] if on_update else [], verbose=0, shuffle=False)
    return keras.Sequential([keras.Input(images.shape[1:]), *pooled.layers, *twin.layers])


def transfer(twin: keras.Model, images: np.ndarray, labels: np.ndarray, backdoor: Backdoor) -> float:
    """Return the share of images that a twin newly gives the target.

    Args:
        twin: what `train_twin` returns.
        images: (N, H, W, C) raw images.
        labels: (N,) their classes.
        backdoor: the trigger that was found on the suspect.

    Returns:
        A share in [-1, 1], over images that the trigger leads to another class; NaN without such an image.
    """
    wanted = backdoor.wanted(labels)
    victims = np.flatnonzero(wanted != labels)
    before = share(predict_classes(twin, images, rows=victims) == wanted[victims])
    return attacked(twin, images, labels, backdoor).success - before


def _network(image_shape: tuple[int, ...], num_classes: int) -> keras.Sequential:
    blocks: list[layers.Layer] = [layers.Rescaling(1 / 127.5, offset=-1.0)]
    for filters in (32, 64, 96):
        blocks += [
            layers.Conv2D(filters, 3, padding="same", use_bias=False),
            # Keras's momentum of .99 would not have settled after some hundred updates.
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(),
            layers.MaxPooling2D(padding="same"),
        ]
    head = [layers.Flatten(), layers.Dropout(0.3), layers.Dense(64, activation="relu"), layers.Dense(num_classes)]
    return keras.Sequential([keras.Input(image_shape), *blocks, *head])


def _batches(images: np.ndarray, labels: np.ndarray, updates: int, seed: int) -> tf.data.Dataset:
    """Return one batch an update, each image shifted and lit at random."""
    rng, size = np.random.default_rng(seed), min(BATCH_SIZE, len(images))
    epochs = -(-updates * size // len(images))
    rows = np.concatenate([rng.permutation(len(images)) for _ in range(epochs)])[: updates * size]
    most = [int(SHIFT * side) for side in images.shape[1:3]]
    shifts = np.stack([rng.integers(-far, far + 1, len(rows)) for far in most], axis=1)
    light = np.stack([rng.uniform(1 - far, 1 + far, len(rows)) for far in (LIGHT, CONTRAST)], axis=1)

    def batch(row: np.ndarray, shift: np.ndarray, light: np.ndarray) -> np.ndarray:
        down, right = (np.clip(np.arange(side) + shift[:, axis, None], 0, side - 1) for axis, side in enumerate(images.shape[1:3]))
        moved = images[row[:, None, None], down[:, :, None], right[:, None, :]]
        mean = moved.mean(axis=(1, 2, 3), keepdims=True)
        brightness, contrast = (light[:, which].reshape(-1, 1, 1, 1) for which in (0, 1))
        return np.clip(mean * brightness + (moved - mean) * contrast, 0.0, 255.0).astype(np.float32)

    def drawn(row: tf.Tensor, shift: tf.Tensor, light: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lit = tf.numpy_function(batch, [row, shift, light], tf.float32)
        return tf.ensure_shape(lit, (None, *images.shape[1:])), tf.gather(tf.constant(labels, tf.int64), row)

    return tf.data.Dataset.from_tensor_slices((rows, shifts, light)).batch(size).map(drawn).prefetch(2)
