"""Small networks written by standalone Keras 2.2.4, with its answers; its gates use `hard_sigmoid`, and its array names differ.

    python3.7 -m venv older && older/bin/pip install tensorflow==1.15.5 keras==2.2.4 'h5py<3' 'protobuf<3.21'
    older/bin/python -m benchmarks.files.legacy_keras OUT        # OUT/NAME.h5, OUT/NAME.npy

Read and compared by `benchmarks/files/compatibility.py`.
"""

# The script runs under an old Keras, which has no types.
# mypy: disallow-untyped-defs=False, check-untyped-defs=False

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import backend as K
from keras import layers as L

SIDE, CLASSES = 8, 3


def images(shape, seed=0):
    """Return the same as `legacy_models.images`."""
    values = np.random.RandomState(seed).normal(size=(4, *shape)) * np.array([0.5, 2, 8, 60]).reshape(4, *[1] * len(shape))
    return values.astype("float32")


def square(y):
    """Return a tensor as a sequence of 8 steps, for recurrent layers."""
    return L.Reshape((8, 24))(y)


CASES = {
    "LSTM": lambda: [square, L.LSTM(4, return_sequences=True), L.LSTM(3)],
    "GRU": lambda: [square, L.GRU(4, return_sequences=True), L.GRU(3, reset_after=True)],
    "Bidirectional": lambda: [square, L.Bidirectional(L.LSTM(3, return_sequences=True)), L.Bidirectional(L.GRU(3))],
    "ConvLSTM2D": lambda: [L.Reshape((2, 4, 8, 3)), L.ConvLSTM2D(2, 2, return_sequences=True), L.TimeDistributed(L.Conv2D(2, 1)),
                           L.ConvLSTM2D(2, 2)],
    "Activation": lambda: [L.Activation("hard_sigmoid"), L.Conv2D(2, 2, activation="hard_sigmoid"),
                           L.BatchNormalization(epsilon=1e-7, name="tiny")],
    "Mixed": lambda: [L.Conv2D(4, 3), L.BatchNormalization(), L.ReLU(6.0), L.DepthwiseConv2D(3), L.LeakyReLU(0.2), L.SeparableConv2D(3, 2),
                      L.UpSampling2D(2), L.ELU(), L.ThresholdedReLU(0.1)],
    "Pool": lambda: [L.ZeroPadding2D(1), L.MaxPooling2D(2), L.AveragePooling2D(2, padding="same"), L.Dropout(0.2),
                     L.Conv2DTranspose(2, 3), L.PReLU()],
    "Cells": lambda: [square, L.RNN([L.LSTMCell(3), L.GRUCell(4)])],
    "Causal": lambda: [square, L.Conv1D(3, 2, padding="causal"), L.GlobalMaxPooling1D()],
}  # fmt: skip


def functional(steps):
    """Return a functional model of these layers and a head."""
    image = y = L.Input((SIDE, SIDE, 3))
    for step in steps:
        y = step(y)
    return keras.models.Model(image, L.Dense(CLASSES, name="scores")(L.Flatten()(y) if K.ndim(y) > 2 else y))


def base():
    """Return a small model to nest in others."""
    image = L.Input((SIDE, SIDE, 3))
    return keras.models.Model(image, L.BatchNormalization()(L.Conv2D(4, 3)(image)), name="base")


def functional_of_frozen_base():
    """Return a functional model on a frozen base."""
    model = base()
    model.trainable = False
    return functional([model])


def time_distributed():
    """Return a model with a TimeDistributed layer."""
    clip = L.Input((3, SIDE, SIDE, 3))
    y = L.TimeDistributed(L.GlobalAveragePooling2D())(L.TimeDistributed(base())(clip))
    return keras.models.Model(clip, L.Dense(CLASSES)(L.LSTM(4)(y)))


NETWORKS = {
    "SequentialOfBase": lambda: keras.models.Sequential([base(), L.Flatten(), L.Dense(CLASSES)]),
    "FunctionalOfFrozenBase": functional_of_frozen_base,
    "Sequential": lambda: keras.models.Sequential(
        [L.Conv2D(3, 2, input_shape=(SIDE, SIDE, 3)), L.Activation("hard_sigmoid"), L.Flatten(), L.Dense(CLASSES)]
    ),
    "TimeDistributedModel": time_distributed,
}


def main():
    """Write every network and its answers."""
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    builders = {name: lambda steps=steps: functional(steps()) for name, steps in CASES.items()}
    builders.update(NETWORKS)
    for name, build in builders.items():
        model = build()
        random = np.random.RandomState(7)
        for variable in model.weights:
            shape = K.int_shape(variable)
            values = random.normal(size=shape) / np.sqrt(max(1, int(np.prod(shape[:-1]))) if len(shape) > 1 else 4)
            if "variance" in variable.name:
                values = random.uniform(0.5, 2.0, shape) * (1e-5 if "tiny" in variable.name else 1.0)
            K.set_value(variable, values.astype("float32"))
        np.save(os.path.join(folder, name + ".npy"), model.predict(images(model.input_shape[1:])))
        model.save(os.path.join(folder, name + ".h5"), include_optimizer=False)


if __name__ == "__main__":
    main()
