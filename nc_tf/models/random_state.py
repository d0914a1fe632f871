"""The random state of the caller, restored after a call that draws or seeds."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from nc_tf.models.keras_internals import keras_random_state, set_keras_random_state, tensorflow_state


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the random state of Python, NumPy, Keras and TensorFlow afterwards.

    It works on a block or as a decorator. `keras.utils.set_random_seed` sets all four states, and building a layer draws from Python's, so
    that every call that trains or copies a network needs it. The attributes of Keras and TensorFlow that are read have no public name.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the caller's, which may be the global one
    keras = keras_random_state()
    tensorflow = {name: value for name, value in tensorflow_state().items() if name in ("_seed", "_rng")}
    drawn = tensorflow["_rng"].getstate() if tensorflow.get("_rng") else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        set_keras_random_state(keras)
        tensorflow_state().update(tensorflow)
        if drawn is not None:
            tensorflow["_rng"].setstate(drawn)
