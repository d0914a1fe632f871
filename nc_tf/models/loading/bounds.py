"""Bounds of a checked architecture: calls of layers, values in one tensor, classes. They are found before memory is taken.

A file of a few kilobytes can ask for terabytes that no weight accounts for: an upsampling, attention scores, models that call models. So
the network is walked once with the shapes of one image, through nested models and `TimeDistributed`. A layer that may hold more than it
puts out is traced, and every tensor of its graph counts.
"""

import contextlib
import functools
import math
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from nc_tf.errors import InputError, quote
from nc_tf.models.keras_internals import (
    REBUILD,
    SymbolicScope,
    flat_layers,
    graph_inside,
    inner_layers,
    is_connected,
    nodes_by_depth,
    run_graph,
    scratch_graph,
    takes_training,
)
from nc_tf.models.loading.containers import RESAVE

MAX_VALUES = 1 << 27  # in one tensor, for one image: 512 MiB in float32; the CT classifier of Keras's examples has 63 million
MAX_CALLS = 50_000  # of layers, for one image; EfficientNet-B7 has 800, on each of 60 frames
MAX_CHAIN = 1100  # layers one behind the other; EfficientNetV2-L has 1030
SPARE_FRAMES = 100  # of Python's stack: Keras connects layers by recursion, and a scan does it again further down
MAX_PARTS = 4096  # tensors that one operation may put out
MAX_CLASSES = 100_000  # MS-Celeb-1M, the largest public set of labels
STYLE = re.compile(r"\x1b\[\d+m")  # how Keras prints in bold
# For sides that a network leaves open; the first at which it can be computed counts.
USUAL_SIZES = (224, 32, 64, 96, 299, 331, 512)
USUAL_FRAMES = 16
# Layers that hold no tensor larger than what they read and what they put out.
PLAIN = {
    "InputLayer", "Identity", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "DepthwiseConv1D",
    "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D", "Dense", "BatchNormalization", "Activation", "ReLU", "LeakyReLU", "PReLU",
    "ELU", "Softmax", "MaxPooling1D", "MaxPooling2D", "MaxPooling3D", "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D", "GlobalMaxPooling1D", "GlobalMaxPooling2D",
    "GlobalMaxPooling3D", "Flatten", "Reshape", "Permute", "RepeatVector", "Dropout", "SpatialDropout1D", "SpatialDropout2D",
    "SpatialDropout3D", "GaussianNoise", "GaussianDropout", "Rescaling", "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum",
    "Concatenate", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D", "Cropping2D", "Cropping3D", "UpSampling1D",
    "UpSampling2D", "UpSampling3D", "StochasticDepth", "LayerScale", "CustomScaleLayer",
}  # fmt: skip


@contextlib.contextmanager
def built_within_bounds(path: Path) -> Iterator[None]:
    """Watch Keras connect layers: refuse what is out of bounds at once, and connect each Sequential once.

    `Sequential.from_config` connects all layers anew for every layer that it adds: a hundred take a second, a thousand two minutes.

    Raises:
        InputError: a layer puts out too many values, or an operation too many tensors.
    """
    deepest = sys.getrecursionlimit()
    refusals: list[InputError] = []  # Keras makes other errors of those that pass through it
    kinds = (keras.Operation, keras.Layer)
    symbolic_calls = [kind.symbolic_call for kind in kinds]
    from_config, connect = vars(keras.Sequential)["from_config"], getattr(keras.Sequential, REBUILD)

    def watch(symbolic_call: Callable[..., Any]) -> Callable[..., Any]:
        def watched(self: keras.Operation, *args: Any, **kwargs: Any) -> Any:
            try:
                refuse_many_parts(self, args, path)
                outputs = symbolic_call(self, *args, **kwargs)
                refuse_large_tensors(outputs, self.name, path)
            except InputError as error:
                refusals.append(error)
                raise
            return outputs

        return watched

    def connected_once(cls: type[keras.Sequential], config: dict[str, Any], custom_objects: Any = None) -> keras.Sequential:
        shape = config.pop("build_input_shape", None)
        model = from_config.__func__(cls, config, custom_objects)
        connect(model)
        if model.layers and not is_connected(model) and isinstance(shape, list):
            model.build(shape)
        return model

    try:
        sys.setrecursionlimit(deepest - SPARE_FRAMES)
        for kind, symbolic_call in zip(kinds, symbolic_calls, strict=True):
            kind.symbolic_call = watch(symbolic_call)
        keras.Sequential.from_config = classmethod(connected_once)
        setattr(keras.Sequential, REBUILD, lambda _: None)
        yield
    except Exception as error:
        if refusals:
            raise refusals[0] from None
        if isinstance(error, RecursionError):
            raise InputError(f"{path}: more layers one behind the other than Keras can connect, about 800; {RESAVE}") from error
        raise
    finally:
        sys.setrecursionlimit(deepest)
        for kind, symbolic_call in zip(kinds, symbolic_calls, strict=True):
            kind.symbolic_call = symbolic_call
        keras.Sequential.from_config = from_config
        setattr(keras.Sequential, REBUILD, connect)


