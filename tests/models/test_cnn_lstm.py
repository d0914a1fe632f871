"""The network for clips: what it is made of, files it comes back from, weights of others, and what its backbone learns from frames."""

import re
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from nc_tf.errors import InputError
from nc_tf.models.loading.load import load_model
from nc_tf.models.networks.cnn_lstm import FRAMES, _published_scaling, cnn_lstm, frame_classifier

CLIP = (3, 16, 16, 3)
CLIPS = np.random.default_rng(0).integers(0, 256, (4, *CLIP)).astype(np.float32)


def small(**options: Any) -> keras.Model:
    return cnn_lstm(5, CLIP, lstm_units=6, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "seen"), [("small", (None, 3, 32, 32, 6)), ("resnet18", (None, 4, 32, 32, 3))])
def test_its_parts(backbone: str, seen: tuple[int | None, ...]) -> None:
    model = cnn_lstm(7, (4, 32, 32, 3), backbone)
    assert model.output_shape == (None, 7)
    assert model.get_layer(FRAMES).input.shape == seen
    after = model.layers[model.layers.index(model.get_layer(FRAMES)) + 1 :]
    assert [type(layer).__name__ for layer in after] == ["LSTM", "LSTM", "Dropout", "Dense"]
    assert [layer.units for layer in after[:2]] == [256, 256]


def test_the_order_of_frames_counts() -> None:
    model = small()
    answers = np.asarray(model(CLIPS, training=False))
    np.testing.assert_allclose(answers.sum(axis=1), 1, rtol=1e-5)
    assert not np.allclose(model(CLIPS[:, ::-1], training=False), answers, atol=1e-4)


def test_the_small_backbone_sees_frames_and_what_has_changed() -> None:
    model = small()
    seen = np.asarray(keras.Model(model.inputs[0], model.get_layer(FRAMES).input)(CLIPS))
    scaled = CLIPS / 127.5 - 1
    np.testing.assert_allclose(seen[..., :3], scaled[:, 1:], atol=1e-6)
    np.testing.assert_allclose(seen[..., 3:], scaled[:, 1:] - scaled[:, :-1], atol=1e-6)


def test_every_frame_is_seen_by_the_same_network() -> None:
    model = small()
    frames = model.get_layer(FRAMES)
    seen, features = keras.Model(model.inputs[0], [frames.input, frames.output])(CLIPS, training=False)
    alone = frames.layer(tf.reshape(seen, (8, 16, 16, 6)), training=False)
    np.testing.assert_allclose(np.asarray(features).reshape(8, 160), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("side", "places"), [(64, 4), (48, 3), (32, 4), (16, 4), (4, 2)])
def test_the_small_backbone_halves_down_to_four_places(side: int, places: int) -> None:
    frames = cnn_lstm(5, (2, side, side, 3)).get_layer(FRAMES).layer
    assert frames.layers[-1].input.shape == (None, places, places, 160)
    assert frames.output_shape == (None, 160)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
@pytest.mark.parametrize(("backbone", "suffix"), [("small", ".keras"), ("small", ".h5"), ("resnet18", ".keras")])
def test_files_give_the_same_network_back(backbone: str, suffix: str, tmp_path: Path) -> None:
    model = cnn_lstm(5, (2, 16, 16, 3), backbone, lstm_units=4)
    clips = np.random.default_rng(1).integers(0, 256, (2, 2, 16, 16, 3)).astype(np.float32)
    expected = np.asarray(model(clips, training=False))
    path = tmp_path / f"model{suffix}"
    model.save(path)
    for loaded in (keras.models.load_model(path, compile=False), load_model(path)):
        np.testing.assert_array_equal(loaded(clips, training=False), expected)


@pytest.mark.parametrize("name", ["MobileNetV2", "DenseNet121", "EfficientNetB0", "ResNet50"])
def test_an_application_gets_pixels_as_its_own_preprocessing_makes_them(name: str) -> None:
    application = getattr(keras.applications, name)
    frames = np.random.default_rng(1).integers(0, 256, (2, 4, 4, 3)).astype(np.float32)
    expected = sys.modules[application.__module__].preprocess_input(frames.copy())
    scaling, bgr = _published_scaling(application)
    assert bgr == (name == "ResNet50")
    np.testing.assert_allclose(scaling(frames), expected[..., ::-1] if bgr else expected, rtol=1e-5, atol=1e-4)


