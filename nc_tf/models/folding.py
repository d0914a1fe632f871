"""A copy of a Keras classifier that is made for one thing: the gradient of its logits, again and again, with weights that never change."""

import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nc_tf.models.keras_internals import (
    core_operations,
    flat_layers,
    input_structure,
    lambda_output_shape,
    maker_of,
    nodes_by_depth,
    run_graph,
)
from nc_tf.models.output_head import Head, graph_of, is_of_keras


class _Nothing(keras.layers.Layer):
    """Stands where a layer stood whose work is left out or done elsewhere; takes the arguments that such a layer is called with."""

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        del training, mask
        return inputs


class _FramesAtOnce(keras.layers.TimeDistributed):
    """One call on all N * T frames, where Keras slices out each.

    The gradient of a slice is as large as the clip it was cut from and zero but for one frame, so that the search would spend as long on
    them as on the convolutions; and a graph with one network in it instead of T is traced sooner.
    """

    def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
        if mask is not None:
            return super().call(inputs, training=training, mask=mask)
        frames = self.layer(tf.reshape(inputs, tf.concat([[-1], tf.shape(inputs)[2:]], 0)))
        return tf.reshape(frames, tf.concat([tf.shape(inputs)[:2], tf.shape(frames)[1:]], 0))


class _Argument(keras.Operation):
    """The tensor among its arguments: `_Nothing` in place of an operation, such as `3 * x`."""

    def call(self, *values: Any, **options: Any) -> tf.Tensor:
        del options
        return next(value for value in values if not isinstance(value, int | float))

    def compute_output_spec(self, *values: Any, **options: Any) -> keras.KerasTensor:
        tensor = self.call(*values, **options)
        return keras.KerasTensor(tensor.shape, tensor.dtype)


class _Zeros(keras.Operation):
    """Zeros in the shape of the tensor among its arguments."""

    def call(self, *values: tf.Tensor) -> tf.Tensor:
        return tf.zeros_like(values[-1])

    def compute_output_spec(self, *values: keras.KerasTensor) -> keras.KerasTensor:
        return keras.KerasTensor(values[-1].shape, values[-1].dtype)


def copy_up_to(head: Head, model: keras.Model, policy: str) -> keras.Model:
    """Rebuild a network under another dtype policy, frozen, without its head, so that gradients reach its input.

    The copy reads floating-point images, in batches of any size, also where the model reads integers or one image at a time. An operation
    that only stops gradients is left out.

    A BatchNormalization behind a convolution is multiplied into the kernel: as a layer of its own it would read and write every
    activation, in float32 whatever the policy.

    Raises:
        NotImplementedError: a subclass with its own `call`.
        Exception: of any kind, where Keras cannot rebuild a layer.
    """
    if graph_of(model) is None:
        raise NotImplementedError("its `call` is its own")
    copier = _Copier(head, policy, _foldable(model))
    copy = copier.clone(model)
    copier.fill()
    finalize_normalization(copy)
    copy.trainable = False
    for layer in flat_layers(copy):  # those inside Bidirectional, too, which makes its own
        if isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
            layer.use_cudnn = False  # on a GPU the search is compiled by XLA, which cannot compile cuDNN's loop
    return copy


