"""The output head of a classifier: the operations between its class scores and its answers, found by following the graph back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from nc_tf.models.keras_internals import Node, call_of, graph_inside, maker_of, nodes_by_depth
from nc_tf.models.keras_internals import core_operations as core
from nc_tf.models.keras_internals import nn_operations as nn
from nc_tf.models.keras_internals import numpy_operations as numpy

Close = Callable[[tf.Tensor], tf.Tensor]

# Numbers go through these as they are, at most in another shape, when no training is under way.
PASSING = (
    layers.ActivityRegularization,
    layers.AlphaDropout,
    layers.Dropout,
    layers.Flatten,
    layers.GaussianDropout,
    layers.GaussianNoise,
    layers.Identity,
    layers.Reshape,
    core.StopGradient,
    numpy.ExpandDims,
    numpy.Reshape,
    numpy.Squeeze,
)
# Layers with weights whose `activation` comes last.
WEIGHING = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense, layers.EinsumDense)
# These keep the order of scores, but flatten out, so that no gradient passes.
SQUASHING = {
    "celu": nn.Celu,
    "ceil": numpy.Ceil,
    "clip": numpy.Clip,
    "elu": nn.Elu,
    "exponential": numpy.Exp,
    "floor": numpy.Floor,
    "hard_sigmoid": nn.HardSigmoid,
    "hard_tanh": nn.HardTanh,
    "log_sigmoid": nn.LogSigmoid,
    "relu": nn.Relu,
    "relu6": nn.Relu6,
    "round": numpy.Round,
    "selu": nn.Selu,
    "sigmoid": nn.Sigmoid,
    "softmax": nn.Softmax,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanh": numpy.Tanh,
    "trunc": numpy.Trunc,
}
ACTIVATIONS = {function: name for name in SQUASHING if callable(function := getattr(keras.activations, name, None))}
NAMES = {operation: name for name, operation in SQUASHING.items()} | {layers.ELU: "elu", layers.ReLU: "relu", layers.Softmax: "softmax"}


@dataclass(frozen=True, eq=False)
class Head:
    """Operations that a search leaves out of a classifier, and their effect on its scores.

    Attributes:
        name: "softmax", "sigmoid" and so on, "logits" where the scores are the answers, "unknown" where the graph does not tell.
        left_out: layers and operations to be left out altogether.
        without_activation: layers whose activation is left out.
        zeroed: operations in whose place the scores are zero.
        close: makes the answers of the scores (N, K) again.
    """

    name: str
    left_out: frozenset[keras.Operation] = field(default_factory=frozenset)
    without_activation: frozenset[keras.Operation] = field(default_factory=frozenset)
    zeroed: frozenset[keras.Operation] = field(default_factory=frozenset)
    close: Close = lambda scores: scores

    @property
    def cut(self) -> bool:
        """Whether anything is left out."""
        return bool(self.left_out or self.without_activation)


UNKNOWN = Head("unknown")


def graph_of(model: keras.Model) -> Any:
    """Return the functional graph of a model, a Sequential's inner one; None for a subclass with its own `call`."""
    graph = graph_inside(model)
    return graph if nodes_by_depth(graph) else None


def is_of_keras(function: Callable[..., Any]) -> bool:
    """Whether an activation is one of Keras's own."""
    return getattr(function, "__module__", "").startswith("keras.")


def output_head(model: keras.Model) -> Head:
    """Follow a classifier back from its output, into nested models too, as far as the order of the classes is kept."""
    graph = graph_of(model)
    if graph is None or len(graph.outputs) != 1:
        return UNKNOWN
    pair = _complement(graph.outputs[0])
    if pair is None:
        return _followed(_back(graph.outputs[0]))
    complement, probability, place = pair
    one = _followed(_back(probability))
    # Class 1 is answered above .5, which is where the score in front of either is above 0; so that of class 0 may be 0.
    if one.name not in ("sigmoid", "hard_sigmoid") or len(one.left_out | one.without_activation) != 1:
        return UNKNOWN

    def close(scores: tf.Tensor) -> tf.Tensor:
        p = one.close(scores[:, place : place + 1])
        return tf.concat([p, 1.0 - p] if place == 0 else [1.0 - p, p], -1)

    return replace(one, zeroed=frozenset([complement]), close=close)