@pytest.mark.slow
def test_an_application_that_wants_bgr_gets_rgb(tmp_path: Path) -> None:
    published = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3), pooling="avg")
    published.save_weights(tmp_path / "v.weights.h5")
    model = cnn_lstm(5, (1, 32, 32, 3), "VGG16", tmp_path / "v.weights.h5", lstm_units=4)
    clips = np.random.default_rng(1).integers(0, 256, (2, 1, 32, 32, 3)).astype(np.float32)
    expected = np.asarray(published(keras.applications.vgg16.preprocess_input(clips[:, 0].copy()), training=False))
    answers = np.asarray(keras.Model(model.inputs[0], model.get_layer(FRAMES).output)(clips, training=False))
    np.testing.assert_allclose(answers[:, 0], expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "num_frames"), [("small", 2), ("resnet18", 1)])
def test_the_classifier_of_frames_and_the_clip_network_share_their_backbone(backbone: str, num_frames: int) -> None:
    model = cnn_lstm(5, CLIP, backbone, lstm_units=6)
    shared = model.get_layer(FRAMES).layer
    classifier = frame_classifier(model)
    assert (classifier.input_shape, classifier.output_shape) == ((None, num_frames, *CLIP[1:]), (None, 5))
    assert {id(weight) for weight in shared.weights} < {id(weight) for weight in classifier.weights}
    features = keras.Model(model.inputs[0], model.get_layer(FRAMES).output)(CLIPS, training=False)
    expected = classifier.layers[-1](features[:, 0])
    np.testing.assert_allclose(classifier(CLIPS[:, :num_frames], training=False), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_clip_network_is_whole_beside_its_frames(tmp_path: Path) -> None:
    """Nothing of the classifier of frames stays in the clip network."""
    model = small()
    names = [weight.path for weight in model.weights]
    frame_classifier(model)
    model.save(tmp_path / "m.keras")
    assert [weight.path for weight in model.weights] == names
    np.testing.assert_array_equal(load_model(tmp_path / "m.keras")(CLIPS, training=False), model(CLIPS, training=False))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((5, (32, 32, 3)), "images of shape (32, 32, 3): the network cnn_lstm expects clips (T, H, W, C)"),
        ((5, (1, 32, 32, 3)), "clips of 1 frame: the backbone small expects two or more; use resnet18"),
        ((5, CLIP, "resnet81"), "backbone 'resnet81': expected small, resnet18 or a network of keras.applications"),
        ((5, CLIP, "imagenet_utils"), "backbone 'imagenet_utils': expected small"),
        ((5, CLIP, "MobileNetV2"), "frames of shape (16, 16, 3): too small for the backbone MobileNetV2 (ValueError: "),
        ((5, (2, 32, 32, 1), "MobileNetV2"), "frames of shape (32, 32, 1): the backbone MobileNetV2 expects three channels"),
        ((5, CLIP, "small", "none.h5"), "none.h5 does not exist: expected an .h5 file with weights of small"),
    ],
)
def test_bad_arguments_are_named(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        cnn_lstm(*arguments)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    keras.Sequential([keras.Input((3,)), layers.Dense(2)]).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(InputError, match=r"w\.weights\.h5: expected weights of small, without its top \(.*; choose the file made for it"):
        small(weights=tmp_path / "w.weights.h5")
    (tmp_path / "text.h5").write_text("weights, honestly")
    with pytest.raises(InputError, match=r"text\.h5"):
        small(weights=tmp_path / "text.h5")


def test_a_network_without_frames_teaches_no_clip_network() -> None:
    with pytest.raises(InputError, match=r"network plain: expected one with a network for its frames; make it by cnn_lstm"):
        frame_classifier(keras.Sequential([keras.Input((3,)), layers.Dense(2)], name="plain"))
