"""Layers of Keras 1 and 2 in the words of Keras 3: settings that were renamed or dropped, layers that are gone, functions that changed."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import keras

from nc_tf.errors import quote
from nc_tf.models.loading.legacy.file import Entry, File, entry, new_name
from nc_tf.models.loading.legacy.functions import HARD_SIGMOID_GAIN, SAME_ACTIVATIONS, function_name, gains
from nc_tf.models.loading.legacy.settings import DROPPED, DROPPED_EVERYWHERE, drop, rename_keras_1

MODELS = ("Model", "Functional", "Sequential")


def translate(layer: Entry, file: File) -> list[Entry]:
    """Write a layer of Keras 1 or 2 as the layers of Keras 3 that stand for it, called one on another.

    Weights belong to the one that bears the layer's name, with "/" replaced, which Keras 3 does not allow.

    Raises:
        InputError: a setting or class that changes the result and that Keras 3 does not have.
    """
    kind, config = layer["class_name"], layer["config"]
    if kind in MODELS:
        return [file.model(layer, file)]
    config = dict(config)
    if kind == "Lambda":
        raise file.refuse(
            config.get("name"),
            "is a Lambda, code that only the Python which wrote it can run",
            "say the same by layers or operations (x / 255.0 is one)",
        )
    if file.number[:1] < (2,):
        rename_keras_1(kind, config, file)
    alias = vars(keras.layers).get(kind)  # Convolution2D is Conv2D, and Keras 3 reads .h5 files by the second name only
    kind = alias.__name__ if isinstance(alias, type) else kind
    if _foreign(layer) or (kind not in SPECIAL and not isinstance(alias, type)):
        if file.trusted:
            return [layer]
        raise file.refuse(
            config.get("name"),
            f"is a {quote(layer.get('registered_name') or kind)}, which Keras {keras.__version__} does not have",
            "rebuild the network from built-in layers",
        )
    for key in (DROPPED.get(kind, set()) | DROPPED_EVERYWHERE) & config.keys():
        if (kind, key) != ("InputLayer", "batch_input_shape"):
            drop(key, config, file)
    chain = SPECIAL[kind](kind, config, file) if kind in SPECIAL else [entry(kind, config)]
    for part in chain:
        _translate_settings(part, file)
    return chain


def translate_one(layer: Entry, file: File) -> Entry:
    """A layer that lies inside another and so must stay a single one.

    Raises:
        InputError: Keras 3 needs several layers for it.
    """
    chain = translate(layer, file)
    if len(chain) != 1:
        raise file.refuse(layer["config"].get("name"), f"is a {quote(layer['class_name'])} inside another layer", "take it out of there")
    return chain[0]


def _foreign(layer: Entry) -> bool:
    """Whether a layer is of its author's, though it may be called like one of Keras."""
    module = layer.get("module", "keras")
    ours = isinstance(module, str) and module.split(".")[0] in ("keras", "tensorflow", "tf_keras", "builtins")
    return not ours or layer.get("registered_name") not in (None, layer["class_name"])


def _translate_settings(part: Entry, file: File) -> None:
    """Return the settings that every layer may hold: name, dtype policy, functions, initializers and layers."""
    config = part["config"]
    kind = part["class_name"]
    if "name" in config:
        config["name"] = new_name(config["name"])
    if "trainable" in config and not _takes(kind, "trainable"):  # a layer without weights
        del config["trainable"]
    for key, value in list(config.items()):
        if key == "dtype" and isinstance(value, dict):
            config[key] = value["config"]["name"]
        elif key in ("activation", "recurrent_activation"):
            config[key] = _activation(kind, key, value, config, file)
        elif isinstance(value, dict) and {"type", "value"} == value.keys():  # a number of NumPy, as Keras 2.2 wrote it
            config[key] = value["value"]
        elif isinstance(value, dict) and value.get("class_name") == "__numpy__":  # or 2.12
            config[key] = value["config"]["value"]
        elif isinstance(value, dict) and value.get("class_name") in {*vars(keras.layers), *MODELS, *SPECIAL} and "config" in value:
            if (kind, key) != ("TimeDistributed", "layer"):
                config[key] = translate_one(value, file)
        elif key == "cells":
            config[key] = [translate_one(cell, file) for cell in value]
        elif isinstance(value, dict) and key.endswith("_initializer") and isinstance(value.get("config"), dict):
            config[key] = _initializer(value)


@functools.cache
def _takes(kind: str, setting: str) -> bool:
    """Whether the constructor of a layer accepts a setting."""
    layer = vars(keras.layers).get(kind)
    accepted = inspect.signature(layer).parameters.values() if isinstance(layer, type) else ()
    return not accepted or any(parameter.name == setting or parameter.kind is parameter.VAR_KEYWORD for parameter in accepted)


def _initializer(value: dict[str, Any]) -> dict[str, Any]:
    config = {key: setting for key, setting in value["config"].items() if key != "dtype"}
    if config.get("distribution") == "normal":
        config["distribution"] = "truncated_normal"
    name = value["class_name"]
    if name in vars(keras.initializers):  # 2.15 may give TensorFlow's module
        return {"module": "keras.initializers", "class_name": name, "config": config, "registered_name": None}
    return {**value, "config": config}


def _activation(kind: str, key: str, value: Any, config: dict[str, Any], file: File) -> Any:
    name = function_name(value)
    if isinstance(name, dict):
        return translate_one(name, file)
    if name is None or name in SAME_ACTIVATIONS:
        return name
    if name != "hard_sigmoid":
        if file.trusted:
            return value
        raise file.refuse(
            config.get("name"), f"uses the function {quote(name)}, which is none of Keras's own", "rebuild the network with built-in ones"
        )
    if kind == "Activation" or gains(kind, {key: name}) is not None:
        return name
    raise file.refuse(
        config.get("name"), f"({kind}) has {key}='hard_sigmoid', which is another function in Keras 3", "rebuild the network without"
    )