def refuse_large_tensors(tensors: Any, name: str, path: Path, times: int = 1) -> None:
    """Refuse outputs of a layer that hold more than MAX_VALUES for one image; `times` frames of it are held at once."""
    for tensor in keras.tree.flatten(tensors):
        values = times * math.prod(side for side in getattr(tensor, "shape", ()) if side)
        if values > MAX_VALUES:
            raise InputError(f"{path}: layer {quote(name)} puts out {values} values an image; the limit is {MAX_VALUES}; {RESAVE}")


def refuse_many_parts(operation: keras.Operation, args: tuple[Any, ...], path: Path) -> None:
    """Refuse operations such as Split and Unstack that cut a tensor into more than MAX_PARTS tensors."""
    parts = [getattr(operation, key, 0) for key in ("indices_or_sections", "num")]
    if type(operation).__name__ == "Unstack" and isinstance(args[0], keras.KerasTensor):
        parts.append(args[0].shape[operation.axis] or 0)
    largest = max((part for part in parts if isinstance(part, int)), default=0)
    if largest > MAX_PARTS:
        raise InputError(f"{path}: layer {quote(operation.name)} cuts its input into {largest} tensors; the limit is {MAX_PARTS}; {RESAVE}")


def refuse_long_chain(model: keras.Model, path: Path) -> None:
    """Refuse a model, or one inside it, with more than MAX_CHAIN layers one behind the other."""
    for graph in _graphs(model):
        length = len(nodes_by_depth(graph)) - 1  # without the input
        if length > MAX_CHAIN:
            raise InputError(f"{path}: {length} layers one behind the other; the limit is {MAX_CHAIN}; {RESAVE}")


def _graphs(model: keras.Model) -> Iterator[keras.Model]:
    for layer in flat_layers(model):
        graph = graph_inside(layer)
        if nodes_by_depth(graph):
            yield graph


def refuse_many_classes(model: keras.Model, path: Path) -> None:
    """Refuse more than MAX_CLASSES classes: scans, reports and repairs list every one of them."""
    for output in getattr(model, "outputs", None) or ():
        classes = output.shape[-1] if len(output.shape) == 2 else None
        if classes and classes > MAX_CLASSES:
            raise InputError(f"{path}: the network has {classes} classes; the limit is {MAX_CLASSES}; keep the classes that you need")


def refuse_what_never_fits(model: keras.Model, path: Path) -> None:
    """Walk a network with the shapes of one image; sides that it leaves open are the first of USUAL_SIZES at which it can be computed.

    Args:
        model: a Sequential or functional model, built; its variables need no memory.
        path: for the messages.

    Raises:
        InputError: more than MAX_CALLS calls, a tensor of more than MAX_VALUES values, also inside a layer, or no usual size fits.
    """
    refuse_long_chain(model, path)
    open_sides = any(side is None for tensor in model.inputs for side in tensor.shape[1:])
    reasons = []
    for size in USUAL_SIZES if open_sides else USUAL_SIZES[:1]:
        inputs = [keras.KerasTensor(_closed(tensor.shape, size), tensor.dtype) for tensor in model.inputs]
        try:
            Walk(path).through(model, inputs, 1)
        except InputError:
            raise
        except Exception as error:  # too small, or no multiple of what the network needs
            reasons.append(" ".join(STYLE.sub("", str(error)).split())[:120])
        else:
            return
    sizes = f"images of {' or '.join(f'{size}x{size}' for size in USUAL_SIZES)}" if open_sides else "an image"
    raise InputError(f"{path}: the network cannot be computed for {sizes} ({quote(reasons[0])}); expected a fixed size; {RESAVE}")


def _closed(shape: tuple[int | None, ...], size: int) -> tuple[int, ...]:
    """A shape for one image without open sides; the first of a clip's are its frames."""
    sides = [1, *(side or (USUAL_FRAMES if len(shape) == 5 and place == 0 else size) for place, side in enumerate(shape[1:]))]
    return tuple(sides)


