"""Layers of Keras 1 and 2 in the words of Keras 3: settings that were renamed or dropped, layers that are gone, functions that changed.

Keras 1 and 2 call clip(0.2 x + 0.5, 0, 1) `hard_sigmoid`, Keras 3 calls clip(x / 6 + 0.5, 0, 1) so. The first of x is the second of 1.2 x. An
Activation therefore gets a Rescaling before it, and a layer that ends in the function, or gates by it, gets weights that are 1.2
times as large (`gains`, applied by `legacy_weights`). Both are stock parts, so that the network can be copied and saved again.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nc_tf.errors import InputError
from nc_tf.models.containers import RESAVE, show

Entry = dict[str, Any]
MODELS = ("Model", "Functional", "Sequential")
HARD_SIGMOID_GAIN = 1.2
FUSED_EPSILON = 1.001e-5
# What Keras 1 and 2 mean by these words is what Keras 3 means by them.
SAME_ACTIVATIONS = {
    "elu", "exponential", "gelu", "leaky_relu", "linear", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax", "softplus",
    "softsign", "swish", "tanh",
}  # fmt: skip
OTHER_NAMES = {"softmax_v2": "softmax"}
# Keras 1 names of settings; None: a setting that no longer exists and does not change what the network computes.
KERAS_1_NAMES: dict[str, str | None] = {
    "nb_filter": "filters", "output_dim": "units", "border_mode": "padding", "subsample": "strides", "bias": "use_bias",
    "p": "rate", "init": "kernel_initializer", "beta_init": "beta_initializer", "gamma_init": "gamma_initializer", "input_dim": None,
    "W_regularizer": None, "b_regularizer": None, "W_constraint": None, "b_constraint": None, "input_dtype": None, "mode": None,
    "gamma_regularizer": None, "beta_regularizer": None, "activity_regularizer": None,
}  # fmt: skip
KERAS_1_LAYERS = {
    "Activation", "AveragePooling2D", "BatchNormalization", "Convolution2D", "Cropping2D", "Dense", "Dropout", "ELU", "Flatten", "GlobalAveragePooling2D",
    "GlobalMaxPooling2D", "InputLayer", "LeakyReLU", "MaxPooling2D", "Permute", "Reshape", "SpatialDropout2D", "ThresholdedReLU", "UpSampling2D",
    "ZeroPadding2D",
}  # fmt: skip
# Settings that Keras 2 wrote and Keras 3 does not accept, with the only values that mean nothing; (): whatever the value.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "groups": (1,), "time_major": (False,), "renorm": (False,), "virtual_batch_size": (None,), "adjustment": (None,), "ragged": (False,),
    "sparse": (False,), "noise_shape": (None,), "causal": (False,), "fused": (), "implementation": (), "query_shape": (), "key_shape": (),
    "value_shape": (), "renorm_clipping": (), "renorm_momentum": (), "kernel_initializer": (), "kernel_regularizer": (), "kernel_constraint": (),
    "synchronized": (), "rng_type": (), "experimental_autocast": (), "force_generator": (), "batch_input_shape": (), "input_dtype": (), "autocast": (),
    "type_spec": (None,), "dynamic": (False,), "zero_output_for_mask": (),
}  # fmt: skip
_DEPTHWISE = {"groups", "kernel_initializer", "kernel_regularizer", "kernel_constraint"}
_RECURRENT = {"time_major", "implementation"}
DROPPED: dict[str, set[str]] = {
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D"), _DEPTHWISE),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), {"groups"}),
    **dict.fromkeys(("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"), {"noise_shape"}),
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"), _RECURRENT),
    **dict.fromkeys(("LSTMCell", "GRUCell", "SimpleRNNCell"), {"implementation"}),
    "RNN": {"time_major"},
    "BatchNormalization": {"renorm", "renorm_clipping", "renorm_momentum", "fused", "virtual_batch_size", "adjustment"},
    "InputLayer": {"ragged", "sparse", "type_spec"},
    "Attention": {"causal"}, "AdditiveAttention": {"causal"},
    "MultiHeadAttention": {"query_shape", "key_shape", "value_shape"},
}  # fmt: skip
DROPPED_EVERYWHERE = {"batch_input_shape", "input_dtype", "experimental_autocast", "autocast", "force_generator", "rng_type", "dynamic"}
# Layers whose weights can carry the gain of their activation: those that it multiplies, up to the activation.
DENSE = {"Dense", "EinsumDense"}
CONVOLUTIONS = {f"Conv{d}D" for d in (1, 2, 3)} | {f"Conv{d}DTranspose" for d in (1, 2, 3)}
DEPTHWISE = {"DepthwiseConv1D", "DepthwiseConv2D"}
SEPARABLE = {"SeparableConv1D", "SeparableConv2D"}
LSTMS = {"LSTM", "LSTMCell", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}
GRUS = {"GRU", "GRUCell"}
SIMPLE = {"SimpleRNN", "SimpleRNNCell"}


@dataclass(frozen=True)
class File:
    """Where an architecture comes from.

    Attributes:
        path: for the messages.
        version: of the Keras that wrote it, such as "2.10.0"; "1" or "2" where the file does not say.
        trusted: functions and classes of its author may stay.
        model: translates a nested network; given by `legacy`, which knows networks.
    """

    path: Path
    version: str
    trusted: bool
    model: "Callable[[Entry, File], Entry]"

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers."""
        parts = self.version.split("-")[0].split(".")
        return tuple(int(part) for part in parts if part.isdigit())

    def refuse(self, layer: object, what: str, instead: str) -> InputError:
        """The error for what Keras 3 lacks. `--trust-model` is not mentioned: it does not help."""
        return InputError(
            f"{self.path}: layer {show(layer)} {what}; the file is of Keras {self.version}; {instead} in the TensorFlow that wrote it, "
            f"or in Keras 3 with the same weights, then {RESAVE}"
        )


