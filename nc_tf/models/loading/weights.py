"""Weights of `.h5` files: which array belongs to which variable, found out by names, order and shapes before anything is read."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np

from nc_tf.errors import InputError, quote
from nc_tf.models.loading.containers import RESAVE

Conversion = Callable[[Any], Any]  # of an array in a file to the values of a variable


class Pair(NamedTuple):
    """One variable of the model and the array in the file that belongs to it."""

    layer: str
    variable: keras.Variable
    array: h5py.Dataset
    conversion: Conversion | None = None


def pair_weights(model: keras.Model, file: h5py.File, path: Path) -> list[Pair]:
    """Match the variables of a model to the arrays of an `.h5` file, layer by layer in order, comparing shapes and reading nothing.

    The order is that of the format since Keras 1: layers with weights as `layer_names` lists them; within one, trainable before the rest.

    Raises:
        InputError: missing or surplus layers or arrays, or a shape that differs; the message names the layer.
    """
    group, stored = stored_arrays(file)
    layers = [layer for layer in model.layers if layer.weights]
    if len(stored) != len(layers):
        raise InputError(
            f"{path}: stores the weights of {len(stored)} layers, its architecture needs {len(layers)}: wrong weights; {RESAVE}"
        )
    pairs: list[Pair] = []
    for layer, (name, arrays) in zip(layers, stored.items(), strict=True):
        pairs += _pair_layer(layer, layer.trainable_weights + layer.non_trainable_weights, group[name], arrays, path)
    return pairs + _pair_top_level(model, group, pairs, path)


def pair_by_name(model: keras.Model, file: h5py.File, path: Path) -> list[Pair]:
    """Match variables and arrays by the names of the layers, for weights that were published without their architecture.

    Raises:
        InputError: a layer of the model is missing in the file, or a shape differs; the message names the layer.
    """
    group, stored = stored_arrays(file)
    pairs: list[Pair] = []
    for layer in model.layers:
        if layer.weights:
            if layer.name not in stored:
                raise InputError(
                    f"{path}: no weights for layer {quote(layer.name)}: expected the layers of {quote(model.name)}, found "
                    f"{', '.join(map(quote, stored)) or 'none'}; choose the file that belongs to this network"
                )
            pairs += _pair_layer(layer, layer.trainable_weights + layer.non_trainable_weights, group[layer.name], stored[layer.name], path)
    return pairs


def stored_arrays(file: h5py.File) -> tuple[h5py.Group, dict[str, list[str]]]:
    """Where the weights are, and the names of the arrays of each layer that has some, in the file's order."""
    group = file["model_weights"] if isinstance(file.get("model_weights"), h5py.Group) else file
    stored = {name: names_in(group[name], "weight_names") for name in names_in(group, "layer_names") if name in group}
    return group, {name: arrays for name, arrays in stored.items() if arrays}


def _pair_top_level(model: keras.Model, group: h5py.Group, pairs: list[Pair], path: Path) -> list[Pair]:
    known = {id(pair.variable) for pair in pairs}
    own = [variable for variable in model.weights if id(variable) not in known]
    if not own:
        return []
    top = group.get("top_level_model_weights")
    return _pair_layer(model, own, top, names_in(top, "weight_names") if isinstance(top, h5py.Group) else [], path)


def _pair_layer(layer: keras.Layer, variables: list[keras.Variable], group: h5py.Group | None, arrays: list[str], path: Path) -> list[Pair]:
    return pair_arrays(layer.name, [(variable, None) for variable in variables], group, arrays, path)


def pair_arrays(
    layer: str, variables: list[tuple[keras.Variable, Conversion | None]], group: h5py.Group | None, arrays: list[str], path: Path
) -> list[Pair]:
    """Match the variables of one layer to arrays in the same order.

    Args:
        layer: its name, for messages.
        variables: each with what becomes of its array, None for nothing. A conversion is tried on an array of zeros without memory.
        group: where the arrays lie.
        arrays: their names.
        path: for the messages.

    Raises:
        InputError: too few or too many arrays, one that is not there, or a shape that differs.
    """
    if len(arrays) != len(variables):
        raise InputError(
            f"{path}: layer {quote(layer)} needs {len(variables)} weight arrays, the file stores {len(arrays)}: wrong weights; {RESAVE}"
        )
    pairs = []
    for (variable, conversion), name in zip(variables, arrays, strict=True):
        array = group.get(name) if group is not None else None
        if not isinstance(array, h5py.Dataset):
            raise InputError(f"{path}: layer {quote(layer)} lists the weight array {quote(name)}, which is not there; {RESAVE}")
        if _shape_after(conversion, array) != tuple(variable.shape):
            raise InputError(
                f"{path}: layer {quote(layer)} needs {variable.name} of shape {tuple(variable.shape)}, "
                f"the file stores {tuple(array.shape)}: architecture and weights do not match; {RESAVE}"
            )
        pairs.append(Pair(layer, variable, array, conversion))
    return pairs


def _shape_after(conversion: Conversion | None, array: h5py.Dataset) -> tuple[int, ...] | None:
    """The shape of an array after its conversion, None where it does not fit."""
    if conversion is None:
        return tuple(array.shape)
    try:
        return tuple(conversion(np.broadcast_to(np.zeros((), array.dtype), array.shape)).shape)
    except (IndexError, ValueError):
        return None


def assign(pairs: list[Pair]) -> None:
    """Read the arrays of a checked pairing into their variables."""
    for pair in pairs:
        values = np.asarray(pair.array)
        if pair.array.dtype.kind == "V":  # bfloat16, which HDF5 does not know, is stored as two raw bytes
            values = np.frombuffer(values.tobytes(), dtype=np.uint16).astype(np.uint32).reshape(values.shape)
            values = (values << np.uint32(16)).view(np.float32)
        pair.variable.assign(values if pair.conversion is None else pair.conversion(values))


def names_in(group: h5py.Group, key: str) -> list[str]:
    """A list of names in an attribute, which Keras cuts into `key0`, `key1`, ... when it is long."""
    keys = [key] if key in group.attrs else []
    while not keys or (keys[0] != key and f"{key}{len(keys)}" in group.attrs):
        if f"{key}{len(keys)}" not in group.attrs:
            break
        keys.append(f"{key}{len(keys)}")
    return [name.decode() if isinstance(name, bytes) else str(name) for part in keys for name in np.ravel(group.attrs[part])]
