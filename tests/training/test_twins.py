"""Clean twins: they learn the task, ignore a planted trigger, and follow a natural one."""

import random

import numpy as np
import pytest
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_clips
from planted import TEST, TRAIN, TRUE

from nc_tf.errors import InputError
from nc_tf.evaluation import accuracy
from nc_tf.results import Trigger
from nc_tf.training.twins import train_twin, transfer


def test_a_twin_learns_the_task_ignores_a_planted_trigger_and_follows_a_natural_one() -> None:
    told: list[int] = []
    twin = train_twin(*TRAIN, NUM_CLASSES, updates=80, on_update=told.append)
    assert told == list(range(1, 81))
    assert accuracy(twin, *TEST) > 0.95
    assert transfer(twin, *TEST, TRUE) < 0.1
    # Row 2 bright and the other rows dark, which is what the class is.
    mask, pattern = np.ones(IMAGE_SHAPE[:2], np.float32), np.full(IMAGE_SHAPE, 30.0, np.float32)
    pattern[2], pattern[6:, 6:] = 170.0, 0.0
    assert transfer(twin, *TEST, Trigger(2, mask, pattern)) > 0.9


def test_a_seed_makes_the_same_twin_again_and_the_callers_random_state_stays() -> None:
    state = random.getstate()
    first, again, other = (train_twin(*TRAIN, NUM_CLASSES, updates=2, seed=seed).get_weights() for seed in (1, 1, 2))
    assert random.getstate() == state
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_large_images_are_averaged_down_and_few_are_enough() -> None:
    images = np.repeat(np.repeat(TRAIN[0][:24], 12, axis=1), 12, axis=2)
    twin = train_twin(images, TRAIN[1][:24], NUM_CLASSES, updates=2)
    assert twin.input_shape == (None, 96, 96, 3)
    assert twin(images[:2].astype(np.float32)).shape == (2, NUM_CLASSES)


def test_clips_are_refused() -> None:
    clips, labels = corner_clips(12)
    with pytest.raises(InputError, match="no twin for clips"):
        train_twin(clips, labels, NUM_CLASSES)