def entry(kind: str, config: dict[str, Any], module: str = "keras.layers") -> Entry:
    """A serialized layer as Keras 3 writes it."""
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


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
        _rename_keras_1(kind, config, file)
    alias = vars(keras.layers).get(kind)  # Convolution2D is Conv2D, and Keras 3 reads .h5 files by the second name only
    kind = alias.__name__ if isinstance(alias, type) else kind
    if _foreign(layer) or (kind not in SPECIAL and not isinstance(alias, type)):
        if file.trusted:
            return [layer]
        raise file.refuse(
            config.get("name"),
            f"is a {show(layer.get('registered_name') or kind)}, which Keras {keras.__version__} does not have",
            "rebuild the network from built-in layers",
        )
    for key in (DROPPED.get(kind, set()) | DROPPED_EVERYWHERE) & config.keys():
        if (kind, key) != ("InputLayer", "batch_input_shape"):
            _drop(key, config, file)
    if kind in SPECIAL:
        chain = SPECIAL[kind](kind, config, file)
    else:
        chain = [entry(kind, config)]
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
        raise file.refuse(layer["config"].get("name"), f"is a {show(layer['class_name'])} inside another layer", "take it out of there")
    return chain[0]


def new_name(name: Any) -> Any:
    """A name that Keras 3 accepts: its weights files are paths made of names."""
    return name.replace("/", "_") if isinstance(name, str) else name


def _drop(key: str, config: dict[str, Any], file: File) -> None:
    neutral = NEUTRAL[key]
    if neutral and config[key] not in neutral:
        raise InputError(
            f"{file.path}: layer {show(config.get('name'))} has {key}={show(config[key])}, which Keras 3 cannot express; "
            f"expected {key}={neutral[0]}; rebuild it without, then {RESAVE}"
        )
    del config[key]


def _foreign(layer: Entry) -> bool:
    """Whether a layer is of its author's, though it may be called like one of Keras."""
    module = layer.get("module", "keras")
    ours = isinstance(module, str) and module.split(".")[0] in ("keras", "tensorflow", "tf_keras", "builtins")
    return not ours or layer.get("registered_name") not in (None, layer["class_name"])


def _rename_keras_1(kind: str, config: dict[str, Any], file: File) -> None:
    if kind not in KERAS_1_LAYERS:
        raise file.refuse(config.get("name"), f"is a {show(kind)} of Keras 1, which nc_tf does not translate", "load it by Keras 2 and save it")
    ordering = config.pop("dim_ordering", "tf")
    if ordering not in ("tf", "default"):
        raise InputError(
            f"{file.path}: layer {show(config.get('name'))} orders its dimensions {show(ordering)} (channels first); expected 'tf'; {RESAVE}"
        )
    if config.get("mode", 0) != 0:  # BatchNormalization by the statistics of the batch, or of each image
        raise InputError(
            f"{file.path}: layer {show(config.get('name'))} has mode={show(config['mode'])}, which Keras 3 cannot express; "
            f"expected mode=0; rebuild it without, then {RESAVE}"
        )
    if "nb_row" in config:
        config["kernel_size"] = [config.pop("nb_row"), config.pop("nb_col", None)]
    for old, new in KERAS_1_NAMES.items():
        if old in config:
            setting = config.pop(old)
            if new:
                config[new] = setting


