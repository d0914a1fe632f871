"""The random state of the caller, restored after a call that draws or seeds."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from nc_tf.models.keras_internals import global_attribute, set_global_attribute, tensorflow_state

# Where Keras keeps the seed of `keras.utils.set_random_seed`, and the generator of layers without one.
_KERAS = ("global_random_seed", "global_seed_generator")


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Restore the random state of Python, NumPy, Keras and TensorFlow afterwards.

    It works on a block or as a decorator. `keras.utils.set_random_seed` sets all four states, and building a layer draws from Python's, so
    that every call that trains or copies a network needs it. The attributes of Keras and TensorFlow that are read have no public name.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002  # the caller's, which may be the global one
    keras = {name: global_attribute(name) for name in _KERAS}
    tensorflow = {name: value for name, value in tensorflow_state().items() if name in ("_seed", "_rng")}
    drawn = tensorflow["_rng"].getstate() if tensorflow.get("_rng") else None
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        for name, value in keras.items():
            set_global_attribute(name, value)
        tensorflow_state().update(tensorflow)
        if drawn is not None:
            tensorflow["_rng"].setstate(drawn)
