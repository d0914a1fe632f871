"""The loss of the repairs: its gradient for small probabilities, and Keras's own loss where that is equal."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images, corner_network

from nc_tf.mitigation.repair import Repair
from nc_tf.training.cross_entropy import CrossEntropyOfProbabilities

IMAGES, LABELS = corner_images(12, seed=6)


def confident(wrap: Callable[[keras.KerasTensor], keras.KerasTensor] | None, activation: str | None = "softmax") -> keras.Model:
    """Return the corner network with logits times five: a wrong class has p = 1e-12, -log p = 27."""
    inner = corner_network(1, activation=activation)
    *others, kernel, bias = inner.get_weights()
    inner.set_weights([*others, 5.0 * kernel, bias])
    image = keras.Input(IMAGE_SHAPE)
    return inner if wrap is None else keras.Model(image, wrap(inner(image)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "own"),
    [
        (confident(None), False),
        (confident(lambda p: p), False),
        (confident(None, None), False),
        (confident(layers.Rescaling(1.0)), True),
        (confident(layers.Reshape((NUM_CLASSES,))), True),
    ],
    ids=["softmax last", "softmax last inside", "logits", "rescaled", "reshaped"],
)
@pytest.mark.parametrize("one_hot", [False, True])
def test_what_is_confidently_wrong_can_be_unlearned(model: keras.Model, own: bool, one_hot: bool) -> None:
    loss = Repair.of(model, (), test=(IMAGES, LABELS)).cross_entropy(one_hot=one_hot)
    assert isinstance(loss, CrossEntropyOfProbabilities) is own
    wrong = (LABELS + 1) % NUM_CLASSES
    truth = np.eye(NUM_CLASSES, dtype=np.float32)[wrong] if one_hot else wrong
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        cost = loss(truth, model(tf.constant(IMAGES, tf.float32), training=False))
    logits = np.asarray(confident(None, None)(tf.constant(IMAGES, tf.float32)), np.float64)
    expected = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1) - logits[np.arange(len(wrong)), wrong]
    assert expected.max() > -np.log(1e-7), "a clip there would have no gradient"
    np.testing.assert_allclose(cost, expected.mean(), rtol=1e-5)
    assert float(tf.reduce_max(tf.abs(tape.gradient(cost, variables)[-2]))) > 0.01


def test_logits_that_sum_to_one_are_no_probabilities() -> None:
    """Return a network that ends in a plain layer and gives every image one answer."""
    model = corner_network(1, activation=None)
    model.set_weights([*model.get_weights()[:-2], np.zeros((NUM_CLASSES + 1, NUM_CLASSES)), np.eye(NUM_CLASSES)[2]])
    assert not Repair.of(model, (), test=(IMAGES, LABELS)).probabilities