def _translate_settings(part: Entry, file: File) -> None:
    """What every layer may hold: a name, a dtype policy, functions, initializers and layers."""
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
    accepted = inspect.signature(layer.__init__).parameters.values() if isinstance(layer, type) else ()
    return not accepted or any(parameter.name == setting or parameter.kind is parameter.VAR_KEYWORD for parameter in accepted)


def _initializer(value: dict[str, Any]) -> dict[str, Any]:
    config = {key: setting for key, setting in value["config"].items() if key != "dtype"}
    if config.get("distribution") == "normal":
        config["distribution"] = "truncated_normal"
    return {**value, "config": config}


def function_name(value: Any) -> Any:
    """The name of an activation function, which Keras 2.15 may wrap; anything else comes back as it is."""
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    if isinstance(value, dict) and value.get("class_name") == "Activation":
        value = function_name(value["config"]["activation"])
    return OTHER_NAMES.get(value, value) if isinstance(value, str) else value


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
            config.get("name"), f"uses the function {show(name)}, which is none of Keras's own", "rebuild the network with built-in ones"
        )
    if kind == "Activation" or gains(kind, {key: name}) is not None:
        return name
    raise file.refuse(
        config.get("name"), f"({kind}) has {key}='hard_sigmoid', which is another function in Keras 3", "rebuild the network without"
    )


def gains(kind: str, config: dict[str, Any]) -> dict[str, Callable[[int], np.ndarray]] | None:
    """How much larger the weights of a layer must be for Keras 3's `hard_sigmoid` to answer what that of Keras 1 and 2 answered.

    Args:
        kind: the class of the layer.
        config: its settings, of which the two functions are read.

    Returns:
        For each variable that changes a function from the length of its last axis to factors for that axis; None where no weights
        can do it, because the layer applies the function to something else too.
    """
    hard = {key for key in ("activation", "recurrent_activation") if function_name(config.get(key)) == "hard_sigmoid"}
    if not hard:
        return {}
    whole = _last_axis(HARD_SIGMOID_GAIN)
    gates = HARD_SIGMOID_GAIN if "recurrent_activation" in hard else 1.0
    if kind in LSTMS and hard == {"recurrent_activation"}:  # input, forget, candidate, output; the activation is used on the state, too
        return dict.fromkeys(("kernel", "recurrent_kernel", "bias"), _last_axis(gates, gates, 1.0, gates))
    if kind in GRUS:  # update, reset, candidate
        candidate = HARD_SIGMOID_GAIN if "activation" in hard else 1.0
        return dict.fromkeys(("kernel", "recurrent_kernel", "bias"), _last_axis(gates, gates, candidate))
    if hard != {"activation"}:
        return None
    if kind in SIMPLE:
        return dict.fromkeys(("kernel", "recurrent_kernel", "bias"), whole)
    if kind in DENSE | CONVOLUTIONS:
        return dict.fromkeys(("kernel", "bias"), whole)
    if kind in DEPTHWISE:
        return {"kernel": whole, "bias": whole}
    if kind in SEPARABLE:
        return dict.fromkeys(("pointwise_kernel", "bias"), whole)
    return None


def _last_axis(*factors: float) -> Callable[[int], np.ndarray]:
    return lambda length: np.repeat(np.array(factors, np.float32), length // len(factors))


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
    """Outside of training, RandomCrop of Keras 2 cuts to the aspect ratio and resizes; that of Keras 3 cuts out the centre."""
    del kind, file
    return [entry("Resizing", {**_keep(config, "height", "width"), "crop_to_aspect_ratio": True})]


def _batch_normalization(kind: str, config: dict[str, Any], file: File) -> list[Entry]:
    del kind
    axis = config.get("axis", -1)
    if isinstance(axis, list):
        if len(axis) != 1:
            raise file.refuse(config.get("name"), f"normalizes over the axes {show(axis)}, which Keras 3 cannot", "rebuild it over one axis")
        config["axis"] = axis[0]
        if axis[0] in (3, 4) and file.number < (2, 12):  # up to then TensorFlow's kernel for images and clips knew no smaller one
            config["epsilon"] = max(config.get("epsilon", FUSED_EPSILON), FUSED_EPSILON)
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
        raise file.refuse(config.get("name"), f"resizes by {show(config['interpolation'])}, which Keras 3 cannot", "resize by 'bilinear'")
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
    "SyncBatchNormalization": _batch_normalization, "GRU": _gru, "GRUCell": _gru, "Discretization": _discretization, "TimeDistributed": _time_distributed,
    "LayerScale": _layer_scale, "StochasticDepth": _stochastic_depth, "LocallyConnected1D": _locally_connected, "LocallyConnected2D": _locally_connected,
    "SeparableConv1D": _separable_1d, "Resizing": _resizing, "Bidirectional": _bidirectional,
}  # fmt: skip
