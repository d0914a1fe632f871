"""Private names of Keras and TensorFlow, each with its meaning; no other module uses one.

Keras has no public way to any of them. `tests/models/test_keras_internals.py` has a test for each.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras.src.api_export import get_symbol_from_name
from keras.src.backend.common import global_state
from keras.src.backend.common.symbolic_scope import SymbolicScope
from keras.src.legacy.saving.legacy_h5_format import save_model_to_hdf5
from keras.src.models import Functional
from keras.src.ops import core as core_operations
from keras.src.ops import nn as nn_operations
from keras.src.ops import numpy as numpy_operations
from keras.src.ops.node import Node
from keras.src.saving.serialization_lib import ObjectSharingScope
from tensorflow.python.eager import context

__all__ = [
    "REBUILD",
    "Functional",
    "Node",
    "SymbolicScope",
    "call_of",
    "core_operations",
    "dequantization_scale",
    "finds_logits",
    "flat_layers",
    "graph_inside",
    "inner_layers",
    "input_structure",
    "is_connected",
    "keras_random_state",
    "lambda_output_shape",
    "maker_of",
    "nn_operations",
    "nodes_by_depth",
    "numpy_operations",
    "own_variables",
    "public_object",
    "run_graph",
    "save_hdf5",
    "scoped_custom_objects",
    "scratch_graph",
    "set_keras_random_state",
    "shared_objects",
    "takes_training",
    "tensorflow_state",
    "variables_without_memory",
]

# Method of `keras.Sequential` that connects all of its layers anew after each `add`.
REBUILD = "_maybe_rebuild"
# Keys of Keras's global state: the seed of `keras.utils.set_random_seed` and the generator of layers without one, objects of
# `keras.saving.custom_object_scope`, variables whose memory waits for the end of a stateless scope, and configurations of shared objects.
_RANDOM_STATE = ("global_random_seed", "global_seed_generator")
_SCOPED_OBJECTS = "custom_objects_scope_dict"
_WITHOUT_MEMORY = "uninitialized_variables"
_SHARED = "shared_objects/id_to_config_map"


def maker_of(tensor: keras.KerasTensor) -> tuple[keras.Operation, int, int]:
    """Return the operation that made a tensor, the number of its call, and of the tensor among its outputs."""
    operation, call, place = tensor._keras_history
    return operation, call, place


def call_of(operation: keras.Operation, number: int) -> Node:
    """Return one call of an operation: its arguments, input tensors and outputs."""
    return operation._inbound_nodes[number]


def flat_layers(model: keras.Layer, *, include_self: bool = True) -> Iterator[keras.Layer]:
    """Return all layers of a model, those inside of other layers, too."""
    layers: Iterator[keras.Layer] = model._flatten_layers(include_self=include_self)
    return layers


def inner_layers(layer: keras.Operation) -> list[keras.Layer]:
    """Return the layers that a layer holds directly."""
    return list(getattr(layer, "_layers", ()))


def own_variables(layer: keras.Layer) -> tuple[list[keras.Variable], list[keras.Variable]]:
    """Return the trainable and the other variables that a layer itself holds, without those of inner layers."""
    return list(layer._trainable_variables), list(layer._non_trainable_variables)


def graph_inside(model: keras.Operation) -> keras.Operation:
    """Return the functional model inside a Sequential; anything else as it is."""
    return getattr(model, "_functional", model)


def is_connected(model: keras.Sequential) -> bool:
    """Return whether a Sequential has its functional model yet."""
    return bool(model._functional)


def nodes_by_depth(graph: keras.Operation) -> dict[int, list[Node]]:
    """Return the calls of a functional model by their distance from the output; empty for any other layer."""
    return getattr(graph, "_nodes_by_depth", {})


def input_structure(graph: keras.Model) -> Any:
    """Return the inputs of a functional model in the structure that its call takes."""
    return graph._inputs_struct


def run_graph(graph: keras.Model, inputs: Any, operation_fn: Callable[[keras.Operation], Any] | None = None) -> Any:
    """Return the outputs of a functional model for other inputs, operation by operation.

    Args:
        graph: the functional model.
        inputs: in its `input_structure`.
        operation_fn: what is called instead of each operation; None calls the operation itself.
    """
    return graph._run_through_graph(inputs, operation_fn=operation_fn or (lambda operation: operation))  # Keras 3.12 has no default


def lambda_output_shape(layer: keras.layers.Lambda) -> Any:
    """Return the `output_shape` that a Lambda layer was made with."""
    return layer._output_shape


def dequantization_scale(layer: keras.layers.EinsumDense, scale: np.ndarray) -> np.ndarray:
    """Return the saved scale of a quantized EinsumDense in the shape that divides its kernel."""
    layer._set_quantization_info()
    return np.asarray(layer._adjust_scale_for_dequant(scale))


def finds_logits(answers: Any) -> bool:
    """Return whether Keras's losses find the logits of these probabilities by themselves."""
    return hasattr(answers, "_keras_logits")


def public_object(name: str) -> Any:
    """Return the object of a public name such as `keras.layers.Dense`; None if there is none."""
    return get_symbol_from_name(name)


def save_hdf5(model: keras.Model, file: Any) -> None:
    """Write architecture and weights to an open HDF5 file."""
    save_model_to_hdf5(model, file, include_optimizer=False)


def keras_random_state() -> dict[str, Any]:
    """Return Keras's seed, and its generator of random numbers for layers without a seed."""
    return {name: global_state.get_global_attribute(name) for name in _RANDOM_STATE}


def set_keras_random_state(state: dict[str, Any]) -> None:
    """Restore what `keras_random_state` returned."""
    for name, value in state.items():
        global_state.set_global_attribute(name, value)


def scoped_custom_objects() -> dict[str, Any]:
    """Return the objects of `keras.saving.custom_object_scope` by name, which the registered ones do not include."""
    return dict(global_state.get_global_attribute(_SCOPED_OBJECTS) or {})


@contextlib.contextmanager
def variables_without_memory() -> Iterator[Callable[[], list[keras.Variable]]]:
    """Give variables that are made inside a shape and no memory.

    Yields:
        A function that returns the variables made so far.
    """
    before = list(global_state.get_global_attribute(_WITHOUT_MEMORY) or [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield lambda: list((global_state.get_global_attribute(_WITHOUT_MEMORY) or [])[len(before) :])
    finally:
        # Keras remembers such variables and would allocate them at the end of the next stateless scope.
        global_state.set_global_attribute(_WITHOUT_MEMORY, before)


@contextlib.contextmanager
def shared_objects() -> Iterator[None]:
    """Let objects that a file names by one id be one object.

    Keras's scope also gives ids to what is serialized inside it, by address. `Bidirectional` serializes the layer it is given and lets it
    go; the next such layer may get the same address, and with it the other's directions. Nothing that is loaded needs these ids.
    """
    with ObjectSharingScope():
        global_state.set_global_attribute(_SHARED, None)
        yield


def takes_training(operation: keras.Operation) -> bool:
    """Return whether a layer's call has an argument `training`."""
    return bool(getattr(operation, "_call_has_training_arg", False))


def scratch_graph() -> Any:
    """Return a context in which TensorFlow's operations are added to a graph that nothing runs."""
    return tf.__internal__.FuncGraph("walk").as_default()


def tensorflow_state() -> dict[str, Any]:
    """Return TensorFlow's eager context as a dict that may be written to; `_seed` and `_rng` are its random state."""
    return vars(context.context())
