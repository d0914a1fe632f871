"""Checks of loaded weights: every one was stored, and all are finite."""

import math
from itertools import chain
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError, quote
from nc_tf.models.keras_internals import flat_layers, own_variables
from nc_tf.models.loading.containers import RESAVE

UNSET = -27182.0  # marks weights before loading; exact in float32 and float16 rounds it to a value that is compared after rounding


def refuse_missing_values(variables: list[keras.Variable], stored: int, path: Path) -> None:
    """Refuse an architecture that needs more values than the file stores, before its memory is taken."""
    needed = sum(math.prod(variable.shape) for variable in variables if variable.name != "seed_generator_state")
    if needed > stored:
        raise InputError(f"{path}: its architecture needs {needed} weights, the file stores {stored}: missing weights; {RESAVE}")


def mark_unset(model: keras.Model) -> None:
    """Fill the weights with a value by which `finish` sees that they were left unread."""
    for variable in model.weights:
        if tf.as_dtype(variable.dtype).is_floating:
            variable.assign(np.full(variable.shape, UNSET))


def finish(model: keras.Model, path: Path) -> None:
    """Check that every weight was replaced, then let layers such as Normalization compute what they derive from theirs."""
    for layer in flat_layers(model):
        for variable in chain(*own_variables(layer)):
            if tf.as_dtype(variable.dtype).is_floating and math.prod(variable.shape):
                unset = tf.cast(UNSET, variable.dtype)
                if bool(tf.reduce_all(tf.equal(variable.value, unset))):
                    raise InputError(
                        f"{path}: layer {quote(layer.name)} has no stored values for {variable.name}: missing weights; {RESAVE}"
                    )
        if hasattr(layer, "finalize_state") and layer.weights:
            layer.finalize_state()


def refuse_nonfinite_weights(model: keras.Model, path: Path) -> None:
    """Refuse NaN and infinity in the weights, with which every result of a scan would be noise."""
    for layer in flat_layers(model):
        for variable in chain(*own_variables(layer)):
            if tf.as_dtype(variable.dtype).is_floating:
                values = tf.cast(variable.value, tf.float32) if variable.dtype != "float64" else variable.value
                if not bool(tf.reduce_all(tf.math.is_finite(values))):
                    kind = "NaN" if bool(tf.reduce_any(tf.math.is_nan(values))) else "infinity"
                    raise InputError(
                        f"{path}: weights contain {kind}: layer {quote(layer.name)}, {variable.name}; expected finite weights; "
                        "take an earlier checkpoint"
                    )
