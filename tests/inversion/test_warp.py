"""The search for a warp, on a network whose shortest one is known on paper."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import tensorflow as tf

from nc_tf.backdoor import Warp
from nc_tf.inversion.batches import ResidentImages
from nc_tf.inversion.loop import advance, outcome_of
from nc_tf.inversion.restart import Restart, Segment
from nc_tf.inversion.step import Inversion
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.inversion.warp import GRID, SHORTEST_WARP, WarpSpace, spread, warp_of
from nc_tf.results import Status

SHAPE = (12, 10, 1)
SPACE, QUICK = WarpSpace(SHAPE), replace(SHORTEST_WARP, batches_per_round=8, max_rounds=14, learning_rate=0.1)


def white_row(n: int) -> np.ndarray:
    """Return images (n, 12, 10, 1) of dim noise with a white row 5."""
    images = np.random.default_rng(0).integers(0, 20, (n, *SHAPE)).astype(np.uint8)
    images[:, 5] = 255
    return images


def network(raw: tf.Tensor) -> tf.Tensor:
    """Return logits of three labels: 5, 20 times the brightness of row 6, and -100.

    A row 6 that is read from a places above is a bright, so that label 1 needs a = 1/4, and label 2 is out of reach.
    """
    bright = tf.reduce_mean(raw[:, 6], axis=(1, 2)) / 255.0
    return tf.stack([tf.fill(tf.shape(bright), 5.0), 20.0 * bright, tf.fill(tf.shape(bright), -100.0)], axis=1)


@lru_cache(maxsize=2)
def found(lanes: int) -> dict[int, tuple[Status, Warp, float]]:
    restarts = [Restart(label, 0, *SPACE.grey(np.random.default_rng([0, label]))) for label in (1, 2)]
    minibatches = ResidentImages(white_row(24), QUICK, 0, np.zeros(24, int))
    segments = [Segment(restart, QUICK.max_rounds) for restart in restarts]
    ended = {}
    for progress in advance(Inversion(network, SPACE, QUICK), segments, minibatches, lanes=lanes):
        status, z = outcome_of(QUICK, progress)
        ended[progress.label] = (status, *warp_of(progress.label, SPACE, z))
    return ended


@pytest.mark.parametrize(("displacement", "rows"), [(0.0, slice(0, 10)), (1.0, slice(1, 11))])
def test_pixels_are_read_from_their_places(displacement: float, rows: slice) -> None:
    images = tf.random.stateless_uniform((1, 2, *SHAPE), (0, 0), 0.0, 255.0)
    field = np.zeros((1, *SPACE.mask_shape), np.float32)
    field[..., 0] = displacement
    read = SPACE.stamp(images, tf.constant(field), tf.zeros((1, 0)))
    np.testing.assert_allclose(read[:, :, :10, :9], images[:, :, rows, :9], atol=0.3)


def test_each_lane_has_its_own_warp() -> None:
    images = tf.random.stateless_uniform((2, 3, *SHAPE), (0, 0), 0.0, 255.0)
    fields = tf.constant(np.random.default_rng(0).normal(0.0, 1.0, (2, *SPACE.mask_shape)), tf.float32)
    read = SPACE.stamp(images, fields, tf.zeros((2, 0)))
    for lane in range(2):
        warp, _ = warp_of(0, SPACE, (fields[lane : lane + 1], tf.zeros((1, 0))))
        np.testing.assert_allclose(warp(images[lane].numpy()), read[lane], atol=1e-2)


@pytest.mark.parametrize("side", [4, 6, 28, 33])
def test_the_grid_is_spread_as_tensorflow_does(side: int) -> None:
    field = np.random.default_rng(0).normal(size=(1, GRID, GRID, 1)).astype(np.float32)
    ours = np.einsum("hi,aijd,wj->ahwd", spread(side), field, spread(9))
    np.testing.assert_allclose(ours, tf.image.resize(field, (side, 9), method="bicubic"), atol=5e-3)


def test_the_length_is_a_root_mean_square() -> None:
    fields = tf.constant(np.full((2, *SPACE.mask_shape), -0.5, np.float32))
    np.testing.assert_allclose(SPACE.norms(fields, "l1"), 0.5, atol=1e-5)


@pytest.mark.slow
def test_the_shortest_warp_is_a_quarter_of_a_pixel_upwards() -> None:
    """Two of six rows of the grid have to move, by 1/4 in one of two directions: .25 * sqrt(1 / 6) = .10; all of it would be .18."""
    status, warp, length = found(2)[1]
    assert status.succeeded
    assert 0.06 < length < 0.2
    np.testing.assert_allclose(warp.places[6, :, 0], 6 - 0.3, atol=0.1)
    assert found(2)[2][0] is Status.NEVER_SUCCEEDED


@pytest.mark.slow
def test_lanes_change_no_result() -> None:
    for label in (1, 2):
        np.testing.assert_allclose(found(1)[label][1].places, found(2)[label][1].places, atol=1e-2)


def test_a_warp_is_one_of_its_own_space() -> None:
    with pytest.raises(TypeError, match="expected a WarpSpace"):
        warp_of(0, TriggerSpace(SHAPE), (tf.zeros((1, 2)), tf.zeros((1, 0))))
