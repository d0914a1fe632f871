"""Files of Keras 1 and 2: their architectures in the words of Keras 3, and the weights of `.h5` files of every version."""

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import keras
import numpy as np

from nc_tf.errors import InputError
from nc_tf.models.containers import RESAVE, show

# Keras 1 names of settings; None: a setting that no longer exists and does not change what the network computes.
KERAS_1_NAMES: dict[str, str | None] = {
    "nb_filter": "filters", "output_dim": "units", "border_mode": "padding", "subsample": "strides", "bias": "use_bias",
    "p": "rate", "init": "kernel_initializer", "beta_init": "beta_initializer", "gamma_init": "gamma_initializer", "input_dim": None,
    "W_regularizer": None, "b_regularizer": None, "W_constraint": None, "b_constraint": None, "input_dtype": None, "mode": None,
}  # fmt: skip
KERAS_1_LAYERS = {"Dense", "Convolution2D", "MaxPooling2D", "AveragePooling2D", "BatchNormalization", "Dropout"}
# Settings that Keras 2 wrote and Keras 3 does not accept, with the only values that mean nothing.
KERAS_2_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups": (1,), "time_major": (False,), "renorm": (False,), "fused": (None, True, False), "virtual_batch_size": (None,),
    "adjustment": (None,), "implementation": (0, 1, 2), "ragged": (False,), "sparse": (False,),
    "kernel_initializer": (), "kernel_regularizer": (None,), "kernel_constraint": (None,),
}  # fmt: skip
KERAS_2_DROPPED = {
    "DepthwiseConv2D": {"groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"},
    "SeparableConv2D": {"groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"},
    "BatchNormalization": {"renorm", "fused", "virtual_batch_size", "adjustment"},
    "LSTM": {"time_major", "implementation"}, "GRU": {"time_major", "implementation"},
    "SimpleRNN": {"time_major", "implementation"}, "RNN": {"time_major"}, "ConvLSTM2D": {"time_major", "implementation"},
    "InputLayer": {"ragged", "sparse"},
}  # fmt: skip


def modernise(value: Any, path: Path) -> Any:
    """Rewrite a parsed architecture in the spelling of Keras 3; one that Keras 3 wrote comes back as it was.

    Three things change: a Sequential whose config is a bare list (Keras before 2.2.3), settings that were renamed or dropped, and
    `compile_config`, which is left out at every level because nothing here trains.

    Raises:
        InputError: a setting of Keras 1 or 2 that changes the result and that Keras 3 does not have.
    """
    if isinstance(value, list):
        return [modernise(child, path) for child in value]
    if not isinstance(value, dict):
        return value
    shape = _first_shape(value)
    result = {key: modernise(child, path) for key, child in value.items() if key != "compile_config" or "class_name" not in value}
    name, config = result.get("class_name"), result.get("config")
    if name == "Sequential" and isinstance(config, list):
        result["config"] = config = {"name": "sequential", "layers": config}
    elif name == "Policy" and isinstance(config, dict):  # the mixed precision of Keras 2
        result["class_name"] = "DTypePolicy"
    elif isinstance(name, str) and isinstance(config, dict) and "module" not in result:
        if name in KERAS_1_LAYERS and config.keys() & {*KERAS_1_NAMES, "nb_row", "dim_ordering"}:
            _rename_keras_1(config, path)
        _drop_keras_2(name, config, path)
        alias = getattr(keras.layers, name, None)  # Convolution2D is Conv2D, and Keras reads .h5 files by the second name only
        result["class_name"] = alias.__name__ if isinstance(alias, type) else name
        for ends in ("input_layers", "output_layers"):  # Keras 2 lists a single input, Keras 3 then expects a list at every call
            if name in ("Model", "Functional") and isinstance(config.get(ends), list) and len(config[ends]) == 1:
                config[ends] = config[ends][0]
        if name != "InputLayer":
            config.pop("batch_input_shape", None)  # Keras 3 takes it for a shape without the batch
    if shape and isinstance(result["config"], dict):
        result["config"]["layers"].insert(0, {"class_name": "InputLayer", "config": {"batch_shape": shape, "name": "nc_tf_input"}})
    return result


def _first_shape(value: dict[str, Any]) -> list[int | None] | None:
    """The input shape that an old Sequential keeps in its first layer instead of an InputLayer."""
    config = value.get("config")
    layers = config.get("layers") if isinstance(config, dict) else config
    if value.get("class_name") != "Sequential" or not isinstance(layers, list) or not layers or not isinstance(layers[0], dict):
        return None
    first = layers[0]
    if first.get("class_name") == "Sequential":
        return _first_shape(first)
    settings = first.get("config")
    if first.get("class_name") == "InputLayer" or "module" in first or not isinstance(settings, dict):
        return None
    shape = settings.get("batch_input_shape")
    return shape if isinstance(shape, list) else None


