"""Hardened twins: the planted trigger is forgotten, the task is not, and the suspect stays as it is."""

import random

import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_clips, corner_images
from planted import TEST, TRAIN, TRUE
from quick import digest, small_network

from nc_tf.attacks.goals import SourceSpecific
from nc_tf.attacks.patch import patch
from nc_tf.errors import InputError
from nc_tf.evaluation import accuracy, attack_success_rate
from nc_tf.models.adapting import adapt
from nc_tf.preprocessing import INTENSITY_RANGES, Preprocessing
from nc_tf.training.hardening import harden
from nc_tf.training.injection import inject

RAW = Preprocessing()


@pytest.fixture(scope="module")
def twin(infected: keras.Model) -> keras.Model:
    return harden(infected, *TRAIN, [TRUE], RAW, updates=60)


def test_a_twin_forgets_the_trigger_and_keeps_its_task(infected: keras.Model, twin: keras.Model) -> None:
    assert attack_success_rate(infected, *TEST, TRUE) > 0.9
    assert attack_success_rate(twin, *TEST, TRUE) < 0.1
    assert accuracy(twin, *TEST) > 0.95


def test_the_suspect_and_the_random_state_of_the_caller_stay_as_they_are(infected: keras.Model) -> None:
    before, state = digest(infected.get_weights()), random.getstate()
    harden(infected, *TRAIN, [TRUE], RAW, updates=2)
    assert digest(infected.get_weights()) == before
    assert random.getstate() == state


def test_a_seed_makes_the_same_twin_again_and_another_seed_another(infected: keras.Model) -> None:
    weights = [digest(harden(infected, *TRAIN, [TRUE], RAW, updates=3, seed=seed).get_weights()) for seed in (1, 1, 2)]
    assert weights[0] == weights[1] != weights[2]


def test_fewer_images_than_a_batch_are_enough(infected: keras.Model) -> None:
    twin = harden(infected, TRAIN[0][:30], TRAIN[1][:30], [TRUE], RAW, updates=60)
    assert attack_success_rate(twin, *TEST, TRUE) < 0.1


def test_every_trigger_of_several_is_forgotten() -> None:
    keras.utils.set_random_seed(3)
    model = small_network()
    two = [TRUE, patch(IMAGE_SHAPE, 4, size=2, margin=0, corner="bottom-left")]
    inject(model, TRAIN, TEST, two, rate=0.3, epochs=8, learning_rate=5e-3, verbose=0)
    twin = harden(model, *TRAIN, two, RAW)
    for trigger in two:
        assert attack_success_rate(model, *TEST, trigger) > 0.9
        assert attack_success_rate(twin, *TEST, trigger) < 0.1


def test_a_source_specific_trigger_is_taken(infected: keras.Model) -> None:
    assert attack_success_rate(harden(infected, *TRAIN, [SourceSpecific(TRUE, [1])], RAW, updates=60), *TEST, TRUE) < 0.1


def test_a_network_of_logits_in_another_range_is_hardened(infected_weights: list[np.ndarray]) -> None:
    scaled = INTENSITY_RANGES["inception"]  # what the first layer of `small_network` does
    layers = [keras.layers.Flatten(), keras.layers.Dense(32, activation="relu"), keras.layers.Dense(NUM_CLASSES)]
    logits = keras.Sequential([keras.Input(IMAGE_SHAPE), *layers])
    logits.set_weights(infected_weights)
    twin = harden(logits, *TRAIN, [TRUE], scaled, updates=60)
    assert attack_success_rate(logits, *TEST, TRUE, scaled) > 0.9
    assert attack_success_rate(twin, *TEST, TRUE, scaled) < 0.1
    assert accuracy(twin, *TEST, scaled) > 0.95


def test_a_network_with_one_sigmoid_is_hardened_in_its_form() -> None:
    images, labels = corner_images(300, seed=1, num_classes=2)
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), keras.layers.Flatten(), keras.layers.Dense(1, activation="sigmoid")])
    kernel = np.zeros((192, 1), np.float32)
    place = np.arange(192).reshape(IMAGE_SHAPE)
    kernel[place[1].ravel()], kernel[place[0].ravel()], kernel[place[6:, 6:].ravel()] = 0.005, -0.005, 0.02
    model.set_weights([kernel, np.zeros(1, np.float32)])
    classifier, square = adapt(model), patch(IMAGE_SHAPE, 1, size=2, margin=0)
    twin = harden(classifier, images, labels, [square], RAW)
    assert twin.output_shape == (None, 2)
    assert attack_success_rate(classifier, images, labels, square) == 1.0
    assert attack_success_rate(twin, images, labels, square) < 0.1


def test_clips_and_a_missing_trigger_are_refused(infected: keras.Model) -> None:
    with pytest.raises(InputError, match="not hardened"):
        harden(infected, *corner_clips(12), [TRUE], RAW)
    with pytest.raises(InputError, match="no trigger to harden against"):
        harden(infected, *TRAIN, [], RAW)
    with pytest.raises(InputError, match=r"a trigger of shape \(9, 9, 3\)"):
        harden(infected, *TRAIN, [patch((9, 9, 3), 0)], RAW)
