"""The YouTube Face network of the paper and of CSAW-HackML-2020 (DeepID), with the weights published for that competition."""

import keras
from keras import layers

IMAGE_SHAPE, NUM_CLASSES = (55, 47, 3), 1283


def deepid_network(num_classes: int = NUM_CLASSES, image_shape: tuple[int, int, int] = IMAGE_SHAPE) -> keras.Model:
    """DeepID on images in [0, 1] (`--intensity-range mnist`); softmax output (N, num_classes); 601,643 parameters.

    The paper's table IX lists a stride of 2 and an output of 1,280; the published weights prove a stride of 1 and 1,283.
    """
    inputs = keras.Input(image_shape, name="input")
    features = inputs
    for number, (filters, size) in enumerate(((20, 4), (40, 3), (60, 3)), 1):
        features = layers.Conv2D(filters, size, activation="relu", name=f"conv_{number}")(features)
        features = layers.MaxPooling2D(2, name=f"pool_{number}")(features)
    deeper = layers.Conv2D(80, 2, activation="relu", name="conv_4")(features)
    first = layers.Dense(160, name="fc_1")(layers.Flatten(name="flatten_1")(features))
    second = layers.Dense(160, name="fc_2")(layers.Flatten(name="flatten_2")(deeper))
    hidden = layers.ReLU(name="activation_1")(layers.Add(name="add_1")([first, second]))
    return keras.Model(inputs, layers.Dense(num_classes, activation="softmax", name="output")(hidden), name="deepid")
