"""Memory that a network takes while it works, read off the graph that TensorFlow makes of it.

The graph of one image is walked in its order: an operation's outputs are held from the operation to their last reader. Tensors that
depend on the image count for every image, the rest once. All parts of layers are seen, such as the scores inside of attention and the
tensors that a gradient keeps. Iterations of a loop and called functions are not seen; `Footprint.hidden` says so.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heappush
from typing import Any
from weakref import WeakKeyDictionary

import keras
import tensorflow as tf

from nc_tf.runtime.memory import Footprint

# Operations whose outputs are the memory of their inputs, the first that of the first.
SHARE = {
    *("EnsureShape", "ExpandDims", "Identity", "IdentityN", "PreventGradient"),
    *("ReadVariableOp", "Reshape", "Snapshot", "Squeeze", "StopGradient"),
}
HIDE = {"If", "PartitionedCall", "StatefulPartitionedCall", "StatelessIf", "StatelessWhile", "While"}
# Copies of a batch on its way into the network, in float32: cast, stamped, preprocessed, handed over.
COPIES = 6
# Memory of an update beyond its tensors, as measured (docs/results/memory.md): bytes once, numbers a weight, and a share an image.
UPDATE, UPDATE_SLOTS, UPDATE_SHARE = 256 * 2**20, 2, 1.15


def weight_bytes(model: keras.Model) -> int:
    """Bytes of all weights of a model."""
    return sum(variable.value.shape.num_elements() * tf.as_dtype(variable.dtype).size for variable in model.variables)


def footprint_of(function: Callable[..., Any], *specs: Any, once: Callable[[Any], Sequence[Any]] = lambda outputs: ()) -> Footprint:
    """Trace a function of one image and add up what is alive at once.

    Args:
        function: of tensors; what it depends on besides is captured.
        specs: a `tf.TensorSpec` for each of its arguments, or a structure of them, for one image.
        once: of its outputs, those whose size has nothing to do with the number of images, such as gradients of weights.
    """
    traced = tf.function(function, autograph=False).get_concrete_function(*specs)
    outputs = [tensor for tensor in tf.nest.flatten(traced.structured_outputs) if tensor is not None]
    counted_once = {id(tensor) for tensor in tf.nest.flatten(once(traced.structured_outputs)) if tensor is not None}
    operations = _needed(outputs)
    depends: set[int] = set()
    owner: dict[int, tf.Tensor] = {}
    last: dict[int, int] = {}
    for place, operation in enumerate(operations):
        given = operation.type == "Placeholder" and operation.outputs[0].dtype != tf.resource
        if given or any(id(tensor.op) in depends for tensor in operation.inputs):
            depends.add(id(operation))
        for tensor in operation.inputs:
            last[id(owner[id(tensor)])] = place
        for number, tensor in enumerate(operation.outputs):
            shared = operation.type in SHARE and number < len(operation.inputs)
            owner[id(tensor)] = owner[id(operation.inputs[number])] if shared else tensor
    for tensor in outputs:
        last[id(owner[id(tensor)])] = len(operations)
    counted_once = {id(owner[tensor]) for tensor in counted_once}
    alive, most = [0, 0], [0, 0]
    dying: dict[int, list[tuple[bool, int]]] = defaultdict(list)
    for place, operation in enumerate(operations):
        for tensor in operation.outputs:
            if owner[id(tensor)] is tensor and operation.type != "Const":
                each = id(operation) in depends and id(tensor) not in counted_once
                alive[each] += _bytes(tensor)
                dying[last.get(id(tensor), place)].append((each, _bytes(tensor)))
        most = [max(before, now) for before, now in zip(most, alive, strict=True)]
        for each, size in dying.pop(place, ()):
            alive[each] -= size
    return Footprint(most[0], most[1], any(operation.type in HIDE for operation in operations))


def _needed(outputs: Sequence[tf.Tensor]) -> list[tf.Operation]:
    """The operations that the outputs come from, each after those that it needs, otherwise in the order in which they were made.

    TensorFlow runs no others. The gradient of a loop gives the loop inputs that were made after it.
    """
    made = {operation: number for number, operation in enumerate(outputs[0].graph.get_operations())}
    needs: dict[tf.Operation, set[tf.Operation]] = {}
    readers: dict[tf.Operation, list[tf.Operation]] = defaultdict(list)
    waiting = [tensor.op for tensor in outputs]
    while waiting:
        operation = waiting.pop()
        if operation not in needs:
            needs[operation] = {*(tensor.op for tensor in operation.inputs), *operation.control_inputs}
            waiting += needs[operation]
            for needed in needs[operation]:
                readers[needed].append(operation)
    ready = [(made[operation], operation.name) for operation, needed in needs.items() if not needed]
    heapify(ready)
    graph, order = outputs[0].graph, []
    while ready:
        order.append(graph.get_operation_by_name(heappop(ready)[1]))
        for reader in readers[order[-1]]:
            needs[reader].discard(order[-1])
            if not needs[reader]:
                heappush(ready, (made[reader], reader.name))
    return order


def _bytes(tensor: tf.Tensor) -> int:
    """Return the bytes of a tensor for one image; a handle, such as that of a variable, has none."""
    if tensor.dtype in (tf.resource, tf.variant, tf.string) or tensor.shape.rank is None:
        return 0
    size = tensor.dtype.size
    for side in tensor.shape:
        size *= side or 1  # one image
    return size


_forward: WeakKeyDictionary[keras.Model, dict[tuple[int, ...], Footprint]] = WeakKeyDictionary()


def forward_footprint(model: keras.Model, image_shape: Sequence[int]) -> Footprint:
    """Return the footprint of answers alone, with the copies of a batch on its way; computed once a model and shape."""
    known, shape = _forward.setdefault(model, {}), tuple(image_shape)
    if shape not in known:
        found = footprint_of(lambda images: model(images, training=False), tf.TensorSpec([1, *shape], tf.float32))
        known[shape] = Footprint(found.fixed, found.per_image + COPIES * 4 * tf.TensorShape(shape).num_elements(), found.hidden)
    return known[shape]


def training_footprint(model: keras.Model, image_shape: Sequence[int], slots: int) -> Footprint:
    """Return the footprint of an update of the trainable weights, by an optimiser with `slots` values a weight."""

    def gradients(images: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True)) + sum(model.losses, tf.constant(0.0))
        return tape.gradient(loss, [variable.value for variable in model.trainable_variables])

    shape = tuple(image_shape)
    found = footprint_of(gradients, tf.TensorSpec([1, *shape], tf.float32), once=lambda outputs: outputs)
    trained = sum(4 * variable.value.shape.num_elements() for variable in model.trainable_variables)
    each = round(UPDATE_SHARE * found.per_image) + COPIES * 4 * tf.TensorShape(shape).num_elements()
    return Footprint(found.fixed + (slots + UPDATE_SLOTS) * trained + UPDATE, each, found.hidden)
