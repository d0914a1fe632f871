"""The search for a warp, on a network whose shortest one is known on paper."""

import numpy as np
import pytest
import tensorflow as tf

from nc_tf.inversion.warp import Warps, WarpSearch, WarpSettings, lengths_of, warped

SHAPE = (12, 10, 1)
QUICK = WarpSettings(grid=3, rounds=12, batch_size=8)


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


def found(lanes: int) -> Warps:
    return WarpSearch(network, QUICK).search(white_row(24), np.zeros(24, int), [1, 2], lanes=lanes)


@pytest.mark.parametrize(("displacement", "rows"), [(0.0, slice(0, 10)), (1.0, slice(1, 11))])
def test_pixels_are_read_from_their_places(displacement: float, rows: slice) -> None:
    images = tf.random.stateless_uniform((1, 2, *SHAPE), (0, 0), 0.0, 255.0)
    field = np.zeros((1, 3, 3, 2), np.float32)
    field[..., 0] = displacement
    read = warped(images, tf.constant(field))
    np.testing.assert_allclose(read[:, :, :10, :9], images[:, :, rows, :9], atol=0.3)


def test_the_length_is_a_root_mean_square() -> None:
    np.testing.assert_allclose(lengths_of(tf.constant(np.full((2, 3, 3, 2), -0.5, np.float32))), 0.5, atol=1e-5)


def test_the_shortest_warp_is_a_quarter_of_a_pixel_upwards() -> None:
    """Only the middle row of the grid has to move, by 1/4 in one of two directions: .25 * sqrt(1 / 6) = .10; all of it would be .18."""
    warps = found(2)
    assert warps.worked.tolist() == [True, False]
    assert 0.08 < warps.lengths[0] < 0.2
    assert warps.fields[0, 1, :, 0].mean() < -0.15


def test_lanes_change_no_result() -> None:
    np.testing.assert_allclose(found(1).fields[0], found(2).fields[0], atol=1e-3)
