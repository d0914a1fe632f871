"""Files that hold weights alone, as Keras 2 and 3 and CSAW-HackML wrote them."""

from pathlib import Path

import h5py
import keras
import numpy as np
import pytest
from quick import published

from nc_tf.errors import InputError
from nc_tf.models.loading.load import load_model
from nc_tf.models.networks.architectures import signs_network
from nc_tf.models.networks.cnn_lstm import cnn_lstm
from nc_tf.models.networks.deepid import deepid_network
from nc_tf.models.networks.residual import small_resnet
from nc_tf.models.networks.weights_alone import load_weights

IMAGES = np.random.default_rng(0).uniform(0, 255, (3, 32, 32, 3)).astype(np.float32)


def same(first: keras.Model, then: keras.Model, images: np.ndarray = IMAGES) -> None:
    np.testing.assert_array_equal(first(images, training=False), then(images, training=False))


@pytest.mark.parametrize(("name", "model"), [("signs", signs_network(5)), ("small_resnet", small_resnet(7))])
def test_what_keras_3_saves(name: str, model: keras.Model, tmp_path: Path) -> None:
    """The number of classes is found in the file."""
    model.save_weights(tmp_path / "a.weights.h5")
    loaded = load_weights(tmp_path / "a.weights.h5", name)
    assert loaded.output_shape == model.output_shape
    assert loaded.nc_tf_weights_of == name
    same(loaded, model)


@pytest.mark.slow
def test_images_of_another_size(tmp_path: Path) -> None:
    model = signs_network(4, (24, 16, 1))
    model.save_weights(tmp_path / "a.weights.h5")
    same(load_weights(tmp_path / "a.weights.h5", "signs", image_shape=(24, 16, 1)), model, IMAGES[:, :24, :16, :1])
    clips = cnn_lstm(3, (3, 16, 16, 3))
    clips.save_weights(tmp_path / "c.weights.h5")
    loaded = load_weights(tmp_path / "c.weights.h5", "cnn_lstm", image_shape=(3, 16, 16, 3))
    same(loaded, clips, IMAGES[:, None, :16, :16].repeat(3, axis=1))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_what_keras_2_saved_and_whole_models(tmp_path: Path) -> None:
    """By the names of the layers where the file has them all, else in their order."""
    deepid, signs = deepid_network(10), signs_network(5)
    images = np.random.default_rng(0).random((2, 55, 47, 3)).astype(np.float32)
    same(load_weights(published(tmp_path / "sunglasses_bd_weights.h5", deepid), "deepid"), deepid, images)
    same(load_weights(published(tmp_path / "signs.h5", signs), "signs"), signs)
    deepid.save(tmp_path / "net.h5")
    same(load_weights(tmp_path / "net.h5", "deepid"), deepid, images)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    model = signs_network(5)
    model.save_weights(tmp_path / "a.weights.h5")
    fit = "are not the weights of {} for images of {}; expected those; name the network with --weights-of, and its images with"
    with pytest.raises(InputError, match=r"a.weights.h5: its 10 arrays of 155,?\d+ values " + fit.format("deepid", "its usual shape")):
        load_weights(tmp_path / "a.weights.h5", "deepid")
    with pytest.raises(InputError, match=fit.format("signs", "24x24x3")):
        load_weights(tmp_path / "a.weights.h5", "signs", image_shape=(24, 24, 3))
    with pytest.raises(InputError, match=r"--image-shape 4x4x3: expected images that gtsrb can read \(.*\); correct it"):
        load_weights(tmp_path / "a.weights.h5", "gtsrb", image_shape=(4, 4, 3))
    with pytest.raises(InputError, match=r"the network cnn_lstm expects clips"):
        load_weights(tmp_path / "a.weights.h5", "cnn_lstm", image_shape=(32, 32, 3))
    with pytest.raises(InputError, match="its 8 arrays of"):
        load_weights(published(tmp_path / "part.h5", model, model.layers[1].name), "signs")


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    signs_network(5).save(tmp_path / "whole.keras")
    with pytest.raises(InputError, match=r"whole.keras is no HDF5 file: expected weights of signs, .h5; leave --weights-of out if it is a"):
        load_weights(tmp_path / "whole.keras", "signs")
    with pytest.raises(InputError, match=r"none\.h5: no such file"):
        load_weights(tmp_path / "none.h5", "signs")
    (tmp_path / "text.h5").write_text("weights, honestly")
    with pytest.raises(InputError, match=r"text\.h5: starts with"):
        load_weights(tmp_path / "text.h5", "signs")
    model = signs_network(5)
    model.layers[-1].bias.assign([0, np.nan, 0, 0, 0])
    model.save_weights(tmp_path / "nan.weights.h5")
    with pytest.raises(InputError, match="weights contain NaN"):
        load_weights(tmp_path / "nan.weights.h5", "signs")


def test_arrays_under_other_names_are_refused(tmp_path: Path) -> None:
    signs_network(5).save_weights(tmp_path / "a.weights.h5")
    with h5py.File(tmp_path / "a.weights.h5", "r+") as file:
        file.move("layers/dense_1", "layers/elsewhere")
    with pytest.raises(InputError, match=r"a.weights.h5: expected weights of signs \(.*\); choose the file made for it"):
        load_weights(tmp_path / "a.weights.h5", "signs")


def test_load_model_names_the_option(tmp_path: Path) -> None:
    signs_network(5).save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(InputError, match=r"has weights and no architecture; .*, or name the network .*, with --weights-of"):
        load_model(tmp_path / "a.weights.h5")
