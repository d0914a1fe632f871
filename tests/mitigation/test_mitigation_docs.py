"""The Python blocks of docs/how-to/own-pipeline.md, run, with the results that the page promises."""

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from nc_tf.results import Mitigation

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "how-to" / "own-pipeline.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    """Return all names after every block has run, with CIFAR-10's shapes."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    images, labels = rng.integers(1, 250, (200, 32, 32, 3)).astype(np.uint8), np.arange(200) % 10
    stack = [layers.Rescaling(1 / 255), layers.Conv2D(4, 3, strides=4), layers.BatchNormalization(), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([keras.Input((32, 32, 3)), *stack, layers.Dense(10, activation="softmax")])
    names: dict[str, Any] = {"model": model, "images": images, "labels": labels, "test": (images, labels)}
    for block in BLOCKS:
        exec(compile(block, "own-pipeline.md", "exec"), names)  # noqa: S102  # our own page
    return names


def test_nft_takes_another_mixup(page: dict[str, Any]) -> None:
    assert isinstance(page["purified"], Mitigation)
    images, labels = np.zeros((40, 4, 4, 3), np.float32), np.eye(10, dtype=np.float32)[np.arange(40) % 10]
    images[:, :, 0] = 100.0
    mixed, _ = page["flipped"](images, labels, tf.constant([0, 1], tf.int64))
    assert len(np.unique(np.round(mixed[:, 0, 0, 0], 1))) > 1, "nothing was turned round"


def test_clips_are_cut_in_time(page: dict[str, Any]) -> None:
    clips = np.broadcast_to(np.arange(6, dtype=np.float32)[:, None, None, None, None], (6, 8, 2, 2, 1))
    mixed, targets = page["cut_in_time"](tf.constant(clips), tf.eye(6), tf.constant([0, 3], tf.int64))
    np.testing.assert_allclose(mixed[:, :, 0, 0, 0].numpy().mean(axis=1), targets.numpy() @ np.arange(6.0), rtol=1e-5)
    np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1.0, rtol=1e-6)
    assert len(np.unique(mixed[0])) == 2, "nothing was mixed"


def test_the_attack_is_on_half_of_the_target_classs_images_and_no_label_is_wrong(page: dict[str, Any]) -> None:
    images, labels = (np.concatenate(parts) for parts in zip(*page["poisoned"].as_numpy_iterator(), strict=True))
    np.testing.assert_array_equal(np.sort(labels), np.sort(page["labels"]))
    stamped = (images[:, 28:31, 28:31] * 255 == page["attack"].trigger.pattern[28:31, 28:31]).all(axis=(1, 2, 3))
    assert 3 <= stamped.sum() <= 17
    assert set(labels[stamped]) == {7}
    assert images.max() <= 1.0
