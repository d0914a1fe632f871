"""The random state of the caller, which no call of the library changes."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images

import nc_tf
from nc_tf.attacks.patch import patch
from nc_tf.inversion.step import SearchSettings
from nc_tf.mitigation.filtering import input_filter
from nc_tf.mitigation.nft import nft
from nc_tf.mitigation.pruning import prune
from nc_tf.models.random_state import random_state_kept
from nc_tf.training.injection import inject

IMAGES, LABELS = corner_images(24)
TRIGGER = patch(IMAGE_SHAPE, 2, size=2, margin=0)
GIVEN: Any = (IMAGES, LABELS, [TRIGGER])
TEST = (IMAGES, LABELS)
SETTINGS = SearchSettings(batch_size=8, batches_per_round=1, max_rounds=1)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with a layer that draws a seed of its own wherever it is built."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            layers.Flatten(),
            layers.Dense(8, activation="relu"),
            layers.Dropout(0.1),
            layers.Dense(NUM_CLASSES, activation="softmax"),
        ]
    )
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    return path


@pytest.fixture(scope="module")
def model(file: Path) -> keras.Model:
    return nc_tf.load_model(file)


def drawn() -> tuple[float, ...]:
    """The next random numbers of all four."""
    return random.random(), np.random.random(), float(tf.random.uniform([])), float(keras.random.uniform([]))  # noqa: NPY002, S311


CALLS: dict[str, Callable[[Path, keras.Model], Any]] = {
    "load_model": lambda file, model: nc_tf.load_model(file),
    "scan": lambda file, model: nc_tf.scan(model, *TEST, settings=SETTINGS, preset="paper", targets=[0], precision="float32"),
    "unlearn": lambda file, model: nc_tf.unlearn(model, *GIVEN, test=TEST, verbose=0),
    "prune": lambda file, model: prune(model, *GIVEN, test=TEST),
    "nft": lambda file, model: nft(model, *GIVEN, test=TEST, steps=2, batch_size=4, verbose=0),
    "input_filter": lambda file, model: input_filter(model, *GIVEN, test=TEST),
    "Visualizer": lambda file, model: nc_tf.Visualizer(model, "raw", "l1", IMAGE_SHAPE, 0.1, 1, 1, 0.1, NUM_CLASSES),
    "inject": lambda file, model: inject(nc_tf.load_model(file), TEST, TEST, TRIGGER, rate=0.1, epochs=1, verbose=0),
}


def begin() -> None:
    """Seed all four, and be somewhere behind the beginning."""
    keras.utils.set_random_seed(7)
    drawn()


@pytest.mark.slow
@pytest.mark.parametrize("call", list(CALLS))
def test_a_call_changes_no_random_number_of_the_caller(file: Path, model: keras.Model, call: str) -> None:
    begin()
    wanted = drawn()
    begin()
    CALLS[call](file, model)
    assert drawn() == wanted


def test_what_was_never_seeded_stays_so() -> None:
    tf.random.set_seed(None)
    with random_state_kept():
        keras.utils.set_random_seed(3)
    with random_state_kept():
        first = float(tf.random.uniform([]))
    assert float(tf.random.uniform([])) != first, "without a seed every number is another"
