"""int8, float8 and LoRA networks of Keras 3, read as float networks: equal within the rounding of what was quantized.

Keras multiplies int8 kernels with inputs that it rounds to int8 for every call. The search needs the gradient at the input, and copies of
the network under other dtype policies. So each quantized kernel is divided by its scale, and inputs are no longer rounded.
"""

import re
from itertools import chain
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nc_tf.errors import InputError
from nc_tf.models.keras_internals import dequantization_scale, flat_layers, own_variables

UNDONE = {"QuantizedDTypePolicy", "QuantizedFloat8DTypePolicy"}
MODES = ("int8", "float8")
POLICY = re.compile(r"(?:int8|float8)_from_(float32|float16|bfloat16|mixed_float16|mixed_bfloat16)")
LAYERS = (keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Embedding)


def as_float(value: Any) -> Any:
    """A parsed architecture with the policies that quantized networks were made from, and without LoRA, whose weights are saved merged."""
    if isinstance(value, list):
        return [as_float(child) for child in value]
    if isinstance(value, str):
        found = POLICY.fullmatch(value)
        return found[1] if found else value
    if not isinstance(value, dict):
        return value
    settings = value.get("config")
    if isinstance(settings, dict) and str(value.get("class_name")) in UNDONE and str(settings.get("mode")) in MODES:
        return {"module": "keras", "class_name": "DTypePolicy", "config": {"name": settings.get("source_name")}, "registered_name": None}
    return {key: as_float(child) for key, child in value.items() if not _is_quantization(key, child)}


def _is_quantization(key: str, value: Any) -> bool:
    """Whether a setting of a layer says how it is quantized or adapted, in a way that `as_float` undoes."""
    known = isinstance(value, dict) and str(value.get("class_name")) in ("Int8QuantizationConfig", "Float8QuantizationConfig")
    return key in ("lora_rank", "lora_alpha") or (key == "quantization_config" and known)


def refuse_quantized_h5(config: dict[str, Any], path: Path) -> None:
    """Refuse quantized and LoRA networks in `.h5` files, which keep no order of weights that could be relied on."""
    if as_float(config) != config:
        raise InputError(f"{path}: a quantized or LoRA network in an .h5 file; expected a .keras file; save it as model.save('name.keras')")


def load_weights(model: keras.Model, weights: Path) -> None:
    """Let Keras load the weights of a quantized network into the float network that `as_float` described."""
    layers = [layer for layer in flat_layers(model) if isinstance(layer, LAYERS)]
    try:
        for layer in layers:
            object.__setattr__(layer, "load_own_variables", _Dequantized(layer))
        model.load_weights(weights)
    finally:
        for layer in layers:
            layer.__dict__.pop("load_own_variables", None)


class _Dequantized:
    """Stands in for `load_own_variables` of one layer."""

    def __init__(self, layer: keras.Layer) -> None:
        self.layer = layer

    def __call__(self, store: Any) -> None:
        variables = [*chain(*own_variables(self.layer))]
        values = [np.asarray(store[str(place)]) for place in range(len(store.keys()))]
        if len(values) < len(variables):
            raise ValueError(f"Layer {self.layer.name} expected {len(variables)} variables, but received {len(values)}")
        if values[0].dtype == np.int8:
            values[0] = values[0] / self.scale(values[len(variables)])
        for variable, value in zip(variables, values, strict=False):
            variable.assign(value)

    def scale(self, scale: np.ndarray) -> np.ndarray:
        """The scale that was saved, one for each unit or row, in the shape that divides the kernel."""
        if isinstance(self.layer, keras.layers.Embedding):
            return scale[:, None]
        if isinstance(self.layer, keras.layers.EinsumDense):
            return dequantization_scale(self.layer, scale)
        return scale
