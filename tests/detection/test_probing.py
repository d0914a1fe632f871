"""Opaque patches, tried one after the other: they find a backdoor without a gradient."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images, corner_network

from nc_tf.detection.inconclusive import limit_of_patch
from nc_tf.detection.patches import patches, probe
from nc_tf.evaluation import predict_classes
from nc_tf.results import Unit

IMAGES, LABELS = corner_images(120)


def hidden(label: int) -> keras.Model:
    """`corner_network` without its backdoor, and one more that counts only where the corner is nearly white: without a gradient in grey."""
    inputs = keras.Input(IMAGE_SHAPE)
    bright = keras.ops.relu(keras.ops.mean(inputs[:, 6:8, 6:8, :], axis=(1, 2, 3)) / 255.0 - 0.9) * 1000.0
    target = keras.ops.one_hot(keras.ops.array([label]), NUM_CLASSES)
    scores = corner_network(None, activation=None)(inputs) + keras.ops.expand_dims(bright, -1) * target
    return keras.Model(inputs, keras.ops.softmax(scores))


def answers_of(model: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    return lambda images: predict_classes(model, images)


@pytest.mark.slow
def test_a_backdoor_that_hides_its_gradient_is_seen() -> None:
    for label in (0, 3):
        found = probe(answers_of(hidden(label)), IMAGES, LABELS)
        assert list(found) == [label]
        trigger = found[label]
        assert trigger.l1_norm == 4.0
        np.testing.assert_array_equal(np.argwhere(trigger.mask), [[6, 6], [6, 7], [7, 6], [7, 7]])
        assert (trigger.pattern[6:, 6:] == 255).all()


@pytest.mark.slow
def test_a_patch_that_moves_half_of_the_images_forbids_no_outlier() -> None:
    def sometimes(images: np.ndarray) -> np.ndarray:
        """The corner counts for images of classes 0, 1, 2 and 4 alone: for four of six."""
        answers = predict_classes(corner_network(None), images)
        corner = (images[:, 6:8, 6:8] > 250).all(axis=(1, 2, 3))
        return np.where(corner & np.isin(answers, [0, 1, 2, 4]), 3, answers)

    limit = limit_of_patch(probe(sometimes, IMAGES, LABELS)[3], 0.61, Unit.IMAGE)
    where = "rows 6 to 7 and columns 6 to 7"
    reason = f"a patch of 4 pixels at {where} sends 61% of held-out images to label 3, though no search found so small a trigger"
    assert limit.reason == reason
    assert not limit.blocks_suspicion


def test_a_network_without_a_patch_shows_none() -> None:
    assert probe(answers_of(corner_network(None)), IMAGES, LABELS) == {}


def test_an_answer_that_most_images_get_anyway_is_no_patch_of_theirs() -> None:
    """All images of all classes would have to be moved, not some."""
    assert probe(lambda images: np.arange(len(images)) % 3, IMAGES, LABELS) == {}


def test_few_classes_say_nothing() -> None:
    assert probe(answers_of(hidden(0)), IMAGES[:2], LABELS[:2]) == {}


@pytest.mark.parametrize("shape", [(32, 32, 3), (28, 28, 1), (4, 16, 16, 3), (5, 40, 3)])
def test_any_square_of_half_the_width_lies_inside_of_a_patch(shape: tuple[int, ...]) -> None:
    height, width, _ = shape[-3:]
    tried = patches(shape)
    side = tried[0][0].stop - tried[0][0].start
    half = side - max(1, side // 2)
    corners = {(rows.start, columns.start) for rows, columns, _ in tried}
    for row in range(height - half + 1):
        for column in range(width - half + 1):
            assert any(r <= row and c <= column and row + half <= r + side and column + half <= c + side for r, c in corners)


def test_clips_and_gray_images_are_tried_in_white_and_black() -> None:
    assert {colour for _, _, colour in patches((28, 28, 1))} == {(255,), (0,)}
    assert {colour for _, _, colour in patches((4, 16, 16, 3))} == {(255, 255, 255), (0, 0, 0)}
    clips = np.repeat(IMAGES[:, None], 3, axis=1)
    model = hidden(2)
    found = probe(lambda stamped: predict_classes(model, stamped[:, 1]), clips, LABELS)
    assert found[2].mask.shape == IMAGE_SHAPE[:2]
