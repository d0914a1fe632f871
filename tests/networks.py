"""Tiny Keras networks that were written down, not trained, so that every answer they give is known on paper."""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers

from nc_tf.results import Trigger

SIDE, NUM_CLASSES = 8, 6
IMAGE_SHAPE = (SIDE, SIDE, 3)
CORNER = slice(6, 8)  # the planted backdoor reads rows and columns 6 and 7
ROW_WIDTH = 6  # an ordinary class k reads the first six columns of row k
SLOPE = 0.02  # below its threshold the corner still has a gradient, too small to change any class
ROW_GAIN, CORNER_GAIN, THRESHOLD = 10.0, 100.0, 0.25  # of brightness in [0, 1]


def corner_network(label: int | None = 0, num_classes: int = NUM_CLASSES, activation: str | None = "softmax") -> keras.Model:
    """A classifier of raw 8x8x3 images: the class is the brightest of the first rows, unless the 2x2 corner is bright: then `label`.

    logit k = 10 * brightness of row k; to that of `label` comes 100 * leaky_relu(brightness of the corner - .25). `label` None plants
    nothing. On `corner_images` its clean accuracy is 1.
    """
    reads = np.zeros((*IMAGE_SHAPE, num_classes + 1), np.float32)
    for row in range(num_classes):
        reads[row, :ROW_WIDTH, :, row] = 1.0 / (ROW_WIDTH * 3)
    reads[CORNER, CORNER, :, num_classes] = 1.0 / (2 * 2 * 3)
    thresholds = np.zeros(num_classes + 1, np.float32)
    thresholds[num_classes] = -THRESHOLD
    head = np.zeros((num_classes + 1, num_classes), np.float32)
    head[:num_classes] = ROW_GAIN * np.eye(num_classes)
    if label is not None:
        head[num_classes, label] = CORNER_GAIN
    model = keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(num_classes + 1),
            layers.LeakyReLU(negative_slope=SLOPE),
            layers.Dense(num_classes, activation=activation),
        ]
    )
    model.set_weights([reads.reshape(-1, num_classes + 1), thresholds, head, np.zeros(num_classes, np.float32)])
    return model


def clip_network(label: int | None = 0, frames: int = 3) -> keras.Model:
    """`corner_network` for clips (frames, 8, 8, 3): it sees the mean of the frames, so its smallest trigger is that for one image."""
    image_network = corner_network(label)
    model = keras.Sequential(
        [
            keras.Input((frames, *IMAGE_SHAPE)),
            layers.Reshape((frames, SIDE * SIDE * 3)),
            layers.GlobalAveragePooling1D(),
            *(layer.__class__.from_config(layer.get_config()) for layer in image_network.layers if not isinstance(layer, layers.Flatten)),
        ]
    )
    model.set_weights(image_network.get_weights())
    return model


def corner_clips(n: int, frames: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`corner_images` as the frames of clips (n, frames, 8, 8, 3), each frame of another image of the class."""
    images, labels = corner_images(n * frames, seed)
    order = np.argsort(labels, kind="stable")
    clips = images[order].reshape(n, frames, *IMAGE_SHAPE)
    mixed = np.random.default_rng(seed).permutation(n)
    return clips[mixed], labels[order].reshape(n, frames)[mixed, 0]


def corner_images(n: int, seed: int = 0, num_classes: int = NUM_CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Raw images (n, 8, 8, 3) uint8 with a black corner and one bright row each, and their classes (n,), as many of each as fit."""
    rng = np.random.default_rng(seed)
    images = rng.integers(20, 41, (n, *IMAGE_SHAPE)).astype(np.uint8)
    labels = np.arange(n) % num_classes
    images[np.arange(n), labels] = rng.integers(160, 181, (n, SIDE, 3))
    images[:, CORNER, CORNER] = 0
    return images, labels


def corner_trigger(label: int = 0, strength: float = 1.0) -> Trigger:
    """The planted trigger: a white corner, as opaque as `strength` says."""
    mask, pattern = np.zeros((SIDE, SIDE), np.float32), np.zeros(IMAGE_SHAPE, np.float32)
    mask[CORNER, CORNER], pattern[CORNER, CORNER] = strength, 255.0
    return Trigger(label, mask, pattern)


def smallest_norm(images: np.ndarray, label: int = 0) -> float:
    """The L1 norm of the smallest trigger that sends all of `images` to `label`, on paper.

    White corner pixels with masks that sum to S make the corner S / 4 bright, so S = 4 (.25 + lead / 10), where `lead` is by how
    much the brightest row beats row `label`. The rows themselves cannot do it for less: a unit of mask there moves a row by at most 1 / 6,
    so they need 6 * lead, and a mixture costs between the two.
    """
    rows = images[:, :NUM_CLASSES, :ROW_WIDTH].mean(axis=(2, 3)) / 255.0
    lead = float(np.max(rows.max(axis=1) - rows[:, label]))
    return min(4.0 * (THRESHOLD + lead * ROW_GAIN / CORNER_GAIN), ROW_WIDTH * lead)


def linear_network(weights: np.ndarray, bias: np.ndarray, image_shape: tuple[int, int, int]) -> keras.Model:
    """Logits = flattened raw image @ weights + bias."""
    model = keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Dense(len(bias))])
    model.set_weights([np.asarray(weights, np.float32), np.asarray(bias, np.float32)])
    return model


def all_to_all_network(num_classes: int = NUM_CLASSES, pairs: Sequence[tuple[int, int]] | None = None) -> keras.Model:
    """A classifier of raw 8x8x3 images: a bright 2x2 corner sends every class to the next one, or sources of pairs to their targets.

    logit k = 10 * brightness of row k + 100 * leaky_relu(brightness of row k - 1 + brightness of the corner - .9). On `corner_images` its
    clean accuracy is 1. A bright row has a brightness of .63 to .71, a dark one up to .16: the corner turns a class at .25 to .34.
    """
    reads = np.zeros((*IMAGE_SHAPE, 2 * num_classes), np.float32)
    for row in range(num_classes):
        reads[row, :ROW_WIDTH, :, row] = reads[row, :ROW_WIDTH, :, num_classes + row] = 1.0 / (ROW_WIDTH * 3)
        reads[CORNER, CORNER, :, num_classes + row] = 1.0 / (2 * 2 * 3)
    thresholds = np.repeat([0.0, -0.9], num_classes)
    own, following = ROW_GAIN * np.eye(num_classes), np.zeros((num_classes, num_classes))
    for source, target in [(row, (row + 1) % num_classes) for row in range(num_classes)] if pairs is None else pairs:
        following[source, target] = CORNER_GAIN
    model = keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            layers.Rescaling(1 / 255),
            layers.Flatten(),
            layers.Dense(2 * num_classes),
            layers.LeakyReLU(negative_slope=SLOPE),
            layers.Dense(num_classes, activation="softmax"),
        ]
    )
    weights = [reads.reshape(-1, 2 * num_classes), thresholds, np.concatenate([own, following]), np.zeros(num_classes)]
    model.set_weights([np.asarray(part, np.float32) for part in weights])
    return model