def _rename_keras_1(config: dict[str, Any], path: Path) -> None:
    ordering = config.pop("dim_ordering", "tf")
    if ordering not in ("tf", "default"):
        raise InputError(
            f"{path}: layer {show(config.get('name'))} orders its dimensions {show(ordering)} (channels first); expected 'tf'; {RESAVE}"
        )
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col", None)]
    for old, new in KERAS_1_NAMES.items():
        if old in config:
            setting = config.pop(old)
            if new:
                config[new] = setting


def _drop_keras_2(name: str, config: dict[str, Any], path: Path) -> None:
    for key in KERAS_2_DROPPED.get(name, set()) & config.keys():
        neutral = KERAS_2_NEUTRAL[key]
        if neutral and config[key] not in neutral:
            raise InputError(
                f"{path}: layer {show(config.get('name'))} has {key}={show(config[key])}, which Keras 3 cannot express; "
                f"expected {key}={neutral[0]}; rebuild it without, then {RESAVE}"
            )
        del config[key]


class Pair(NamedTuple):
    """One variable of the model and the array in the file that belongs to it."""

    layer: str
    variable: keras.Variable
    array: h5py.Dataset


def pair_weights(model: keras.Model, file: h5py.File, path: Path) -> list[Pair]:
    """Match the variables of a model to the arrays of an `.h5` file, layer by layer in order, comparing shapes and reading nothing.

    The order is that of the format since Keras 1: layers with weights as `layer_names` lists them; within one, trainable before the rest.

    Raises:
        InputError: missing or surplus layers or arrays, or a shape that differs; the message names the layer.
    """
    group, stored = _stored(file)
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
    group, stored = _stored(file)
    pairs: list[Pair] = []
    for layer in model.layers:
        if layer.weights:
            if layer.name not in stored:
                raise InputError(
                    f"{path}: no weights for layer {show(layer.name)}: expected the layers of {show(model.name)}, found "
                    f"{', '.join(map(show, stored)) or 'none'}; choose the file that belongs to this network"
                )
            pairs += _pair_layer(layer, layer.trainable_weights + layer.non_trainable_weights, group[layer.name], stored[layer.name], path)
    return pairs


def _stored(file: h5py.File) -> tuple[h5py.Group, dict[str, list[str]]]:
    """Where the weights are, and the names of the arrays of each layer that has some, in the file's order."""
    group = file["model_weights"] if isinstance(file.get("model_weights"), h5py.Group) else file
    stored = {name: _names(group[name], "weight_names") for name in _names(group, "layer_names") if name in group}
    return group, {name: arrays for name, arrays in stored.items() if arrays}


def _pair_top_level(model: keras.Model, group: h5py.Group, pairs: list[Pair], path: Path) -> list[Pair]:
    known = {id(pair.variable) for pair in pairs}
    own = [variable for variable in model.weights if id(variable) not in known]
    if not own:
        return []
    top = group.get("top_level_model_weights")
    return _pair_layer(model, own, top, _names(top, "weight_names") if isinstance(top, h5py.Group) else [], path)


def _pair_layer(
    layer: keras.Layer, variables: list[keras.Variable], group: h5py.Group | None, arrays: list[str], path: Path
) -> list[Pair]:
    if len(arrays) != len(variables):
        raise InputError(
            f"{path}: layer {show(layer.name)} needs {len(variables)} weight arrays, the file stores {len(arrays)}: wrong weights; {RESAVE}"
        )
    pairs = []
    for variable, name in zip(variables, arrays, strict=True):
        array = group.get(name) if group is not None else None
        if not isinstance(array, h5py.Dataset):
            raise InputError(f"{path}: layer {show(layer.name)} lists the weight array {show(name)}, which is not there; {RESAVE}")
        if tuple(array.shape) != tuple(variable.shape):
            raise InputError(
                f"{path}: layer {show(layer.name)} needs {variable.name} of shape {tuple(variable.shape)}, "
                f"the file stores {tuple(array.shape)}: architecture and weights do not match; {RESAVE}"
            )
        pairs.append(Pair(layer.name, variable, array))
    return pairs


def assign(pairs: list[Pair]) -> None:
    """Read the arrays of a checked pairing into their variables."""
    for pair in pairs:
        values = np.asarray(pair.array)
        if pair.array.dtype.kind == "V":  # bfloat16, which HDF5 does not know, is stored as two raw bytes
            values = np.frombuffer(values.tobytes(), dtype=np.uint16).astype(np.uint32).reshape(values.shape)
            values = (values << np.uint32(16)).view(np.float32)
        pair.variable.assign(values)


def _names(group: h5py.Group, key: str) -> list[str]:
    """A list of names in an attribute, which Keras cuts into `key0`, `key1`, ... when it is long."""
    keys = [key] if key in group.attrs else []
    while not keys or (keys[0] != key and f"{key}{len(keys)}" in group.attrs):
        if f"{key}{len(keys)}" not in group.attrs:
            break
        keys.append(f"{key}{len(keys)}")
    return [name.decode() if isinstance(name, bytes) else str(name) for part in keys for name in np.ravel(group.attrs[part])]