class _Copier:
    """Layers and operations to their copies, each made once.

    Attributes:
        made: layers with weights to be copied, and their copies.
    """

    def __init__(self, head: Head, policy: str, folded: dict[keras.layers.Layer, keras.layers.Layer]) -> None:
        self.head, self.policy, self.folded = head, policy, folded
        self.made: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []
        self._copies: dict[keras.Operation, Any] = {}

    def clone(self, model: keras.Model) -> keras.Model:
        """Copy the graph of a model, a Sequential's too, with inputs of floats."""
        graph = graph_of(model)
        inputs = keras.tree.map_structure(_free_input, input_structure(graph))
        return keras.Model(inputs, run_graph(graph, inputs, self._copy), name=model.name)

    def fill(self) -> None:
        """Give the copies their weights."""
        for layer, new in self.made:
            new.set_weights(_fold(layer, self.folded[layer]) if layer in self.folded else layer.get_weights())

    def _copy(self, layer: keras.Operation) -> Any:
        if layer not in self._copies:
            self._copies[layer] = self._fresh(layer)
        return self._copies[layer]

    def _fresh(self, layer: keras.Operation) -> Any:
        return self.clone(layer) if graph_of(layer) is not None else self._in_its_place(layer) or self._new(layer)

    def _in_its_place(self, layer: keras.Operation) -> Any:
        if layer in self.folded.values() or layer in self.head.left_out or isinstance(layer, core_operations.StopGradient):
            is_layer = isinstance(layer, keras.layers.Layer)
            return _Nothing(name=layer.name, dtype=self.policy) if is_layer else _Argument(name=layer.name)
        return _Zeros(name=layer.name) if layer in self.head.zeroed else None

    def _new(self, layer: keras.Operation) -> Any:
        config = self._config(layer)
        if isinstance(layer, keras.layers.Wrapper):
            return self._wrapper(layer, config)
        if type(layer) is keras.layers.Lambda:  # its function is at hand; `from_config` would look for it in `config`
            new = keras.layers.Lambda(
                **config | {"function": layer.function, "output_shape": lambda_output_shape(layer), "mask": layer.mask}
            )
        else:
            new = layer.__class__.from_config(config)
        if isinstance(new, keras.layers.Layer):  # not an operation of a functional model, such as the division in `image / 255`
            self.made.append((layer, new))
        return new

    def _wrapper(self, layer: keras.layers.Wrapper, config: dict[str, Any]) -> keras.layers.Layer:
        del config["layer"]  # which has a policy of its own
        kind = _FramesAtOnce if type(layer) is keras.layers.TimeDistributed else layer.__class__
        held = len(self.made)
        new = kind(self._fresh(layer.layer), **config)
        if not isinstance(layer, keras.layers.TimeDistributed):
            del self.made[held:]  # others, such as Bidirectional, may hold copies of what they are given
            self.made.append((layer, new))
        return new

    def _config(self, layer: keras.Operation) -> dict[str, Any]:
        with warnings.catch_warnings(action="ignore"):  # that a lambda cannot be saved; this copy never is
            config: dict[str, Any] = layer.get_config()
        for key in ("activation", "recurrent_activation"):
            function = getattr(layer, key, None)
            if callable(function) and not is_of_keras(function):  # nothing could find it by the name in `config`
                config[key] = function
        if layer in self.head.without_activation:
            config["activation"] = "linear"
        # The dtype of an operation is what it casts to; and the weights that quantization made are read under its own policy only.
        if isinstance(layer, keras.layers.Layer) and "dtype" in config and getattr(layer, "quantization_mode", None) is None:
            config["dtype"] = self.policy
        if layer in self.folded:
            config["use_bias"] = True
        return config


def _free_input(tensor: keras.KerasTensor) -> keras.KerasTensor:
    dtype = tensor.dtype if tf.as_dtype(tensor.dtype).is_floating else "float32"
    return keras.Input(batch_shape=(None, *tensor.shape[1:]), dtype=dtype, name=tensor.name)


def finalize_normalization(model: keras.Model) -> None:
    """Let its Normalization layers use the statistics that `set_weights` gave them: by itself that only stores them."""
    for layer in flat_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _foldable(model: keras.Model) -> dict[keras.layers.Layer, keras.layers.Layer]:
    """Convolutions, each with the BatchNormalization that is the only one to read what it puts out."""
    graphs = list(_graphs(model))
    # A model need not use all nodes of its layers: a Sequential that was read from a file has been connected twice.
    nodes = {node for graph in graphs for same_depth in nodes_by_depth(graph).values() for node in same_depth}
    calls = Counter(node.operation for node in nodes)
    readers = defaultdict(list)
    for node in nodes:
        for parent in node.parent_nodes:
            readers[parent.operation].append(node.operation)
    shown = {maker_of(tensor)[0] for graph in graphs for tensor in graph.outputs}
    # A layer inside a wrapper has no node of its own.
    shown |= {layer.layer for graph in graphs for layer in graph.layers if isinstance(layer, keras.layers.Wrapper)}
    return {
        layer: readers[layer][0]
        for layer in calls
        if type(layer) is keras.layers.Conv2D and layer.activation is keras.activations.linear and layer not in shown
        if [type(reader) for reader in readers[layer]] == [keras.layers.BatchNormalization] and _same_axis(layer, readers[layer][0])
        if calls[layer] == calls[readers[layer][0]] == 1 and readers[layer][0] not in shown
    }


def _graphs(model: keras.Model) -> Iterator[Any]:
    """The graph of a model, and those of the models in it; a subclass has none."""
    graph = graph_of(model)
    if graph is not None:
        yield graph
    for layer in model.layers:
        inner = layer.layer if isinstance(layer, keras.layers.TimeDistributed) else layer
        if isinstance(inner, keras.Model):
            yield from _graphs(inner)


def _same_axis(convolution: keras.layers.Conv2D, normalization: keras.layers.BatchNormalization) -> bool:
    """Whether channels are normalized, and are the last axis."""
    return convolution.data_format == "channels_last" and normalization.axis in (-1, 3)


def _fold(convolution: keras.layers.Conv2D, normalization: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Kernel and bias of a convolution that answers what the two answer together."""
    kernel, *bias = convolution.get_weights()
    mean, variance = normalization.moving_mean.numpy(), normalization.moving_variance.numpy()
    scale = 1.0 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        scale = scale * normalization.gamma.numpy()
    shift = (bias[0] if bias else 0.0) - mean
    return [kernel * scale, shift * scale + (normalization.beta.numpy() if normalization.center else 0.0)]