def _back(tensor: keras.KerasTensor) -> Iterator[tuple[keras.Operation, Node]]:
    """The operations before a tensor, the last one first, and how each was called, until one has several inputs or none."""
    while True:
        operation, call, _ = maker_of(tensor)
        node = call_of(operation, call)
        if node.is_input:
            return
        inner = graph_of(operation)
        if inner is None:
            yield operation, node
        elif len(inner.outputs) == 1:
            yield from _back(inner.outputs[0])
        if len(node.input_tensors) != 1:
            return
        tensor = node.input_tensors[0]


def _followed(steps: Iterator[tuple[keras.Operation, Node]]) -> Head:
    left_out: list[keras.Operation] = []
    without_activation: list[keras.Operation] = []
    closing: list[Close] = []
    found = UNKNOWN
    for operation, node in steps:
        weighs = isinstance(operation, WEIGHING)
        function = operation.activation if weighs or isinstance(operation, layers.Activation) else None
        if isinstance(operation, PASSING) or (function is keras.activations.linear and not weighs):
            continue
        name, close = _squash(operation, node)
        close = close or _keeps_order(operation, node)
        if close is not None:
            (without_activation if weighs else left_out).append(operation)
            closing.insert(0, close)
        if name:
            found = Head(name, frozenset(left_out), frozenset(without_activation), close=_in_turn(tuple(closing)))
        if weighs or close is None:
            return Head("logits") if function is keras.activations.linear and found is UNKNOWN else found
    return found


def _squash(operation: keras.Operation, node: Node) -> tuple[str, Close | None]:
    """The name of what squashes the scores here, and how; "" and None where nothing does."""
    if isinstance(operation, (*WEIGHING, layers.Activation)):
        function = operation.activation
        if not is_of_keras(function):
            return "softmax", tf.nn.softmax  # a guess, which the caller has to check
        name, close = ACTIVATIONS.get(function, ""), function
    else:
        name, close = NAMES.get(type(operation), ""), _again(operation, node)
    if name != "softmax":
        return (name, close) if name else ("", None)
    shape = node.outputs[0].shape
    axis = getattr(operation, "axis", -1)
    over_classes = isinstance(axis, int) and axis % len(shape) == len(shape) - 1 and all(side == 1 for side in shape[1:-1])
    return ("softmax", tf.nn.softmax) if over_classes else ("", None)


def _keeps_order(operation: keras.Operation, node: Node) -> Close | None:
    """Return an operation that neither squashes scores nor changes their order; None where it may."""
    if isinstance(operation, layers.Rescaling):
        keeps = np.size(operation.scale) == np.size(operation.offset) == 1 and bool(np.all(np.asarray(operation.scale) > 0))
    elif isinstance(operation, core.Cast):
        keeps = tf.as_dtype(operation.dtype).is_floating
    elif isinstance(operation, numpy.Add | numpy.Subtract | numpy.Multiply | numpy.Divide | numpy.TrueDivide):
        first, second = [*node.arguments.args, None, None][:2]
        backwards = isinstance(first, int | float)  # as in 1 - x
        number = first if backwards else second
        shifts = isinstance(operation, numpy.Add | numpy.Subtract)
        commutes = isinstance(operation, numpy.Add | numpy.Multiply)
        keeps = isinstance(number, int | float) and (shifts or number > 0) and (commutes or not backwards)
    else:
        keeps = isinstance(operation, numpy.Log | nn.LogSoftmax)
    return _again(operation, node) if keeps else None


def _again(operation: keras.Operation, node: Node) -> Close:
    """The operation as it was called there, on other scores."""

    def called(scores: tf.Tensor) -> tf.Tensor:
        args, kwargs = node.arguments.fill_in({id(node.input_tensors[0]): scores})
        return operation(*args, **kwargs)

    return called


def _in_turn(steps: Sequence[Close]) -> Close:
    def close(scores: tf.Tensor) -> tf.Tensor:
        for step in steps:
            scores = step(scores)
        return scores

    return close


def _complement(tensor: keras.KerasTensor) -> tuple[keras.Operation, keras.KerasTensor, int] | None:
    """Return the operation that makes 1 - p in [1 - p, p] or [p, 1 - p], and p (N, 1) with its place."""
    operation, call, _ = maker_of(tensor)
    parts = call_of(operation, call).input_tensors
    if not isinstance(operation, numpy.Concatenate | layers.Concatenate) or len(parts) != 2 or any(p.shape[1:] != (1,) for p in parts):
        return None
    for place, (p, made) in enumerate((parts, parts[::-1])):
        by, at, _ = maker_of(made)
        args = call_of(by, at).arguments.args
        if isinstance(by, numpy.Subtract) and len(args) == 2 and args[1] is p and isinstance(args[0], int | float) and args[0] == 1:
            return by, p, place
    return None
