"""The networks by their names: parameters as published, and shapes."""

import keras
import numpy as np
import pytest

from nc_tf.models.networks.architectures import NETWORKS
from nc_tf.models.networks.deepid import deepid_network
from nc_tf.models.networks.residual import preact_resnet18, resnet18_features, small_resnet


def test_deepid_has_the_parameters_of_the_published_weights() -> None:
    model = deepid_network()
    assert model.count_params() == 601_643
    assert model.output_shape == (None, 1283)
    assert model.get_layer("pool_3").output.shape == (None, 5, 4, 60)
    assert model.get_layer("flatten_1").output.shape == (None, 1200)
    assert model.get_layer("flatten_2").output.shape == (None, 960)


def test_preact_resnet18_is_the_fields() -> None:
    """11.17 million parameters with the usual ten classes; moving averages are not counted."""
    model = preact_resnet18()
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert 11_100_000 < trainable < 11_200_000
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalisations) == 17
    assert [layer for layer in model.layers if isinstance(layer, keras.layers.Add)][-1].output.shape == (None, 4, 4, 512)


@pytest.mark.slow
def test_resnet18_is_torchvisions() -> None:
    """11,689,512 parameters with a classifier of 1,000 classes; moving averages are not counted."""
    model = resnet18_features()
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == 11_689_512 - 1000 * (512 + 1) + 512 * (512 + 1)
    assert [layer for layer in model.layers if isinstance(layer, keras.layers.Add)][-1].output.shape == (None, 7, 7, 512)
    assert model.layers[3].output.shape == (None, 112, 112, 64)
    assert model.get_layer(index=6).output.shape == (None, 56, 56, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_answers_probabilities(name: str) -> None:
    shape = {"deepid": (55, 47, 3), "cnn_lstm": (3, 32, 32, 3)}.get(name, (32, 32, 3))
    model = NETWORKS[name](7, shape)
    answers = np.asarray(model(np.random.default_rng(0).uniform(0, 1, (2, *shape)).astype(np.float32)))
    assert answers.shape == (2, 7)
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-5)


def test_the_small_network_is_small() -> None:
    assert small_resnet().count_params() < 100_000
