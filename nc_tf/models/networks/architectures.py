"""The networks that the examples use: the paper's for GTSRB, and a small one for the rendered signs; and all networks by their names.

Each is called with the number of classes and the shape of an image, (H, W, C); cnn_lstm with that of a clip, (T, H, W, C).
"""

from collections.abc import Callable

import keras
from keras import layers

from nc_tf.models.networks.cnn_lstm import cnn_lstm
from nc_tf.models.networks.deepid import deepid_network
from nc_tf.models.networks.residual import preact_resnet18, small_resnet


def gtsrb_network(num_classes: int = 43, image_shape: tuple[int, int, int] = (32, 32, 3)) -> keras.Model:
    """The six-convolution network of the paper (table X) on raw [0, 255] images; softmax output (N, num_classes)."""
    blocks: list[layers.Layer] = []
    for filters in (32, 64, 128):
        blocks += [
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.Conv2D(filters, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Dropout(0.2),
        ]
    head = [
        layers.Flatten(),
        layers.Dense(512, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(num_classes, activation="softmax"),
    ]
    return keras.Sequential([keras.Input(image_shape), *blocks, *head], name="gtsrb")


def signs_network(num_classes: int = 43, image_shape: tuple[int, int, int] = (32, 32, 3)) -> keras.Model:
    """Three convolutions on raw [0, 255] images, a tenth of the cost of `gtsrb_network`; softmax output (N, num_classes)."""
    blocks: list[layers.Layer] = [layers.Rescaling(1 / 127.5, offset=-1.0)]
    for filters in (16, 32, 64):
        blocks += [layers.Conv2D(filters, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    head = [
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(128, activation="relu"),
        layers.Dropout(0.3),
        layers.Dense(num_classes, activation="softmax"),
    ]
    return keras.Sequential([keras.Input(image_shape), *blocks, *head], name="signs")


NETWORKS: dict[str, Callable[..., keras.Model]] = {
    "gtsrb": gtsrb_network,
    "signs": signs_network,
    "small_resnet": small_resnet,
    "preact_resnet18": preact_resnet18,
    "deepid": deepid_network,
    "cnn_lstm": cnn_lstm,
}
