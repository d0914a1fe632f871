"""Residual networks with BatchNormalization: PreAct-ResNet18 for 32x32 and a small one like it, and the classic ResNet-18 for clips."""

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


def resnet18_features(image_shape: Shape = (224, 224, 3), units: int = 512) -> keras.Model:
    """ResNet-18 (He et al., 2015) up to a Dense layer in place of its classifier: images in [-1, 1] -> (N, units).

    Sizes, padding and the epsilon of BatchNormalization are those of torchvision; its momentum, and the values that shortcuts start from,
    are Keras's own.
    """
    inputs = keras.Input(image_shape)
    features = layers.Conv2D(64, 7, strides=2, use_bias=False, kernel_initializer="he_normal")(layers.ZeroPadding2D(3)(inputs))
    features = layers.ReLU()(_normalised(features))
    features = layers.MaxPooling2D(3, strides=2)(layers.ZeroPadding2D(1)(features))  # zeros do not win: there is nothing below them
    for stage, filters in enumerate((64, 128, 256, 512)):
        for block in range(2):
            features = _classic_block(features, filters, strides=2 if stage and not block else 1)
    features = layers.GlobalAveragePooling2D()(features)
    return keras.Model(inputs, layers.Dense(units)(features), name="resnet18")


def _classic_block(features: keras.KerasTensor, filters: int, strides: int) -> keras.KerasTensor:
    """Convolve, normalise, activate, convolve, normalise; add the input, and activate the sum."""
    same = strides == 1 and features.shape[-1] == filters
    around = features if same else _normalised(layers.Conv2D(filters, 1, strides=strides, use_bias=False)(features))
    inner = layers.Conv2D(filters, 3, strides=strides, use_bias=False, kernel_initializer="he_normal")(layers.ZeroPadding2D(1)(features))
    inner = _convolution(filters)(layers.ReLU()(_normalised(inner)))
    return layers.ReLU()(layers.Add()([_normalised(inner), around]))


def _normalised(features: keras.KerasTensor) -> keras.KerasTensor:
    return layers.BatchNormalization(epsilon=1e-5)(features)
