"""The five architectures of the population, each small enough to train in seconds; raw [0, 255] images, softmax output."""

from collections.abc import Callable

import keras
from keras import layers

from nc_tf.models.networks.architectures import gtsrb_network, signs_network
from nc_tf.models.networks.residual import small_resnet

Shape = tuple[int, int, int]


def mobile(num_classes: int, image_shape: Shape) -> keras.Model:
    """Depthwise and pointwise convolutions with BatchNormalization, as MobileNet (Howard et al., 2017) has them."""
    inputs = keras.Input(image_shape)
    features = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    features = _normalized(layers.Conv2D(24, 3, padding="same", use_bias=False)(features))
    for filters, strides in ((48, 2), (64, 1), (96, 2), (128, 1)):
        features = _normalized(layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(features))
        features = _normalized(layers.Conv2D(filters, 1, use_bias=False)(features))
    features = layers.GlobalAveragePooling2D()(features)
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax")(features), name="mobile")


def _normalized(features: keras.KerasTensor) -> keras.KerasTensor:
    return layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(features))


def vit(num_classes: int, image_shape: Shape, *, patch: int = 4, width: int = 64, depth: int = 3) -> keras.Model:
    """A small vision transformer (Dosovitskiy et al., 2021): patches, learned places, pre-normalized blocks, mean over the patches."""
    inputs = keras.Input(image_shape)
    features = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    features = layers.Conv2D(width, patch, strides=patch)(features)
    features = layers.Reshape((-1, width))(features)
    features = layers.Identity()(features) + layers.Embedding(features.shape[1], width)(keras.ops.arange(features.shape[1])[None])
    for _ in range(depth):
        normal = layers.LayerNormalization()(features)
        features = layers.Add()([features, layers.MultiHeadAttention(4, width // 4)(normal, normal)])
        hidden = layers.Dense(2 * width, activation="gelu")(layers.LayerNormalization()(features))
        features = layers.Add()([features, layers.Dense(width)(hidden)])
    features = layers.GlobalAveragePooling1D()(layers.LayerNormalization()(features))
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax")(features), name="vit")


ARCHITECTURES: dict[str, Callable[[int, Shape], keras.Model]] = {
    "paper": gtsrb_network,
    "plain": signs_network,
    "residual": small_resnet,
    "mobile": mobile,
    "vit": vit,
}
