"""Lint of a network's graph: operations between image and answer that no classifier needs.

A backdoor may be built into the architecture in place of the weights. Such a network compares a few pixels with a pattern and adds the
outcome to its answers. A comparison has no gradient, so that no search sees it. The traced graph shows it, wherever it hides: in a layer of
Keras, an operation, a Lambda or a stranger's own layer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
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
# `tf.nn.moments`, and with it group normalization, stops the gradient of a mean that has none.
HARMLESS = "/moments/StopGradient"
# Operations that leave each pixel in its place, that change the shape alone, and that move or drop pixels.
IN_PLACE = frozenset({"Identity", "Cast", "Sub", "AddV2", "Add", "Mul", "RealDiv", "Minimum", "Maximum", "ClipByValue", "Neg"})
SHAPED = frozenset({"Reshape", "Squeeze", "ExpandDims"})
READ = frozenset({"StridedSlice", "Slice", "GatherV2", "GatherNd", "Transpose", "ReverseV2", "Roll", "Split", "SplitV", "Unpack"})
# Operations between constants that make masks and indices.
COMPUTED = SHAPED | {"Identity", "Cast", "AddV2", "Sub", "Mul", "Fill", "Pad", "PadV2", "Less", "SelectV2", "Pack", "StridedSlice"}
# Arguments that have another name in `tf.raw_ops`.
RENAMED = {"split_dim": "axis", "squeeze_dims": "axis"}
# A part of the image up to this share of its places is read apart, unless such parts together cover as much as the second share.
SMALL, TOGETHER = 0.25, 0.5
LISTED = 3
OPERATIONS, VALUES = 100_000, 2**28


class _TooLargeError(Exception):
    """A graph beyond the bounds."""


@dataclass(frozen=True, eq=False)
class _Graph:
    """The traced graph of a network.

    Attributes:
        image: its input.
        path: operations between image and answer, in the order of their inputs.
        needed: references of all tensors that the answer depends on.
        follows: references of all tensors that depend on the image's values.
        captured: values of variables by the name of their placeholder.
        functions: operations by the name of the function that they stand in.
    """

    image: tf.Tensor
    path: list[tf.Operation]
    needed: set[Any]
    follows: set[Any]
    captured: dict[str, Any]
    functions: dict[str, Sequence[Any]]


def reasons_to_look(model: keras.Model) -> list[str]:
    """Return a sentence for operations that no classifier needs, if any.

    Another one names parts of the image that are read apart from the rest.

    Args:
        model: a classifier with one input.
    """
    found = []
    try:
        graph = _traced(model)
        for look in (_needless, _parts):
            found += [f"{sentence}: a reason to look at the architecture, no verdict" for sentence in look(graph)]
    except _TooLargeError as error:
        found.append(f"the graph is too large to be looked at: {error}")
    except Exception as error:  # whatever a stranger's layers do where they are traced: a lint stops no scan
        found.append(f"the model's operations could not be looked at ({keras_reason(error)}): look for comparisons among them")
    return found


def _traced(model: keras.Model) -> _Graph:
    given = model.inputs[0]
    function = tf.function(lambda images: model(images, training=False), autograph=False)
    traced = function.get_concrete_function(tf.TensorSpec(given.shape, given.dtype))
    inputs, operations = traced.graph.inputs, traced.graph.get_operations()
    _check_number(len(operations))
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
    library = traced.graph.as_graph_def().library.function if any(_called(operation.node_def) for operation in path) else ()
    _check_number(len(operations) + sum(len(body.node_def) for body in library))
    return _Graph(image, path, needed, follows, captured, {body.signature.name: body.node_def for body in library})


def _check_number(operations: int) -> None:
    if operations > OPERATIONS:
        raise _TooLargeError(f"{operations:,} operations, more than {OPERATIONS:,}")


def _called(node: Any) -> list[str]:
    """Return the names of the functions that a NodeDef calls, without the condition of a loop: it compares its counter."""
    values = [value for name, value in node.attr.items() if name != "cond"]
    return [value.func.name for value in values if value.func.name] + [called.name for value in values for called in value.list.func]


def _needless(graph: _Graph) -> Iterator[str]:
    """Yield a sentence with the types of needless operations, each with a place."""
    found: dict[str, str] = {}
    visited: set[str] = set()
    for operation in graph.path:
        waiting = [operation.node_def]
        while waiting:
            node = waiting.pop()
            if _is_needless(node):
                found.setdefault(node.op, operation.name)
            called = set(_called(node)) - visited
            visited |= called
            waiting += [inner for name in sorted(called) for inner in graph.functions.get(name, ())]
    if found:
        listed = ", ".join(f"{kind} in {name}" for kind, name in list(found.items())[:LISTED])
        more = ", ..." if len(found) > LISTED else ""
        yield f"no classifier needs these operations between image and answer: {listed}{more}"


def _is_needless(node: Any) -> bool:
    """Return whether a NodeDef is an operation that no classifier needs."""
    if node.op == "Cast":
        before, after = tf.as_dtype(node.attr["SrcT"].type), tf.as_dtype(node.attr["DstT"].type)
        return bool(before.is_floating and (after.is_integer or after.is_bool))
    return node.op in NEEDLESS and not (node.op in STOP and node.name.endswith(HARMLESS))


def _parts(graph: _Graph) -> Iterator[str]:
    """Yield a sentence for parts of the image that are read apart from the rest."""
    height, width = graph.image.shape[-3:-1] if graph.image.shape.rank in (4, 5) else (None, None)
    if height is None or width is None:
        return
    places, together = _Places(graph, (height, width)), np.zeros((height, width), bool)
    listed: list[str] = []
    for operation in graph.path:
        for part in places.small_parts(operation):
            together |= part
            # A fourth says that there are more.
            listed += [_place(part)] if len(listed) <= LISTED else []
    if listed and together.mean() < TOGETHER:
        more = ", ..." if len(listed) > LISTED else ""
        yield f"the network reads a part of the image apart from the rest: {', '.join(listed[:LISTED])}{more}"


class _Places:
    """Places of the image that the values of tensors come from, as long as each comes from one.

    Args:
        graph: the traced graph.
        size: rows and columns of the image.
    """

    def __init__(self, graph: _Graph, size: tuple[int, int]) -> None:
        """Number the places of the image, row by row."""
        self.graph, self.size, self.spent = graph, size, 0
        self._spend(prod(size))
        numbers = np.arange(prod(size), dtype=np.int32).reshape(*size, 1)
        self.numbers = {graph.image.ref(): np.broadcast_to(numbers, _shape(graph.image))}
        self.known: dict[Any, np.ndarray | None] = {}

    def small_parts(self, operation: tf.Operation) -> Iterator[np.ndarray]:
        """Yield which places an operation reads or leaves, (H, W) bool, where they are few."""
        numbered = [self.numbers[tensor.ref()] for tensor in operation.inputs if tensor.ref() in self.numbers]
        results = []
        if numbered and operation.type in READ:
            results = self._read(operation)
        elif numbered and operation.type in SHAPED:
            results = self._shaped(operation.outputs[0], numbered[0])
        elif numbered and operation.type in IN_PLACE:
            results = self._in_place(operation, numbered)
        for tensor, numbers, left in results:
            part = np.zeros(prod(self.size), bool)
            part[left] = True
            if 0 < part.mean() <= SMALL:
                yield part.reshape(self.size)
            else:
                self.numbers[tensor.ref()] = numbers

    def _spend(self, values: int) -> None:
        self.spent += values
        if self.spent > VALUES:
            raise _TooLargeError(f"the parts that it reads of the image, and its masks, have more than {VALUES:,} values")

    def _read(self, operation: tf.Operation) -> list[tuple[tf.Tensor, np.ndarray, np.ndarray]]:
        """Return what a slice reads; empty where that is not fixed.

        The same operation on the numbers of all places says which it reads.
        """
        # The others are no values, but say which are read.
        values = operation.inputs[1 if operation.type == "Split" else 0]
        known = [self.numbers.get(tensor.ref()) if tensor is values else self._fixed(tensor) for tensor in operation.inputs]
        inputs = [value for value in known if value is not None]
        if len(inputs) < len(known) or any(tensor.shape.rank is None for tensor in operation.outputs):
            return []
        self._spend(sum(value.size for value in inputs) + sum(prod(_shape(tensor)) for tensor in operation.outputs))
        read = zip(operation.outputs, _run(operation, inputs), strict=True)
        return [(tensor, numbers, numbers) for tensor, numbers in read if tensor.ref() in self.graph.needed]

    def _shaped(self, tensor: tf.Tensor, numbers: np.ndarray) -> list[tuple[tf.Tensor, np.ndarray, np.ndarray]]:
        """Return the same numbers in the shape of a tensor; empty where it has another size."""
        self._spend(numbers.size)
        return [(tensor, numbers.reshape(_shape(tensor)), numbers)] if prod(_shape(tensor)) == numbers.size else []

    def _in_place(self, operation: tf.Operation, numbered: list[np.ndarray]) -> list[tuple[tf.Tensor, np.ndarray, np.ndarray]]:
        """Return the numbers of an operation's result, and those that a fixed mask leaves."""
        tensor, shape = operation.outputs[0], _shape(operation.outputs[0])
        fitting = [numbers for numbers in numbered if _fits(numbers.shape, shape)]
        if not fitting:
            return []
        numbers = np.broadcast_to(fitting[0], shape)
        self._spend(numbers.size)
        left = numbers
        for factor in operation.inputs if operation.type == "Mul" else ():
            mask = None if factor.ref() in self.graph.follows else self._fixed(factor)
            if mask is not None and _fits(mask.shape, shape):
                left = numbers[np.broadcast_to(mask != 0, shape)]
        return [(tensor, numbers, left)]

    def _fixed(self, tensor: tf.Tensor) -> np.ndarray | None:
        """Return the value of a constant, of a variable, or of operations between them; None for all else."""
        if tensor.ref() not in self.known:
            self.known[tensor.ref()] = self._computed(tensor)
        return self.known[tensor.ref()]

    def _computed(self, tensor: tf.Tensor) -> np.ndarray | None:
        operation, captured = tensor.op, self.graph.captured
        if not tensor.shape.is_fully_defined() or tensor.dtype == tf.resource:
            return None
        self._spend(tensor.shape.num_elements())
        if tensor.name in captured or operation.type == "Const":
            return np.asarray(captured[tensor.name] if tensor.name in captured else tf.get_static_value(tensor))
        if operation.type == "ReadVariableOp":
            handle = captured.get(operation.inputs[0].name)
            return None if handle is None else np.asarray(tf.raw_ops.ReadVariableOp(resource=handle, dtype=tensor.dtype))
        if operation.type == "Shape":
            # An unknown number of images is 1, as in the numbers.
            known = None not in operation.inputs[0].shape[1:]
            return np.asarray(_shape(operation.inputs[0]), tensor.dtype.as_numpy_dtype) if known else None
        if operation.type not in COMPUTED:
            return None
        inputs = [value for value in map(self._fixed, operation.inputs) if value is not None]
        return _run(operation, inputs)[0] if len(inputs) == len(operation.inputs) else None


