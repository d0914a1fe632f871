"""The networks by their names: parameters as published, shapes, and weights that were published without an architecture."""

from pathlib import Path

import keras
import numpy as np
import pytest
from quick import published

from nc_tf.errors import InputError
from nc_tf.models.architectures import NETWORKS
from nc_tf.models.deepid import deepid_network, load_published
from nc_tf.models.residual import preact_resnet18, resnet18_features, small_resnet


def test_deepid_has_the_parameters_of_the_published_weights() -> None:
    model = deepid_network()
    assert model.count_params() == 601_643
    assert model.output_shape == (None, 1283)
    assert model.get_layer("pool_3").output.shape == (None, 5, 4, 60)
    assert model.get_layer("flatten_1").output.shape == (None, 1200)
    assert model.get_layer("flatten_2").output.shape == (None, 960)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_published_weights_are_loaded_by_name(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = deepid_network(10)
    loaded = load_published(published(tmp_path / "sunglasses_bd_weights.h5", model), 10)
    images = np.random.default_rng(0).random((4, 55, 47, 3)).astype(np.float32)
    np.testing.assert_array_equal(loaded(images), model(images))
    model.save(tmp_path / "net.h5")
    np.testing.assert_array_equal(load_published(tmp_path / "net.h5", 10)(images), model(images))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = deepid_network(10)
    with pytest.raises(InputError, match=r"no weights for layer 'conv_4': expected the layers of 'deepid', found 'conv_1', "):
        load_published(published(tmp_path / "w.h5", model, "conv_4"), 10)
    with pytest.raises(InputError, match=r"layer 'output' needs kernel of shape \(160, 1283\), the file stores \(160, 10\)"):
        load_published(published(tmp_path / "w.h5", model))
    with pytest.raises(InputError, match=r"none\.h5 does not exist: expected the published weights"):
        load_published(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("weights, honestly")
    with pytest.raises(InputError, match=r"text\.h5"):
        load_published(tmp_path / "text.h5")


def test_preact_resnet18_is_the_fields() -> None:
    """11.17 million parameters with the usual ten classes; moving averages are not counted."""
    model = preact_resnet18()
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert 11_100_000 < trainable < 11_200_000
    normalisations = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(normalisations) == 17
    assert [layer for layer in model.layers if isinstance(layer, keras.layers.Add)][-1].output.shape == (None, 4, 4, 512)


def test_resnet18_is_torchvisions() -> None:
    """11,689,512 parameters with a classifier of 1,000 classes; moving averages are not counted."""
    model = resnet18_features()
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert trainable == 11_689_512 - 1000 * (512 + 1) + 512 * (512 + 1)
    assert [layer for layer in model.layers if isinstance(layer, keras.layers.Add)][-1].output.shape == (None, 7, 7, 512)
    assert model.layers[3].output.shape == (None, 112, 112, 64)
    assert model.get_layer(index=6).output.shape == (None, 56, 56, 64)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_answers_probabilities(name: str) -> None:
    shape = {"deepid": (55, 47, 3), "cnn_lstm": (3, 32, 32, 3)}.get(name, (32, 32, 3))
    model = NETWORKS[name](7, shape)
    answers = np.asarray(model(np.random.default_rng(0).uniform(0, 1, (2, *shape)).astype(np.float32)))
    assert answers.shape == (2, 7)
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, atol=1e-5)


def test_the_small_network_is_small() -> None:
    assert small_resnet().count_params() < 100_000