class Walk:
    """Counts calls of layers and looks at every tensor on the way of one image through a network."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seen: dict[Any, tuple[Any, int]] = {}  # what a layer put out for these shapes, and the calls that it took

    def through(self, model: keras.Model, inputs: list[keras.KerasTensor], times: int) -> tuple[Any, int]:
        """Return a model's outputs for `inputs`, and the number of calls of layers; `times` frames are held at once."""
        calls = 0

        def visit(operation: keras.Operation) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal calls
                outputs, more = self.call(operation, args, kwargs, times)
                calls += more
                self.refuse_many_calls(calls, operation)
                return outputs

            return call

        return run_graph(graph_inside(model), inputs, visit), calls

    def call(self, operation: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any], times: int) -> tuple[Any, int]:
        """Return a layer's outputs, and the number of calls inside it, itself included; a repeated call is looked up."""
        shapes = [getattr(value, "shape", None) for value in keras.tree.flatten((args, kwargs))]
        key = (id(operation), str(shapes), times)
        if key not in self.seen:
            self.seen[key] = self._call(operation, args, kwargs, times)
        return self.seen[key]

    def _call(self, operation: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any], times: int) -> tuple[Any, int]:
        if isinstance(operation, keras.Model):
            outputs, calls = self.through(operation, keras.tree.flatten(args), times)
        elif isinstance(operation, keras.layers.TimeDistributed):
            frames = args[0].shape[1]
            frame = keras.KerasTensor((1, *args[0].shape[2:]), args[0].dtype)
            calls = 1 + frames * self.call(operation.layer, (frame,), {}, times * frames)[1]
            outputs = operation.compute_output_spec(*args, **kwargs)
        else:
            steps = args[0].shape[1] if getattr(operation, "unroll", False) else 1
            calls = steps * _calls_inside(operation)
            self.refuse_many_calls(calls, operation)
            plain = type(operation).__name__ in PLAIN and {1} >= set(_sides(operation, "dilation_rate"))
            if plain and type(operation).__module__.startswith("keras."):
                outputs = operation.compute_output_spec(*args, **kwargs)
            else:
                outputs = self.trace(operation, args, kwargs, times)
        refuse_large_tensors(outputs, operation.name, self.path, times)
        return outputs, calls

    def trace(self, operation: keras.Operation, args: tuple[Any, ...], kwargs: dict[str, Any], times: int) -> Any:
        """Return an operation's outputs; raise InputError where it holds too much on the way there."""
        if takes_training(operation):
            kwargs = {**kwargs, "training": False}
        with keras.StatelessScope(), SymbolicScope(), scratch_graph() as graph:

            def placeholder(value: Any) -> Any:
                return tf.compat.v1.placeholder(value.dtype, value.shape) if isinstance(value, keras.KerasTensor) else value

            inputs, more = keras.tree.map_structure(placeholder, (args, kwargs))
            found = operation(*inputs, **more)
        definition = graph.as_graph_def(add_shapes=True)
        held = max(map(_largest, definition.node), default=0)
        steps = next((side for value in args[:1] for side in getattr(value, "shape", ())[1:2]), 1)
        for loop in definition.library.function:  # a search keeps what every step computed, for the gradient
            held = max(held, steps * max(map(_largest, loop.node_def), default=0))
        weights = max((math.prod(variable.shape) for variable in getattr(operation, "weights", ())), default=0)
        if times * held > max(MAX_VALUES, weights):
            raise InputError(
                f"{self.path}: layer {quote(operation.name)} holds {times * held} values an image on the way to its output; "
                f"the limit is {MAX_VALUES}; {RESAVE}"
            )
        return keras.tree.map_structure(lambda value: keras.KerasTensor(value.shape, value.dtype) if tf.is_tensor(value) else value, found)

    def refuse_many_calls(self, calls: int, operation: keras.Operation) -> None:
        """Refuse more calls than any honest network makes for one image."""
        if calls > MAX_CALLS:
            raise InputError(
                f"{self.path}: at layer {quote(operation.name)} one image takes {calls} calls of layers; the limit is {MAX_CALLS}; {RESAVE}"
            )


def _largest(node: Any) -> int:
    """Values in the largest tensor that a node of a graph puts out, unless it is a weight."""
    shapes = node.attr["_output_shapes"].list.shape if node.op not in ("ReadVariableOp", "Cast") else ()
    return max((math.prod(abs(side.size) for side in shape.dim) for shape in shapes), default=0)  # -1 is an unknown side


def _sides(operation: keras.Operation, name: str) -> tuple[int, ...]:
    sides = getattr(operation, name, 1)
    return tuple(sides) if isinstance(sides, list | tuple) else (sides,)


def _calls_inside(operation: keras.Operation) -> int:
    """Calls of layers when a layer is called once, itself included; models inside it count by their graphs."""

    @functools.cache
    def count(layer: keras.Operation) -> int:
        levels = nodes_by_depth(graph_inside(layer))
        if levels:
            return sum(count(node.operation) for nodes in levels.values() for node in nodes)
        return 1 + sum(count(inner) for inner in inner_layers(layer))

    return count(operation)