def _run(operation: tf.Operation, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return what the same operation makes of other inputs."""
    arguments, rest, of_inputs = {}, iter(inputs), set()
    for argument in operation.op_def.input_arg:
        of_inputs |= {argument.type_attr, argument.number_attr}
        several = argument.number_attr and [next(rest) for _ in range(operation.get_attr(argument.number_attr))]
        arguments[RENAMED.get(argument.name, argument.name)] = several or next(rest)
    names = [item.name for item in operation.op_def.attr if item.name not in of_inputs]
    attributes = {RENAMED.get(name, name): operation.get_attr(name) for name in names}
    with tf.device("CPU"):
        made = getattr(tf.raw_ops, operation.type)(**arguments, **attributes)
    return [np.asarray(one) for one in (made if isinstance(made, list | tuple) else [made])]


def _shape(tensor: tf.Tensor) -> list[int]:
    """Return the shape of a tensor with 1 for each unknown side."""
    return [1 if side is None else side for side in (tensor.shape if tensor.shape.rank is not None else ())]


def _fits(inner: Sequence[int], outer: Sequence[int]) -> bool:
    """Return whether an array of one shape can be broadcast to the other."""
    pairs = zip(reversed(inner), reversed(outer), strict=False)
    return len(inner) <= len(outer) and all(side in (1, whole) for side, whole in pairs)


def _place(part: np.ndarray) -> str:
    rows, columns = np.flatnonzero(part.any(axis=1)), np.flatnonzero(part.any(axis=0))
    return f"rows {rows[0]} to {rows[-1]} and columns {columns[0]} to {columns[-1]}"
