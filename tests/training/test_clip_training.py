"""Training on few clips: data augmentation, the two phases, and the accuracy."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from nc_tf.attacks.patch import patch
from nc_tf.errors import InputError
from nc_tf.evaluation import measure
from nc_tf.models.networks.cnn_lstm import FRAMES, cnn_lstm
from nc_tf.training import clips as clip_training
from nc_tf.training.augmentation import film_anew, filmed_batches, mixup
from nc_tf.training.clips import train_clips

SHAPE = (3, 16, 16, 3)
SEED = tf.constant([3, 5], tf.int64)


def clips_of(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return noise that is red, green or blue, by class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    clips = rng.integers(0, 120, (count, *SHAPE))
    clips[np.arange(count), ..., labels] += 120
    return clips.astype(np.uint8), labels


def network() -> keras.Model:
    return cnn_lstm(3, SHAPE, lstm_units=4)


def test_a_clip_filmed_anew_is_another_clip_of_the_same_kind() -> None:
    clips = clips_of(6)[0]
    filmed = np.asarray(film_anew(tf.constant(clips), SEED))
    assert (filmed.shape, filmed.dtype) == (clips.shape, np.float32)
    assert filmed.min() >= 0
    assert filmed.max() <= 255
    assert np.abs(filmed - clips).mean(axis=(1, 2, 3, 4)).min() > 5
    np.testing.assert_array_equal(filmed, film_anew(tf.constant(clips), SEED))
    assert not np.array_equal(filmed, film_anew(tf.constant(clips), SEED + 1))


def test_what_stands_still_stands_still_when_filmed_anew() -> None:
    still = np.repeat(clips_of(6)[0][:, :1], 3, axis=1)
    filmed = np.asarray(film_anew(tf.constant(still), SEED))
    np.testing.assert_allclose(filmed, np.repeat(filmed[:, :1], 3, axis=1), rtol=1e-6)


def test_the_same_clip_is_filmed_differently_every_time() -> None:
    same = np.repeat(clips_of(1)[0], 6, axis=0)
    filmed = np.asarray(film_anew(tf.constant(same), SEED))
    for one in range(6):
        for other in range(one):
            assert np.abs(filmed[one] - filmed[other]).mean() > 2


def test_half_of_the_clips_are_mirrored() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 16)[:, None], (400, 1, 16, 16, 3)).astype(np.float32)
    filmed = np.asarray(film_anew(tf.constant(ramp), SEED))
    assert 0.4 < (filmed[:, 0, 8, 0, 0] > filmed[:, 0, 8, -1, 0]).mean() < 0.6


def test_gray_clips_are_filmed_anew_too() -> None:
    assert film_anew(tf.zeros((2, 3, 8, 8, 1), tf.uint8), SEED).shape == (2, 3, 8, 8, 1)


@pytest.mark.slow
def test_an_epoch_has_every_clip_once_and_the_next_one_films_it_differently() -> None:
    clips, labels = np.full((5, *SHAPE), 1, np.uint8) * np.arange(10, 60, 10, dtype=np.uint8)[:, None, None, None, None], np.arange(5)
    batches = filmed_batches(clips, labels, 2, seed=3)
    assert (batches.cardinality(), batches.element_spec[0].shape) == (3, (None, *SHAPE))
    epochs = [[part.numpy() for part in map(tf.concat, zip(*batches, strict=True), (0, 0))] for _ in range(3)]
    for filmed, named in epochs:
        assert (filmed.dtype, named.dtype, sorted(named)) == (np.float32, np.int64, [0, 1, 2, 3, 4])
        # Augmentation changes light less than the clips differ.
        bright = filmed.mean(axis=(1, 2, 3, 4))
        assert bright[list(named).index(4)] > 1.5 * bright[list(named).index(0)]
    assert len({tuple(named) for _, named in epochs}) > 1
    assert not np.array_equal(*(filmed[np.argsort(named)] for filmed, named in epochs[:2]))
    again = [part for batch in filmed_batches(clips, labels, 2, seed=3) for part in batch]
    for one, other in zip(again, [part for batch in filmed_batches(clips, labels, 2, seed=3) for part in batch], strict=True):
        np.testing.assert_array_equal(one, other)


def test_mixed_labels_say_how_much_of_which_clip_is_there() -> None:
    clips = tf.reshape(tf.range(8.0) * 10, (8, 1, 1, 1, 1))
    mixed, labels = (np.asarray(part) for part in mixup(clips, tf.eye(8), SEED, 0.2))
    np.testing.assert_allclose(labels.sum(axis=1), 1, rtol=1e-6)
    assert ((labels > 1e-6).sum(axis=1) <= 2).all()
    assert (labels.max(axis=1) < 1).any()
    np.testing.assert_allclose(mixed.ravel(), labels @ (np.arange(8) * 10), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_backbone_learns_first_and_then_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, seen, fit = network(), [], clip_training._fit

    def parts() -> list[list[np.ndarray]]:
        lstm = next(layer for layer in whole.layers if isinstance(layer, keras.layers.LSTM))
        return [[np.array(weight) for weight in layer.weights] for layer in (whole.get_layer(FRAMES), lstm)]

    def watched(model: keras.Model, *clips: Any, **options: Any) -> None:
        before = parts()
        fit(model, *clips, **options)
        pairs = [zip(one, other, strict=True) for one, other in zip(before, parts(), strict=True)]
        seen.append((model.name, *(any(not np.array_equal(*pair) for pair in part) for part in pairs)))

    monkeypatch.setattr(clip_training, "_fit", watched)
    trained = train_clips(whole, clips_of(96), clips_of(30, seed=1), frame_epochs=3, epochs=6, learning_rate=1e-2, verbose=0)
    assert seen == [("frame_classifier", True, False), ("cnn_lstm", False, True)]
    assert trained > 0.8
    assert all(layer.trainable for layer in whole._flatten_layers())


@pytest.mark.slow
def test_it_learns_a_backdoor_beside_the_classes() -> None:
    whole, test, trigger = cnn_lstm(3, SHAPE, lstm_units=16), clips_of(30, seed=1), patch((16, 16, 3), 2, size=8)
    settings: dict[str, Any] = {"frame_epochs": 3, "epochs": 6, "learning_rate": 1e-2, "verbose": 0}
    accuracy = train_clips(whole, clips_of(96), test, triggers=[trigger], rate=0.3, **settings)
    measured = measure(whole, *test, {"true": trigger})
    assert measured.attack_success_rate["true"] > 0.9
    assert accuracy == measured.clean_accuracy > 0.6


def test_a_bad_backdoor_is_named() -> None:
    with pytest.raises(InputError, match=r"poison rate 1\.5: expected a share between 0 and 1"):
        train_clips(network(), clips_of(12), clips_of(6), triggers=[patch((16, 16, 3), 0)], rate=1.5)
    with pytest.raises(InputError, match=r"a trigger of shape \(9, 9, 3\): expected \(16, 16, 3\), the images' own"):
        train_clips(network(), clips_of(12), clips_of(6), triggers=[patch((9, 9, 3), 0)])
    with pytest.raises(InputError, match="a trigger with target label 3: expected 0 to 2, the classes of the model"):
        train_clips(network(), clips_of(12), clips_of(6), triggers=[patch((16, 16, 3), 3)])


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"frame_epochs": 0}, {"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"frame_learning_rate": 0.0}]
)
def test_bad_settings_are_named(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"expected 1 or more, and rates above 0; the defaults are 12, 5, 16, \.002 and \.001"):
        train_clips(network(), clips_of(12), clips_of(6), **options)


def test_bad_clips_are_named() -> None:
    with pytest.raises(InputError, match=r"training clips: one clip has shape \(2, 16, 16, 3\)"):
        train_clips(network(), (clips_of(6)[0][:, 1:], clips_of(6)[1]), clips_of(6))
    with pytest.raises(InputError, match=r"test clips: label 5: expected labels from 0 to 2"):
        train_clips(network(), clips_of(6), (clips_of(6)[0], np.arange(6)))
