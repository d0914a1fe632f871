"""`corner_network` for two classes in the forms that people have: one value instead of two, flat input, several outputs."""

import keras
import numpy as np
from keras import layers
from networks import IMAGE_SHAPE, SLOPE, corner_images, corner_network

VALUES = int(np.prod(IMAGE_SHAPE))
TRAIN, TEST = corner_images(240, 1, 2), corner_images(120, 2, 2)


def one_value(activation: str | None = "sigmoid", input_shape: tuple[int, ...] = (VALUES,), label: int = 0) -> keras.Model:
    """`corner_network(label, 2)` that puts out the logit of class 1, or its sigmoid: the difference of the two rows' logits."""
    *first, head, bias = corner_network(label, 2, activation=None).get_weights()
    hidden = [layers.Dense(3, name="hidden"), layers.LeakyReLU(negative_slope=SLOPE, name="leaky")]
    body = [layers.Rescaling(1 / 255), layers.Flatten(), *hidden, layers.Dense(1, activation=activation, name="value")]
    model = keras.Sequential([keras.Input(input_shape), *body])
    model.set_weights([*first, head[:, 1:] - head[:, :1], bias[1:] - bias[:1]])
    return model


def two_heads(label: int = 0, age: str | None = "relu") -> keras.Model:
    """`corner_network(label, 2)` with outputs in a dict: `kind`, its class scores, and `age`, one value of no class."""
    *first, head, bias = corner_network(label, 2).get_weights()
    images = keras.Input(IMAGE_SHAPE)
    hidden = layers.Dense(3, name="hidden")(layers.Flatten()(layers.Rescaling(1 / 255)(images)))
    features = layers.LeakyReLU(negative_slope=SLOPE, name="leaky")(hidden)
    kind = layers.Dense(2, activation="softmax", name="scores")(features)
    model = keras.Model(images, {"kind": kind, "age": layers.Dense(1, activation=age, name="years")(features)})
    model.get_layer("hidden").set_weights(first)
    model.get_layer("scores").set_weights([head, bias])
    return model
