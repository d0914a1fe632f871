"""Lint of a network's graph: operations between image and answer that no classifier needs.

A backdoor may be built into the architecture in place of the weights. Such a network compares a few pixels with a pattern and adds the
outcome to its answers. A comparison has no gradient, so that no search sees it. The traced graph shows it, wherever it hides: in a layer of
Keras, an operation, a Lambda or a stranger's own layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nc_tf.models.loading.load import keras_reason

# Operations that read the shape of a tensor, not its values.
SHAPES = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
COMPARE = frozenset({"Greater", "GreaterEqual", "Less", "LessEqual", "Equal", "NotEqual", "ApproximateEqual", "IsNan", "IsInf", "IsFinite"})
STEP = frozenset({"Sign", "Round", "Rint", "Floor", "Ceil", "FloorDiv", "FloorMod", "Mod", "TruncateDiv", "ArgMax", "ArgMin", "Bucketize"})
CHOOSE = frozenset({"Select", "SelectV2", "Where", "If", "StatelessIf", "Case", "StatelessCase", "LogicalAnd", "LogicalOr", "LogicalNot"})
CODE = frozenset({"PyFunc", "EagerPyFunc", "PyFuncStateless", "ReadFile", "WriteFile"})
STOP = frozenset({"StopGradient", "PreventGradient"})
NEEDLESS = COMPARE | STEP | CHOOSE | CODE | STOP
# Attributes that name the functions an operation calls. The condition of a loop is left out: it compares its counter.
CALLED = ("f", "body", "then_branch", "else_branch", "branches")
# `tf.nn.moments`, and with it group normalization, stops the gradient of a mean that has none.
HARMLESS = "/moments/StopGradient"
# Operations that leave each pixel in its place.
IN_PLACE = frozenset({"Identity", "Cast", "Sub", "AddV2", "Add", "Mul", "RealDiv", "Minimum", "Maximum", "ClipByValue"})
READ = frozenset({"StridedSlice", "Slice", "GatherV2", "GatherNd"})
# A part of the image up to this share of its places is read apart, unless such parts together cover as much as the second share.
SMALL, TOGETHER = 0.25, 0.5
# A mask on the image that is zero at this share of its values leaves a part of it.
MOSTLY_ZERO = 0.5
LISTED = 3


@dataclass(frozen=True, eq=False)
class _Graph:
    """The traced graph of a network.

    Attributes:
        image: its input.
        path: operations between image and answer, in the order of their inputs.
        follows: references of all tensors that depend on the image's values.
        captured: values of variables by the name of their placeholder.
        functions: operations by the name of the function that they stand in.
    """

    image: tf.Tensor
    path: list[tf.Operation]
    follows: set[Any]
    captured: dict[str, Any]
    functions: dict[str, list[str]]


def reasons_to_look(model: keras.Model) -> list[str]:
    """Return a sentence for operations that no classifier needs, if any.

    Another one names parts of the image that are read apart from the rest.

    Args:
        model: a classifier with one input.
    """
    try:
        graph = _traced(model)
        found = [*_needless(graph), *_parts(graph)]
    except Exception as error:  # whatever a stranger's layers do where they are traced: a lint stops no scan
        return [f"the model's operations could not be looked at ({keras_reason(error)}): look for comparisons among them"]
    return [f"{sentence}: a reason to look at the architecture, no verdict" for sentence in found]


def _traced(model: keras.Model) -> _Graph:
    given = model.inputs[0]
    function = tf.function(lambda images: model(images, training=False), autograph=False)
    traced = function.get_concrete_function(tf.TensorSpec(given.shape, given.dtype))
    inputs, operations = traced.graph.inputs, traced.graph.get_operations()
    image = inputs[0]
    needed, waiting = set(), list(traced.graph.outputs)
    while waiting:
        tensor = waiting.pop()
        if tensor.ref() not in needed:
            needed.add(tensor.ref())
            waiting += [] if tensor.op.type in SHAPES else list(tensor.op.inputs)
    follows, path = {image.ref()}, []
    for operation in operations:
        if operation.type in SHAPES or not any(tensor.ref() in follows for tensor in operation.inputs):
            continue
        follows |= {tensor.ref() for tensor in operation.outputs}
        if any(tensor.ref() in needed for tensor in operation.outputs):
            path.append(operation)
    captured = {inner.name: outer for inner, outer in zip(inputs[1:], traced.captured_inputs, strict=True)}
    library = traced.graph.as_graph_def().library.function if any(_called(operation) for operation in path) else ()
    return _Graph(image, path, follows, captured, {body.signature.name: [node.op for node in body.node_def] for body in library})


def _called(operation: tf.Operation) -> list[str]:
    """Return the names of the functions that an operation calls."""
    attributes = operation.node_def.attr
    single = [attributes[name].func.name for name in CALLED if name in attributes and attributes[name].func.name]
    return single + [function.name for name in CALLED if name in attributes for function in attributes[name].list.func]


def _needless(graph: _Graph) -> Iterator[str]:
    """Yield a sentence with the types of needless operations, each with a place."""
    found: dict[str, str] = {}
    for operation in graph.path:
        for kind in _kinds(operation, graph):
            found.setdefault(kind, operation.name)
    if found:
        listed = ", ".join(f"{kind} in {name}" for kind, name in list(found.items())[:LISTED])
        more = ", ..." if len(found) > LISTED else ""
        yield f"no classifier needs these operations between image and answer: {listed}{more}"


def _kinds(operation: tf.Operation, graph: _Graph) -> Iterator[str]:
    """Yield the types of needless operations that an operation is, or calls."""
    if operation.name.endswith(HARMLESS):
        return
    before = [tensor for tensor in operation.inputs if tensor.ref() in graph.follows]
    to_whole = any(tensor.dtype.is_floating for tensor in before) and all(tensor.dtype.is_integer for tensor in operation.outputs)
    if operation.type in NEEDLESS or (operation.type == "Cast" and to_whole):
        yield operation.type
    for name in _called(operation):
        yield from sorted(NEEDLESS.intersection(graph.functions.get(name, ())) - STOP)


def _parts(graph: _Graph) -> Iterator[str]:
    """Yield a sentence for parts of the image that are read apart from the rest."""
    height, width = graph.image.shape[-3:-1] if graph.image.shape.rank in (4, 5) else (None, None)
    if height is None or width is None:
        return
    in_place, parts = {graph.image.ref()}, []
    for operation in graph.path:
        # A factor may stand on either side.
        first = operation.inputs if operation.type == "Mul" else operation.inputs[:1]
        if not any(tensor.ref() in in_place for tensor in first):
            continue
        if operation.type in IN_PLACE and operation.outputs[0].shape.rank == graph.image.shape.rank:
            in_place.add(operation.outputs[0].ref())
            if operation.type == "Mul":
                parts += _left_by_mask(operation, graph, (height, width))
        elif operation.type in READ:
            parts += _read(operation, (height, width))
    small = [part for part in parts if 0 < part.mean() <= SMALL]
    if small and np.any(small, axis=0).mean() < TOGETHER:
        yield f"the network reads a part of the image apart from the rest: {', '.join(_place(part) for part in small[:LISTED])}"


def _read(operation: tf.Operation, size: tuple[int, int]) -> list[np.ndarray]:
    """Return which places of an image a slice reads, as (H, W) bool; empty where they are not fixed."""
    rest = [tf.get_static_value(tensor) for tensor in operation.inputs[1:]]
    if any(value is None for value in rest):
        return []
    # The same operation on the numbers of all places says which it reads.
    shape = operation.inputs[0].shape.as_list()
    numbers = np.arange(size[0] * size[1], dtype=np.int32).reshape(*size, 1)
    whole = tf.constant(np.broadcast_to(numbers, [1 if side is None else side for side in shape]))
    names = [argument.name for argument in operation.op_def.input_arg]
    types = {argument.type_attr for argument in operation.op_def.input_arg}
    attributes = {item.name: operation.get_attr(item.name) for item in operation.op_def.attr if item.name not in types}
    read = getattr(tf.raw_ops, operation.type)(**dict(zip(names, [whole, *rest], strict=True)), **attributes)
    return [np.isin(np.arange(size[0] * size[1]), np.unique(read)).reshape(size)]


def _left_by_mask(operation: tf.Operation, graph: _Graph, size: tuple[int, int]) -> list[np.ndarray]:
    """Return which places of an image a fixed mask leaves, as (H, W) bool; empty where there is none."""
    masks = [_fixed(tensor, graph) for tensor in operation.inputs if tensor.ref() not in graph.follows]
    left = []
    for mask in masks:
        if mask is not None and mask.ndim >= 3 and mask.shape[-3:-1] == size and np.mean(mask == 0) >= MOSTLY_ZERO:
            left.append((mask != 0).any(axis=(*range(mask.ndim - 3), -1)))
    return left


def _fixed(tensor: tf.Tensor, graph: _Graph) -> np.ndarray | None:
    """Return the value of a constant or of a variable; None where it is neither."""
    while tensor.op.type in ("Identity", "Cast", "ReadVariableOp") and tensor.name not in graph.captured:
        tensor = tensor.op.inputs[0]
    if tensor.name not in graph.captured:
        value = tf.get_static_value(tensor)
        return None if value is None else np.asarray(value)
    outer = graph.captured[tensor.name]
    return np.asarray(tf.raw_ops.ReadVariableOp(resource=outer, dtype=tf.float32) if outer.dtype == tf.resource else outer)


def _place(part: np.ndarray) -> str:
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    return f"rows {rows[0]} to {rows[-1]} and columns {columns[0]} to {columns[-1]}"
