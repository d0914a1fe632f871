"""A copy of a Keras classifier that is made for one thing: the gradient of its logits, again and again, with weights that never change."""

from collections import Counter, defaultdict
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf


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


def copy_up_to_logits(model: keras.Model, policy: str) -> tuple[keras.Model, str]:
    """The same network under another dtype policy and without its closing softmax or sigmoid; and the name of what was cut.

    A BatchNormalization behind a convolution is multiplied into the kernel: as a layer of its own it would read and write every
    activation, in float32 whatever the policy.

    Returns:
        The copy, frozen, and "softmax", "sigmoid" or "logits": the last where nothing was cut.

    Raises:
        NotImplementedError, TypeError, ValueError: it cannot be copied, such as a subclass with its own `call`.
    """
    # A subclass has no `outputs`, and `clone_model` refuses it below.
    last = model.layers[-1] if isinstance(model, keras.Sequential) else getattr(getattr(model, "output", None), "_keras_history", None)
    last = getattr(last, "operation", last)
    cut = "logits"
    if isinstance(last, keras.layers.Softmax):
        cut = "softmax"
    else:
        for name in ("softmax", "sigmoid"):
            if getattr(last, "activation", None) is keras.activations.get(name):
                cut = name
    folded = _foldable(model)
    made: list[tuple[keras.layers.Layer, keras.layers.Layer]] = []

    def rebuild(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer in folded.values() or (layer is last and isinstance(layer, keras.layers.Softmax)):
            return _Nothing(name=layer.name, dtype=policy)
        config = layer.get_config()
        if layer is last and cut != "logits":
            config["activation"] = "linear"
        if "dtype" in config:
            config["dtype"] = policy
        if layer in folded:
            config["use_bias"] = True
        if not isinstance(layer, keras.layers.Wrapper):
            new = layer.__class__.from_config(config)
        else:  # what it holds has a policy of its own
            del config["layer"]
            kind = _FramesAtOnce if type(layer) is keras.layers.TimeDistributed else layer.__class__
            held = len(made)
            new = kind(clone(layer.layer), **config)
            if isinstance(layer, keras.layers.TimeDistributed):
                return new
            del made[held:]  # others, such as Bidirectional, may hold copies of what they are given
        if isinstance(new, keras.layers.Layer):  # not an operation of a functional model, such as the division in `image / 255`
            made.append((layer, new))
        return new

    def clone(layer: keras.layers.Layer) -> keras.layers.Layer:
        return keras.models.clone_model(layer, clone_function=rebuild, recursive=True) if isinstance(layer, keras.Model) else rebuild(layer)

    copy = clone(model)
    for layer, new in made:
        new.set_weights(_fold(layer, folded[layer]) if layer in folded else layer.get_weights())
    finalize_normalization(copy)
    copy.trainable = False
    for layer in copy._flatten_layers():  # those inside Bidirectional, too, which makes its own
        if isinstance(layer, keras.layers.LSTM | keras.layers.GRU):
            layer.use_cudnn = False  # on a GPU the search is compiled by XLA, which cannot compile cuDNN's loop
    return copy, cut


def finalize_normalization(model: keras.Model) -> None:
    """Let its Normalization layers use the statistics that `set_weights` gave them: by itself that only stores them."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()


def _foldable(model: keras.Model) -> dict[keras.layers.Layer, keras.layers.Layer]:
    """Convolutions, each with the BatchNormalization that is the only one to read what it puts out."""
    graphs = list(_graphs(model))
    # Of its layers' own lists of nodes a model need not use all: a Sequential that was read from a file has been connected twice.
    nodes = {node for graph in graphs for same_depth in graph._nodes_by_depth.values() for node in same_depth}
    calls = Counter(node.operation for node in nodes)
    readers = defaultdict(list)
    for node in nodes:
        for parent in node.parent_nodes:
            readers[parent.operation].append(node.operation)
    shown = {tensor._keras_history.operation for graph in graphs for tensor in graph.outputs}
    # What a wrapper calls has no node of its own.
    shown |= {layer.layer for graph in graphs for layer in graph.layers if isinstance(layer, keras.layers.Wrapper)}
    return {
        layer: readers[layer][0]
        for layer in calls
        if type(layer) is keras.layers.Conv2D and layer.activation is keras.activations.linear and layer not in shown
        if [type(reader) for reader in readers[layer]] == [keras.layers.BatchNormalization] and _same_axis(layer, readers[layer][0])
        if calls[layer] == calls[readers[layer][0]] == 1 and readers[layer][0] not in shown
    }


def _graphs(model: keras.Model) -> Iterator[keras.Model]:
    """The graph of a model, and those of the models in it; a subclass has none."""
    graph = getattr(model, "_functional", model)  # a Sequential has one inside
    if hasattr(graph, "_nodes_by_depth"):
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
