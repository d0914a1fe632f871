"""Residual networks with BatchNormalization for images of 32x32: the field's PreAct-ResNet18, and a small one that trains on two cores."""

import keras
from keras import layers

Shape = tuple[int, int, int]


def preact_resnet18(num_classes: int = 10, image_shape: Shape = (32, 32, 3)) -> keras.Model:
    """PreAct-ResNet18 in its CIFAR form (He et al., 2016): 3x3 stem, stages of 64 to 512, on raw [0, 255] images; softmax output."""
    return _preact("preact_resnet18", (64, 128, 256, 512), 2, num_classes, image_shape)


def small_resnet(num_classes: int = 10, image_shape: Shape = (32, 32, 3)) -> keras.Model:
    """One block a stage, of 16, 32 and 64 channels: a fortieth of PreAct-ResNet18's cost; raw [0, 255] images, softmax output."""
    return _preact("small_resnet", (16, 32, 64), 1, num_classes, image_shape)


def _preact(name: str, stages: tuple[int, ...], blocks: int, num_classes: int, image_shape: Shape) -> keras.Model:
    inputs = keras.Input(image_shape)
    features = layers.Rescaling(1 / 127.5, offset=-1.0)(inputs)
    features = _convolution(stages[0])(features)
    for stage, filters in enumerate(stages):
        for block in range(blocks):
            features = _block(features, filters, strides=2 if stage and not block else 1)
    features = layers.ReLU()(layers.BatchNormalization()(features))
    features = layers.GlobalAveragePooling2D()(features)
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax")(features), name=name)


def _block(features: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    """Normalise, activate, convolve, twice; around it the input, convolved to the new shape where that changes."""
    active = layers.ReLU()(layers.BatchNormalization()(features))
    same = strides == 1 and features.shape[-1] == filters
    around = features if same else layers.Conv2D(filters, 1, strides=strides, use_bias=False)(active)
    inner = _convolution(filters, strides)(active)
    inner = _convolution(filters)(layers.ReLU()(layers.BatchNormalization()(inner)))
    return layers.Add()([inner, around])


def _convolution(filters: int, strides: int = 1) -> layers.Layer:
    return layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False, kernel_initializer="he_normal")
