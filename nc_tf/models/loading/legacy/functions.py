"""Activation functions of Keras 1 and 2, one of which is another function in Keras 3.

Keras 1 and 2 call clip(0.2 x + 0.5, 0, 1) `hard_sigmoid`; Keras 3 means clip(x / 6 + 0.5, 0, 1) by that name. The first of x is the
second of 1.2 x. An Activation therefore gets a Rescaling before it. A layer that ends in the function, or gates by it, gets weights that
are 1.2 times as large. Both are stock parts, so that the network can be copied and saved again.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

# These words mean the same in Keras 1, 2 and 3.
SAME_ACTIVATIONS = {
    "elu", "exponential", "gelu", "leaky_relu", "linear", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "softmax",
    "softplus",
    "softsign", "swish", "tanh",
}  # fmt: skip
OTHER_NAMES = {"softmax_v2": "softmax"}
HARD_SIGMOID_GAIN = 1.2
# Layers whose weights can carry the gain of their activation: those that it multiplies, up to the activation.
DENSE = {"Dense", "EinsumDense"}
CONVOLUTIONS = {f"Conv{d}D" for d in (1, 2, 3)} | {f"Conv{d}DTranspose" for d in (1, 2, 3)}
DEPTHWISE = {"DepthwiseConv1D", "DepthwiseConv2D"}
SEPARABLE = {"SeparableConv1D", "SeparableConv2D"}
LSTMS = {"LSTM", "LSTMCell", "ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D"}
GRUS = {"GRU", "GRUCell"}
SIMPLE = {"SimpleRNN", "SimpleRNNCell"}


def function_name(value: Any) -> Any:
    """The name of an activation function, which Keras 2.15 may wrap; anything else comes back as it is."""
    if isinstance(value, dict) and value.get("class_name") == "function":
        value = value.get("config")
    if isinstance(value, dict) and value.get("class_name") == "Activation":
        value = function_name(value["config"]["activation"])
    return OTHER_NAMES.get(value, value) if isinstance(value, str) else value


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
