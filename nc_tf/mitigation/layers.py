"""Looking into a network at one layer, and switching units of it off for good."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from nc_tf.errors import InputError
from nc_tf.evaluation import batches
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor


def find_layer(model: keras.Model, name: str | None) -> keras.layers.Layer:
    """A hidden layer by its name; None is the paper's second to last one: what the output layer is fed with, Dropout and Flatten aside.

    Raises:
        InputError: no such layer, or one whose answers are not (N, units) or (N, h, w, units).
    """
    weighted = [layer for layer in model.layers if isinstance(layer, layers.Dense | layers.Conv2D)]
    hidden = [layer for layer in model.layers[: model.layers.index(weighted[-1])] if _has_units(layer)] if weighted else []
    if not hidden:
        raise InputError("the model has no hidden layer of its own: expected one before its last Dense layer; unpack a nested model first")
    if name is None:
        return next((layer for layer in reversed(hidden) if not isinstance(layer, layers.Dropout | layers.Flatten)), hidden[-1])
    for layer in hidden:
        if layer.name == name:
            return layer
    raise InputError(f"layer {name!r}: expected a hidden layer of the model, one of {', '.join(layer.name for layer in hidden)}")


def _has_units(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, layers.InputLayer | keras.Model):  # what a nested model puts out is not in the graph of the whole
        return False
    try:
        shape: tuple[int | None, ...] = layer.output.shape
    except (AttributeError, ValueError):  # several outputs, or used in several places
        return False
    return len(shape) in (2, 4) and shape[-1] is not None


def all_layers(network: keras.Model) -> list[keras.layers.Layer]:
    """Layers in the network's order, those of nested models, and of what looks at every frame of a clip, in the place of the whole."""
    found: list[keras.layers.Layer] = []
    for layer in network.layers:
        inner = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
        found += all_layers(inner) if isinstance(inner, keras.Model) else [inner]
    return found


def trainable_flags(network: keras.Model) -> list[tuple[keras.layers.Layer, bool]]:
    """The network and all that is in it, from the outside in, each with its `trainable`."""
    return [(layer, layer.trainable) for layer in network._flatten_layers()]


def set_back(flags: Sequence[tuple[keras.layers.Layer, bool]]) -> None:
    """Make every layer as trainable as it was; where a flag is handed on, the inner layer's own comes after it."""
    for layer, trainable in flags:
        layer.trainable = trainable


def mean_activations(
    model: keras.Model, layer: keras.layers.Layer, images: np.ndarray, preprocess: Preprocessing, backdoor: Backdoor | None = None
) -> np.ndarray:
    """What each unit answers, (N, units) float32; of a convolution the mean over its places.

    Args:
        model: that the layer is of.
        layer: from `find_layer`.
        images: (N, H, W, C) raw.
        preprocess: what the model wants of raw pixels.
        backdoor: laid on the images first.
    """
    part = keras.Model(model.inputs[0], layer.output)
    rows = []
    for batch in batches(model, images, backdoor):
        answers = np.asarray(part.predict_on_batch(preprocess(batch)), np.float32)
        rows.append(answers.reshape(len(answers), -1, answers.shape[-1]).mean(axis=1))
    return np.concatenate(rows) if rows else np.zeros((0, layer.output.shape[-1]), np.float32)


def suspicious_units(
    model: keras.Model,
    layer: keras.layers.Layer,
    images: np.ndarray,
    labels: np.ndarray,
    backdoors: Sequence[Backdoor],
    preprocess: Preprocessing,
) -> np.ndarray:
    """Units of a layer, those first that a trigger excites most beyond what clean images do (paper section VI-B).

    Of several triggers the one counts that excites a unit most.

    Returns:
        (units,) integers, every unit once.

    Raises:
        InputError: a trigger has no image to send elsewhere.
    """
    clean = mean_activations(model, layer, images, preprocess).mean(axis=0)
    excess = []
    for backdoor in backdoors:
        victims = images[backdoor.wanted(labels) != labels]
        if not len(victims):
            raise InputError(f"{len(images)} images, all of the target class: expected images of other classes; use a larger fraction")
        excess.append(mean_activations(model, layer, victims, preprocess, backdoor).mean(axis=0) - clean)
    return np.argsort(-np.max(excess, axis=0), kind="stable")


class Switches(layers.Layer):
    """Multiplies units by 0 or 1, which may change from call to call: `on` (units,) float32."""

    def __init__(self, units: int) -> None:
        super().__init__(trainable=False)
        self.on = self.add_weight(shape=(units,), initializer="ones", trainable=False, name="on")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """(..., units) -> the same shape."""
        return inputs * tf.cast(self.on, inputs.dtype)


def switched_off(model: keras.Model, name: str, units: np.ndarray) -> keras.Model:
    """A copy in which these units of a layer answer zero, whatever is trained later: a Rescaling layer behind it multiplies by 0 or 1.

    Args:
        model: one that `Repair.copy` made, so that it is known that it can be copied.
        name: of the layer.
        units: to switch off, integers.
    """
    scale = np.ones(model.get_layer(name).output.shape[-1])
    scale[units] = 0.0
    return with_behind(model, name, lambda: layers.Rescaling(scale.tolist(), name=f"{name}_pruned"))


def with_behind(model: keras.Model, name: str, behind: Callable[[], keras.layers.Layer]) -> keras.Model:
    """A copy with one layer more behind that of a name; `model` is one that `Repair.copy` made, so that it can be copied."""

    def call(layer: keras.layers.Layer, *inputs: keras.KerasTensor, **options: object) -> keras.KerasTensor:
        answers = layer(*inputs, **options)
        return behind()(answers) if layer.name == name else answers

    if isinstance(model, keras.Sequential):
        copies = [keras.Input(batch_shape=model.input_shape, dtype=model.inputs[0].dtype)]
        for layer in model.layers:
            copy = layer.__class__.from_config(layer.get_config())
            copies += [copy, behind()] if layer.name == name else [copy]
        copied = keras.Sequential(copies, name=model.name)
    else:
        copied = keras.models.clone_model(model, call_function=call)
    # By name: one layer more may put those of parallel branches in another order.
    for layer in model.layers:
        if layer.weights:
            copied.get_layer(layer.name).set_weights(layer.get_weights())
    return copied
