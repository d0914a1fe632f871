"""GoodNet: N classes and one for poisoned images, from a network and clean images alone."""

from pathlib import Path

import keras
import numpy as np
import pytest
from networks import corner_images, corner_trigger
from quick import eight_classes

from nc_tf.mitigation import goodnet as goodnet_module
from nc_tf.mitigation.goodnet import GoodNet
from nc_tf.models.loading.load import load_model

IMAGES, LABELS = corner_images(640, seed=1, num_classes=8)


@pytest.fixture(scope="module", params=[pytest.param("softmax", marks=pytest.mark.slow), None])
def goodnet(request: pytest.FixtureRequest) -> GoodNet:
    return GoodNet.from_badnet(_network(5, request.param), (IMAGES, LABELS))


def _network(label: int | None, activation: str | None) -> keras.Model:
    model = eight_classes(label)
    if activation is None:
        model.layers[-1].activation = keras.activations.linear
        model = keras.Sequential.from_config(model.get_config())
        model.set_weights(eight_classes(label).get_weights())
    return model


@pytest.mark.slow
def test_clean_images_get_their_class_and_triggered_ones_the_last(goodnet: GoodNet) -> None:
    assert goodnet.scan.flagged == (5,)
    assert goodnet.num_classes == 8
    images, labels = corner_images(400, seed=2, num_classes=8)
    clean, triggered = goodnet.predict(images), goodnet.predict(corner_trigger(5)(images[labels != 5].astype(np.float32)))
    assert np.mean(clean == labels) > 0.9
    assert np.mean(triggered == 8) > 0.95
    assert set(triggered) <= set(range(9)) - {5}


def test_the_model_is_one_keras_file(goodnet: GoodNet, tmp_path: Path) -> None:
    goodnet.model.save(tmp_path / "goodnet.keras")
    again = load_model(tmp_path / "goodnet.keras")
    assert again.output_shape == (None, 9)
    images = corner_trigger(5)(IMAGES[:50].astype(np.float32))
    np.testing.assert_allclose(again(images), goodnet.model(images), atol=1e-6)
    np.testing.assert_allclose(np.sum(again(images), axis=-1), 1.0, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("activation", ["softmax", None])
def test_a_clean_network_keeps_its_answers(activation: str | None) -> None:
    network = _network(None, activation)
    goodnet = GoodNet.from_badnet(network, (IMAGES, LABELS))
    assert goodnet.scan.flagged == ()
    assert (goodnet.predict(IMAGES) == np.argmax(network.predict(IMAGES, verbose=0), axis=-1)).all()
    assert goodnet.predict(IMAGES).max() < 8


@pytest.mark.parametrize(
    ("bad", "repaired", "rejected", "expected"),
    [
        (3, 3, 0, 3),  # both agree: a flagged label has images of its own
        (3, 0, 0, 6),
        (3, 5, 0, 6),  # another flagged label is no agreement
        (0, 3, 0, 3),  # the bad network does not obey the trigger
        (0, 1, 0, 1),
        (0, 0, 1, 6),
    ],
)
def test_what_becomes_of_an_image_on_which_the_networks_differ(bad: int, repaired: int, rejected: int, expected: int) -> None:
    def says(label: int, num_classes: int, last: int = 0) -> keras.Model:
        """Return a network that gives every image one label."""
        inputs = keras.Input((2, 2, 1))
        answers = np.append(np.eye(6)[label] * (1 - last), [last])[:num_classes]
        constant = keras.layers.Dense(num_classes, kernel_initializer="zeros")
        outputs = constant(keras.layers.Flatten()(inputs))
        constant.set_weights([np.zeros((4, num_classes)), answers])
        return keras.Model(inputs, outputs)

    combined = goodnet_module._combined(says(bad, 7, rejected), says(repaired, 6), (3, 5), True)
    assert np.argmax(combined(np.zeros((1, 2, 2, 1), np.float32)), axis=-1) == [expected]


@pytest.mark.slow
def test_a_clean_networks_layers_are_not_shared() -> None:
    network = _network(None, "softmax")
    goodnet = GoodNet.from_badnet(network, (IMAGES, LABELS))
    assert not {id(weight) for weight in network.weights} & {id(weight) for weight in goodnet.model.weights}