def _keep(config: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: config[key] for key in ("name", "trainable", "dtype", *keys) if key in config}


def _input(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    del file
    if "batch_input_shape" in config:
        config["batch_shape"] = config.pop("batch_input_shape")
    return [entry(kind, config)]


def _hard_activation(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    del file
    last = entry(kind, config)
    if function_name(config.get("activation")) != "hard_sigmoid":
        return [last]
    name = f"{config['name']}_gain"
    return [entry("Rescaling", {**_keep(config), "name": name, "scale": HARD_SIGMOID_GAIN, "offset": 0.0}), last]


def _thresholded_relu(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    del kind, file
    return [entry("ReLU", {**_keep(config), "threshold": config["theta"]})]


def _leaky_relu(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    del file
    if "alpha" in config:
        config["negative_slope"] = config.pop("alpha")
    return [entry(kind, config)]


def _identity(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    del kind, file
    return [entry("Identity", _keep(config))]


def _random_crop(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    """Outside of training, RandomCrop of Keras 2.9 and later cuts to the aspect ratio and resizes; before, it did the second first."""
    if file.number < (2, 9):
        what = f"is a {kind} of Keras before 2.9, which Keras 3 does not have"
        raise file.refuse(config.get("name"), what, "leave it out or use Resizing")
    return [entry("Resizing", {**_keep(config, "height", "width"), "crop_to_aspect_ratio": True})]


def _batch_normalization(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    del kind
    axis = config.get("axis", -1)
    if isinstance(axis, list):
        if len(axis) != 1:
            what = f"normalizes over the axes {quote(axis)}, which Keras 3 cannot"
            raise file.refuse(config.get("name"), what, "rebuild it over one axis")
        config["axis"] = axis[0]
    return [entry("BatchNormalization", config)]


def _gru(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    """Before it knew `reset_after` (Keras 2.1.3), a GRU reset before; Keras 3 takes the other for granted."""
    del file
    config.setdefault("reset_after", False)
    return [entry(kind, config)]


def _discretization(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    if not config.get("bin_boundaries"):
        raise file.refuse(config.get("name"), "is a Discretization whose limits are not in the architecture", "give it bin_boundaries")
    return [entry(kind, {key: value for key, value in config.items() if key not in ("num_bins", "epsilon")})]


def _time_distributed(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    """A wrapper around each of the layers that stand for the one inside."""
    *first, last = [{**config, "layer": part} for part in translate(config.pop("layer"), file)]
    for number, settings in enumerate(first):
        settings["name"] = f"{config['name']}_part{number}"
    return [entry(kind, settings) for settings in (*first, last)]


def _layer_scale(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    """ConvNeXt multiplies each channel by a weight: a depthwise convolution of one pixel."""
    del kind, file
    return [entry("DepthwiseConv2D", {**_keep(config), "kernel_size": [1, 1], "use_bias": False})]


def _stochastic_depth(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    """ConvNeXt leaves out whole branches while it trains: a dropout with one draw an image."""
    del kind, file
    return [entry("Dropout", {**_keep(config), "rate": config["drop_path_rate"], "noise_shape": [None, 1, 1, 1]})]


def _locally_connected(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    raise file.refuse(config.get("name"), f"is a {kind}, which Keras 3 does not have", "replace it by a convolution and train again")


def _separable_1d(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    """Keras 3 has no causal padding here: it goes before."""
    del file
    if config.get("padding") != "causal":
        return [entry(kind, config)]
    before = config["dilation_rate"][0] * (config["kernel_size"][0] - 1)
    padding = entry("ZeroPadding1D", {**_keep(config), "name": f"{config['name']}_causal", "padding": [before, 0]})
    return [padding, entry(kind, {**config, "padding": "valid"})]


def _resizing(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    if config.get("interpolation", "bilinear") not in ("bilinear", "nearest", "bicubic", "area", "lanczos3", "lanczos5"):
        raise file.refuse(config.get("name"), f"resizes by {quote(config['interpolation'])}, which Keras 3 cannot", "resize by 'bilinear'")
    return [entry(kind, config)]


def _bidirectional(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    """Keras 3 takes the two directions to be of one size."""
    backward = config.get("backward_layer")
    if backward is not None:
        sizes = [[layer["config"].get(key) for key in ("units", "filters")] for layer in (config["layer"], backward)]
        if sizes[0] != sizes[1]:
            raise file.refuse(config.get("name"), "has directions of different sizes, which Keras 3 cannot", "make them equal")
    return [entry(kind, config)]


SPECIAL: dict[str, Callable[[str, dict[str, Any], File], list[Entry]]] = {
    "InputLayer": _input, "Activation": _hard_activation, "ThresholdedReLU": _thresholded_relu, "LeakyReLU": _leaky_relu,
    "RandomHeight": _identity, "RandomWidth": _identity, "RandomCrop": _random_crop, "BatchNormalization": _batch_normalization,
    "SyncBatchNormalization": _batch_normalization, "GRU": _gru, "GRUCell": _gru, "Discretization": _discretization,
    "TimeDistributed": _time_distributed,
    "LayerScale": _layer_scale, "StochasticDepth": _stochastic_depth, "LocallyConnected1D": _locally_connected,
    "LocallyConnected2D": _locally_connected,
    "SeparableConv1D": _separable_1d, "Resizing": _resizing, "Bidirectional": _bidirectional,
}  # fmt: skip
