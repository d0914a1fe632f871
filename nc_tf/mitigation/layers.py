"""The activations of one layer, and networks with units of it switched off."""

from collections.abc import Callable, Sequence

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from nc_tf.errors import InputError
from nc_tf.evaluation import batches
from nc_tf.models.keras_internals import flat_layers
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor


def find_layer(model: keras.Model, name: str | None) -> keras.layers.Layer:
    """Return a hidden layer by its name.

    None is the paper's second to last layer: the one that feeds the output layer, apart from Dropout and Flatten.

    Raises:
        InputError: no such layer, or one whose output is neither (N, units) nor (N, h, w, units).
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
    """Return whether the output is (N, units) or (N, h, w, units)."""
    if isinstance(layer, layers.InputLayer | keras.Model):  # the output of a nested model is not in the outer graph
        return False
    try:
        shape: tuple[int | None, ...] = layer.output.shape
    except (AttributeError, ValueError):  # several outputs, or used in several places
        return False
    return len(shape) in (2, 4) and shape[-1] is not None


def all_layers(network: keras.Model) -> list[keras.layers.Layer]:
    """Return all layers in order, also inside nested models and `TimeDistributed`."""
    found: list[keras.layers.Layer] = []
    for layer in network.layers:
        inner = layer.layer if isinstance(layer, layers.TimeDistributed) else layer
        found += all_layers(inner) if isinstance(inner, keras.Model) else [inner]
    return found


def trainable_flags(network: keras.Model) -> list[tuple[keras.layers.Layer, bool]]:
    """Return network and layers with their `trainable`, outer ones first."""
    return [(layer, layer.trainable) for layer in flat_layers(network)]


def set_back(flags: Sequence[tuple[keras.layers.Layer, bool]]) -> None:
    """Restore every layer's `trainable`.

    Inner layers come last, because outer ones pass theirs on.
    """
    for layer, trainable in flags:
        layer.trainable = trainable


def mean_activations(
    model: keras.Model, layer: keras.layers.Layer, images: np.ndarray, preprocess: Preprocessing, backdoor: Backdoor | None = None
) -> np.ndarray:
    """Return the activation of each unit.

    Args:
        model: the model that the layer belongs to.
        layer: from `find_layer`.
        images: (N, H, W, C) raw.
        preprocess: from raw pixels to the model's input.
        backdoor: stamped on the images first.

    Returns:
        (N, units) float32, for a convolution the mean over its places.
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
    """Return the units of a layer, largest excess activation first.

    The excess is the mean activation of triggered images above that of clean ones (paper section VI-B), for several triggers the largest.

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
    """Multiplication of units by 0 or 1.

    Attributes:
        on: (units,) float32, may change from call to call.
    """

    def __init__(self, units: int) -> None:
        """Switch all units on."""
        super().__init__(trainable=False)
        self.on = self.add_weight(shape=(units,), initializer="ones", trainable=False, name="on")

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Return (..., units) of the same shape."""
        return inputs * tf.cast(self.on, inputs.dtype)


def switched_off(model: keras.Model, name: str, units: np.ndarray) -> keras.Model:
    """Return a copy in which units stay zero, also in later training.

    A Rescaling layer behind it multiplies by 0 or 1.

    Args:
        model: from `Repair.copy`, so that it can be copied.
        name: of the layer.
        units: to switch off, integers.
    """
    scale = np.ones(model.get_layer(name).output.shape[-1])
    scale[units] = 0.0
    return with_behind(model, name, lambda: layers.Rescaling(scale.tolist(), name=f"{name}_pruned"))


def with_behind(model: keras.Model, name: str, behind: Callable[[], keras.layers.Layer]) -> keras.Model:
    """Return a copy with one more layer behind the named one.

    Args:
        model: from `Repair.copy`, so that it can be copied.
        name: of the layer.
        behind: makes the new layer.
    """

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
    # By name: one more layer may change the order of parallel branches.
    for layer in model.layers:
        if layer.weights:
            copied.get_layer(layer.name).set_weights(layer.get_weights())
    return copied
