"""Masks and patterns: the laws of tanh space, of super-pixels and of stamping, for any shape and any values."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nc_tf.errors import InputError
from nc_tf.inversion.trigger_space import EPSILON, TriggerSpace, from_tanh, to_tanh

quick = settings(deadline=None, derandomize=True, max_examples=40)
UNIT = st.floats(0.0, 1.0, width=32)
SHAPES = st.tuples(st.integers(1, 9), st.integers(1, 9), st.sampled_from([1, 3]))


@st.composite
def spaces(draw: st.DrawFn) -> TriggerSpace:
    shape = draw(SHAPES)
    return TriggerSpace(shape, draw(st.integers(1, min(shape[:2]))))


def rng_of(draw_seed: int) -> np.random.Generator:
    return np.random.default_rng(draw_seed)


@quick
@given(hnp.arrays(np.float32, (3, 4), elements=UNIT))
def test_tanh_space_and_back(unit: np.ndarray) -> None:
    z = to_tanh(unit)
    assert z.dtype == np.float32
    assert np.isfinite(z).all()  # 0 and 1 included
    np.testing.assert_allclose(from_tanh(tf.constant(z)), unit, atol=2e-6)


@quick
@given(hnp.arrays(np.float32, 5, elements=st.floats(-1e6, 1e6, width=32)))
def test_every_z_is_within_range(z: np.ndarray) -> None:
    unit = from_tanh(tf.constant(z)).numpy()
    assert (unit >= -EPSILON).all()
    assert (unit <= 1.0 + EPSILON).all()


def test_tanh_space_known_values() -> None:
    """By hand: 0 is in the middle, and 1 lies at arctanh(1 - epsilon / 2) = ln((2 - epsilon / 2) / (epsilon / 2)) / 2."""
    assert to_tanh(np.array(0.5)) == 0.0
    end = 0.5 * np.log((2.0 - EPSILON / 2) / (EPSILON / 2))
    np.testing.assert_allclose(to_tanh(np.array([0.0, 1.0, -7.0, 7.0])), [-end, end, -end, end], rtol=1e-5)
    np.testing.assert_allclose(to_tanh(np.array(0.75), epsilon=0.5), np.arctanh(0.375), rtol=1e-6)


@quick
@given(spaces(), st.integers(0, 999))
def test_a_space_expresses_any_mask_and_pattern(space: TriggerSpace, seed: int) -> None:
    rng = rng_of(seed)
    mask, pattern = rng.integers(0, 2, space.mask_shape).astype(float), rng.uniform(0, 255, space.image_shape)
    z_mask, z_pattern = space.encode(mask, pattern)
    assert z_mask.shape == (*space.mask_shape, 1)
    masks, patterns = space.masks(tf.constant(z_mask[None])), space.patterns(tf.constant(z_pattern[None]))
    step = space.upsample_size
    np.testing.assert_allclose(masks[0, ::step, ::step, 0], mask, atol=2e-6)
    np.testing.assert_allclose(patterns[0], pattern, atol=1e-3)


def test_gradients_lead_to_a_given_image() -> None:
    """The space can fit what it can express: sign descent from the middle reaches a given mask and a given pattern."""
    space = TriggerSpace((4, 4, 3), 2)
    rng = rng_of(7)
    mask, pattern = tf.constant(rng.random((1, 2, 2, 1)), tf.float32), tf.constant(rng.uniform(20, 235, (1, 4, 4, 3)), tf.float32)
    wanted = tf.repeat(tf.repeat(mask, 2, axis=1), 2, axis=2)
    z_mask, z_pattern = tf.zeros([1, 2, 2, 1]), tf.zeros([1, 4, 4, 3])
    for step in range(60):
        with tf.GradientTape() as tape:
            tape.watch([z_mask, z_pattern])
            distance = tf.reduce_sum((space.masks(z_mask) - wanted) ** 2)
            distance += tf.reduce_sum((space.patterns(z_pattern) / 255.0 - pattern / 255.0) ** 2)
        to_mask, to_pattern = tape.gradient(distance, [z_mask, z_pattern])
        z_mask, z_pattern = z_mask - 0.3 * 0.93**step * tf.sign(to_mask), z_pattern - 0.3 * 0.93**step * tf.sign(to_pattern)
    np.testing.assert_allclose(space.masks(z_mask), wanted, atol=0.02)
    np.testing.assert_allclose(space.patterns(z_pattern), pattern, atol=5.0)


@quick
@given(spaces(), st.integers(0, 999))
def test_super_pixels_are_constant_and_cropped(space: TriggerSpace, seed: int) -> None:
    height, width, _ = space.image_shape
    coarse = rng_of(seed).normal(size=(2, *space.mask_shape, 1)).astype(np.float32)
    fine = space.masks(tf.constant(coarse)).numpy()
    assert fine.shape == (2, height, width, 1)
    values = from_tanh(tf.constant(coarse)).numpy()
    for row in range(height):
        for column in range(width):
            np.testing.assert_array_equal(fine[:, row, column], values[:, row // space.upsample_size, column // space.upsample_size])


def test_a_size_that_does_not_divide_is_cropped() -> None:
    space = TriggerSpace((5, 7, 3), 3)
    assert space.mask_shape == (2, 3)
    fine = space.masks(tf.constant(to_tanh(np.arange(6).reshape(1, 2, 3, 1) / 5))).numpy()[0, ..., 0]
    expected = [[0, 0, 0, 1, 1, 1, 2]] * 3 + [[3, 3, 3, 4, 4, 4, 5]] * 2
    np.testing.assert_allclose(fine * 5, expected, atol=1e-5)


@quick
@given(SHAPES, st.integers(0, 999), st.integers(1, 3), st.integers(1, 3))
def test_stamping_laws(shape: tuple[int, int, int], seed: int, restarts: int, batch: int) -> None:
    space, rng = TriggerSpace(shape), rng_of(seed)
    first, second = (rng.uniform(0, 255, (restarts, batch, *shape)).astype(np.float32) for _ in range(2))
    masks = rng.random((restarts, *shape[:2], 1)).astype(np.float32)
    patterns = rng.uniform(0, 255, (restarts, *shape)).astype(np.float32)

    nothing, everything = np.zeros_like(masks), np.ones_like(masks)
    np.testing.assert_array_equal(space.stamp(first, nothing, patterns), first)
    np.testing.assert_array_equal(space.stamp(first, everything, patterns), np.repeat(patterns[:, None], batch, axis=1))

    stamped = np.asarray(space.stamp(first, masks, patterns))
    assert stamped.min() >= -1e-4
    assert stamped.max() <= 255.0 + 1e-4
    halfway = np.asarray(space.stamp((first + second) / 2, masks, patterns))
    np.testing.assert_allclose(halfway, (stamped + np.asarray(space.stamp(second, masks, patterns))) / 2, atol=1e-3)
    np.testing.assert_allclose(space.stamp(stamped, nothing, patterns), stamped)
    for restart in range(restarts):  # each restart has its own stamp: alone it is the same, pixel by pixel
        own = first[restart] * (1 - masks[restart]) + masks[restart] * patterns[restart]
        np.testing.assert_allclose(stamped[restart], own, rtol=1e-6, atol=1e-4)


def test_the_random_start_is_the_originals() -> None:
    space = TriggerSpace((20, 30, 3), 2)
    mask, pattern = space.random(np.random.default_rng(1))
    assert (mask.shape, pattern.shape) == ((10, 15), (20, 30, 3))
    assert 0 <= mask.min() < 0.05 < 0.95 < mask.max() <= 1
    assert 0 <= pattern.min() < 5 < 250 < pattern.max() <= 255
    again = space.random(np.random.default_rng(1))
    np.testing.assert_array_equal(again[0], mask)
    np.testing.assert_array_equal(again[1], pattern)


def test_the_first_grey_start_hides_little_and_gives_no_place_or_colour_a_lead() -> None:
    space = TriggerSpace((20, 30, 3), 2)
    mask, pattern = space.grey(np.random.default_rng(1))
    assert (mask.shape, pattern.shape) == ((10, 15), (20, 30, 3))
    assert mask.mean() == pytest.approx(np.tanh(-1.5) / 2 + 0.5, abs=0.002)  # .047
    assert 0.02 < mask.min() < mask.max() < 0.09
    np.testing.assert_array_equal(pattern, np.full((20, 30, 3), 127.5))
    again, other = (space.grey(np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(again[0], mask)
    assert not np.array_equal(other[0], mask), "several starts of a kind would be one"
    # It is a start like any other: the space encodes it without clipping.
    z_mask, _ = space.encode(mask, pattern)
    np.testing.assert_allclose(z_mask[..., 0], np.arctanh((mask - 0.5) * 2), rtol=1e-4)


@pytest.mark.parametrize(("shape", "upsample"), [((32, 32, 3), 1), ((20, 30, 1), 1), ((32, 32, 3), 4), ((2, 5, 3), 1), ((1, 1, 1), 1)])
def test_the_second_and_third_grey_start_share_the_image(shape: tuple[int, int, int], upsample: int) -> None:
    space = TriggerSpace(shape, upsample)
    everywhere, border, middle = (space.grey(np.random.default_rng(0), number)[0] for number in (3, 1, 2))
    assert everywhere.max() < 0.1, "every third begins everywhere"
    assert ((border > 0.2) ^ (middle > 0.2)).all(), "a place belongs to one of them"
    assert border[border < 0.2].max(initial=0.0) < 0.03
    assert middle[middle < 0.2].max(initial=0.0) < 0.03


def test_the_border_is_a_quarter_of_the_image_wide() -> None:
    border, middle = (TriggerSpace((32, 40, 3)).grey(np.random.default_rng(0), number)[0] for number in (1, 2))
    assert (middle[8:24, 10:30] > 0.2).all()
    assert (middle > 0.2).sum() == 16 * 20
    assert (border[:8] > 0.2).all()


@pytest.mark.parametrize("size", [0, -1, 5])
def test_an_upsample_size_outside_of_the_image_is_refused(size: int) -> None:
    with pytest.raises(InputError, match=rf"upsample size {size}: expected 1 to 4"):
        TriggerSpace((4, 9, 3), size)


@pytest.mark.parametrize(("mask", "pattern"), [((4, 4), (4, 4, 3)), ((2, 2), (4, 4, 1)), ((2, 2, 1), (4, 4, 3))])
def test_a_start_of_another_shape_is_refused(mask: tuple[int, ...], pattern: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"expected \(2, 2\) and \(4, 4, 3\)"):
        TriggerSpace((4, 4, 3), 2).encode(np.zeros(mask), np.zeros(pattern))
