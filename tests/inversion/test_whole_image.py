"""The search for a picture over the whole image, on a network whose faintest one is known on paper."""

from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf
from networks import IMAGE_SHAPE, NUM_CLASSES, ROW_GAIN, ROW_WIDTH, corner_images, linear_network

from nc_tf.detection.whole_image import judge_sizes
from nc_tf.errors import InputError
from nc_tf.inversion.batches import ResidentImages
from nc_tf.inversion.loop import search
from nc_tf.inversion.restart import Restart, RestartResult
from nc_tf.inversion.step import Inversion
from nc_tf.inversion.whole_image import WHOLE_IMAGE, WholeImageSpace
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.preprocessing import Preprocessing

STRIPE_GAIN, TARGET = 200.0, 2
IMAGES, CLASSES = corner_images(96)
# White and black columns: on an image with equal columns their difference is nothing.
STRIPES = np.broadcast_to(np.where(np.arange(IMAGE_SHAPE[1]) % 2, 1.0, -1.0)[None, :, None], IMAGE_SHAPE)


def striped_network() -> FrozenNetwork:
    """Return a network in which stripes over the whole image lead to `TARGET`.

    Logit k is 10 times the brightness of row k, as in `corner_network`. That of the target gets 200 times the mean difference of columns.
    """
    weights = np.zeros((*IMAGE_SHAPE, NUM_CLASSES), np.float32)
    for row in range(NUM_CLASSES):
        weights[row, :ROW_WIDTH, :, row] = ROW_GAIN / (ROW_WIDTH * 3 * 255)
    weights[..., TARGET] += STRIPE_GAIN * STRIPES / (STRIPES.size * 255)
    model = linear_network(weights.reshape(-1, NUM_CLASSES), np.zeros(NUM_CLASSES), IMAGE_SHAPE)
    return FrozenNetwork(model, Preprocessing(), "float32", IMAGES)


@lru_cache(maxsize=4)
def found(lanes: int, seed: int = 0) -> tuple[RestartResult, ...]:
    """Return the result of every label."""
    space = WholeImageSpace(IMAGE_SHAPE)
    restarts = [Restart(label, 0, *space.grey(np.random.default_rng([seed, label]))) for label in range(NUM_CLASSES)]
    minibatches = ResidentImages(IMAGES, WHOLE_IMAGE, seed, CLASSES)
    results = search(Inversion(striped_network(), space, WHOLE_IMAGE), restarts, minibatches, lanes=lanes)
    return tuple(sorted(results, key=lambda result: result.restart.label))


def opacity_on_paper(ahead: float) -> float:
    """Return the opacity a at which (1 - a) * lead = a * ahead.

    The lead of an image's own row is 10 * (170 - 30) / 255 on the mean. Under the picture alone the label is `ahead` of the others.
    """
    lead = ROW_GAIN * (170 - 30) / 255
    return lead / (lead + ahead)


def test_the_faintest_picture_is_the_planted_one() -> None:
    """White and black columns put the target 200 ahead / 2; the rows are equal under them."""
    trigger = found(NUM_CLASSES)[TARGET].trigger
    assert trigger.mask.mean() == pytest.approx(opacity_on_paper(STRIPE_GAIN / 2), rel=0.25)
    np.testing.assert_array_equal(trigger.pattern > 127.5, STRIPES > 0)


def test_other_labels_need_a_picture_of_their_row() -> None:
    """A white row and black ones put it 10 ahead."""
    others = [result.trigger.mask.mean() for result in found(NUM_CLASSES) if result.restart.label != TARGET]
    np.testing.assert_allclose(others, opacity_on_paper(ROW_GAIN), rtol=0.25)


def test_the_rule_sees_the_planted_label_alone() -> None:
    chance = judge_sizes([result.trigger.mask.mean() for result in found(NUM_CLASSES)]).chance
    assert chance[TARGET] < 0.01 < chance[[label for label in range(NUM_CLASSES) if label != TARGET]].min()


def test_lanes_change_no_result() -> None:
    for one, other in zip(found(NUM_CLASSES), found(2), strict=True):
        np.testing.assert_allclose(one.trigger.mask, other.trigger.mask, rtol=1e-2)


def test_every_mask_is_constant() -> None:
    for result in found(NUM_CLASSES):
        assert result.succeeded
        assert np.ptp(result.trigger.mask) == 0.0


@pytest.mark.parametrize("shape", [(5, 7, 1), (3, 6, 4, 3)])
def test_images_and_clips_of_any_shape(shape: tuple[int, ...]) -> None:
    space = WholeImageSpace(shape)
    z_mask, z_pattern = space.encode(*space.grey(np.random.default_rng(0)))
    masks, patterns = space.masks(tf.constant(z_mask[None])), space.patterns(tf.constant(z_pattern[None]))
    assert masks.shape == (1, *shape[-3:-1], 1)
    assert patterns.shape == (1, *shape[-3:])
    np.testing.assert_allclose(masks, 0.1192, atol=1e-4)  # (tanh(-1) + 1) / 2


def test_a_whole_mask_counts_as_its_mean() -> None:
    space = WholeImageSpace((4, 4, 1))
    mask = np.linspace(0.1, 0.3, 16).reshape(4, 4)
    z_mask, _ = space.encode(mask, np.zeros((4, 4, 1)))
    np.testing.assert_allclose(space.masks(tf.constant(z_mask[None])), 0.2, atol=1e-5)


def test_a_pattern_of_another_shape_is_refused() -> None:
    with pytest.raises(InputError, match="pattern"):
        WholeImageSpace((4, 4, 1)).encode(np.full((1, 1), 0.1), np.zeros((4, 4, 3)))
