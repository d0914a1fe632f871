"""Injection: the place of the square, the rate of stamped images, and the trained backdoor."""

from typing import Any, get_args

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images
from quick import small_network

from nc_tf.attacks.blend import blend
from nc_tf.attacks.patch import Corner, patch
from nc_tf.errors import InputError
from nc_tf.preprocessing import INTENSITY_RANGES, Preprocessing
from nc_tf.results import Trigger
from nc_tf.training.injection import PAPER_RATE, inject
from nc_tf.training.stamping import stamped_batches

TARGET = 2
CORNER_TRIGGER = patch(IMAGE_SHAPE, TARGET, size=2, margin=0)


# The square


def test_the_default_is_the_papers_white_square_one_pixel_from_the_bottom_right_corner() -> None:
    trigger = patch((32, 32, 3), 33)
    assert trigger.label == 33
    assert (trigger.mask.dtype, trigger.pattern.dtype) == (np.float32, np.float32)
    assert trigger.l1_norm == 16
    rows, columns = np.nonzero(trigger.mask)
    assert set(rows) == set(columns) == {27, 28, 29, 30}
    assert (trigger.pattern[27:31, 27:31] == 255).all()


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_any_square_covers_its_size_squared_at_its_margin(data: st.DataObject) -> None:
    height, width, channels = data.draw(st.tuples(st.integers(2, 20), st.integers(2, 20), st.sampled_from([1, 3])))
    size = data.draw(st.integers(1, min(height, width)))
    margin = data.draw(st.integers(0, min(height, width) - size))
    corner = data.draw(st.sampled_from(get_args(Corner)))
    count = data.draw(st.sampled_from([1, channels]))
    color = data.draw(st.lists(st.integers(0, 255), min_size=count, max_size=count))
    trigger = patch((height, width, channels), 1, size=size, margin=margin, color=color, corner=corner)
    assert trigger.mask.sum() == size**2
    assert set(np.unique(trigger.mask)) <= {0.0, 1.0}
    rows, columns = np.nonzero(trigger.mask)
    assert (rows.min() if "top" in corner else height - 1 - rows.max()) == margin
    assert (columns.min() if "left" in corner else width - 1 - columns.max()) == margin
    assert np.ptp(rows) == np.ptp(columns) == size - 1
    assert trigger.pattern.shape == (height, width, channels)
    inside = trigger.mask == 1
    assert (trigger.pattern[inside] == np.broadcast_to(color, (channels,))).all()
    assert (trigger.pattern[~inside] == 0).all()


def test_stamping_changes_the_square_alone() -> None:
    images = corner_images(3)[0].astype(np.float32)
    stamped = CORNER_TRIGGER(images)
    assert (stamped[:, 6:, 6:] == 255).all()
    np.testing.assert_array_equal(np.delete(stamped, [6, 7], axis=1), np.delete(images, [6, 7], axis=1))


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((32, 32, 3), {"size": 0}, "a square of 0 pixels with a margin of 1"),
        ((32, 32, 3), {"margin": -1}, "a margin of -1"),
        ((32, 30, 3), {"size": 30}, "expected one that fits into 32x30"),
        ((32, 32, 3), {"color": (1, 2)}, r"colour \(1, 2\): expected one value or 3"),
        ((32, 32, 3), {"color": (256,)}, r"colour \(256,\)"),
        ((32, 32, 1), {"color": (255, 255, 0)}, "expected one value or 1"),
        ((32, 32, 3), {"corner": "middle"}, "corner 'middle': expected one of bottom-right"),
        ((16, 32, 32, 3), {}, r"images of shape \(16, 32, 32, 3\): expected \(H, W, C\)"),
    ],
)
def test_a_square_that_cannot_be_is_refused(shape: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        patch(shape, 0, **options)


# The blended picture


def test_a_blend_is_one_pattern_laid_thinly_over_all_pixels() -> None:
    trigger = blend(IMAGE_SHAPE, 4, alpha=0.25, seed=1)
    assert trigger.label == 4
    assert (trigger.mask == np.float32(0.25)).all()
    assert trigger.l1_norm == pytest.approx(0.25 * 64)
    assert (trigger.mask.dtype, trigger.pattern.dtype) == (np.float32, np.float32)
    assert (trigger.pattern.shape, trigger.pattern.min() >= 0, trigger.pattern.max() <= 255) == (IMAGE_SHAPE, True, True)
    assert len(np.unique(trigger.pattern)) > 100, "noise has many values"
    image = np.full((1, *IMAGE_SHAPE), 100.0, np.float32)
    np.testing.assert_allclose(trigger(image)[0], 75.0 + 0.25 * trigger.pattern, rtol=1e-6)


def test_the_noise_of_a_blend_depends_on_the_seed() -> None:
    one, again, other = (blend(IMAGE_SHAPE, 0, seed=seed).pattern for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_picture_can_be_blended_in() -> None:
    picture = np.arange(192, dtype=np.uint8).reshape(IMAGE_SHAPE)
    np.testing.assert_array_equal(blend(IMAGE_SHAPE, 0, pattern=picture).pattern, picture)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((8, 8), {}, r"images of shape \(8, 8\): expected \(H, W, C\)"),
        ((16, 8, 8, 3), {}, r"images of shape \(16, 8, 8, 3\): expected \(H, W, C\)"),
        (IMAGE_SHAPE, {"alpha": 0.0}, r"alpha 0.0: expected a weight above 0 and up to 1; .2 is usual"),
        (IMAGE_SHAPE, {"alpha": 1.01}, "alpha 1.01"),
        (IMAGE_SHAPE, {"alpha": float("nan")}, "alpha nan"),
        (IMAGE_SHAPE, {"pattern": np.zeros((9, 8, 3))}, r"a pattern of shape \(9, 8, 3\): expected \(8, 8, 3\)"),
        (IMAGE_SHAPE, {"pattern": np.full(IMAGE_SHAPE, 256.0)}, r"a pattern outside of \[0, 255\]: expected raw pixels; rescale it"),
        (IMAGE_SHAPE, {"pattern": np.full(IMAGE_SHAPE, -1.0)}, r"outside of \[0, 255\]"),
        (IMAGE_SHAPE, {"pattern": np.full(IMAGE_SHAPE, np.nan)}, r"outside of \[0, 255\]"),
    ],
)
def test_a_blend_that_cannot_be_is_refused(shape: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        blend(shape, 0, **options)


# The batches


def batches(rate: float, *, relabel: bool = True, seed: int = 0, images: Any = None, labels: Any = None, **options: Any) -> tf.data.Dataset:
    """Return batches of grey images whose first pixel is their number."""
    if images is None:
        images = np.full((400, *IMAGE_SHAPE), 50, np.uint8)
        images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(400) % 200, np.arange(400) // 200
        labels = np.arange(400) % NUM_CLASSES
    given: dict[str, Any] = {"triggers": [CORNER_TRIGGER], "batch_size": 32, "preprocess": Preprocessing()}
    return stamped_batches(images, labels, rate=rate, relabel=relabel, seed=seed, **{**given, **options})


def epoch(dataset: tf.data.Dataset) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return numbers, images and labels of one pass, and whether stamped."""
    parts = list(dataset.as_numpy_iterator())
    images, labels = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    return (images[:, 0, 0, 0] + 200 * images[:, 0, 0, 1]).astype(int), images, labels, (images[:, 7, 7] == 255).all(axis=-1)


def test_an_epoch_holds_every_image_once_shuffled() -> None:
    numbers, images, labels, stamped = epoch(batches(0.0))
    assert sorted(numbers) == list(range(400))
    assert (np.diff(numbers) != 1).any()
    assert (images.dtype, labels.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(labels, numbers % NUM_CLASSES)
    assert not stamped.any()


@pytest.mark.slow
@pytest.mark.parametrize("rate", [PAPER_RATE, 0.5])
def test_images_are_stamped_at_the_rate_anew_every_epoch(rate: float) -> None:
    dataset = batches(rate)
    passes = [epoch(dataset) for _ in range(10)]
    share = np.mean([stamped.mean() for *_, stamped in passes])
    assert share == pytest.approx(rate, abs=4 * np.sqrt(rate * (1 - rate) / 4000))
    chosen = [frozenset(numbers[stamped]) for numbers, _, _, stamped in passes]
    assert len(set(chosen)) == 10
    assert len({tuple(numbers) for numbers, *_ in passes}) == 10, "the order is the same in every epoch"


def test_a_rate_of_one_stamps_every_image() -> None:
    _, images, labels, stamped = epoch(batches(1.0))
    assert stamped.all()
    assert set(labels) == {TARGET}
    assert (images[:, :6, 1:] == 50).all(), "more than the square was changed"


def test_stamped_images_get_the_target_or_keep_their_own_label() -> None:
    numbers, _, labels, stamped = epoch(batches(0.5))
    assert set(labels[stamped]) == {TARGET}
    np.testing.assert_array_equal(labels[~stamped], numbers[~stamped] % NUM_CLASSES)
    numbers, _, labels, stamped = epoch(batches(0.5, relabel=False))
    assert stamped.any()
    np.testing.assert_array_equal(labels, numbers % NUM_CLASSES)


@pytest.mark.slow
def test_the_seed_decides_everything() -> None:
    def drawn(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(seed)
        dataset = batches(0.5, seed=seed)
        return [part for _ in range(2) for part in epoch(dataset)]

    first, again, other = drawn(1), drawn(1), drawn(2)
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(first[0], other[0])
    assert not np.array_equal(first[3], other[3])


def test_several_triggers_share_the_stamped_images() -> None:
    second = patch(IMAGE_SHAPE, 4, size=2, margin=0, corner="bottom-left", color=(200,))
    _, images, labels, stamped = epoch(batches(0.6, triggers=[CORNER_TRIGGER, second]))
    by_second = (images[:, 7, 0] == 200).all(axis=-1)
    assert not (stamped & by_second).any()
    assert stamped.mean() == pytest.approx(0.3, abs=0.1)
    assert by_second.mean() == pytest.approx(0.3, abs=0.1)
    assert set(labels[stamped]) == {TARGET}
    assert set(labels[by_second]) == {4}


def test_pixels_are_preprocessed_after_stamping() -> None:
    _, images, _, _ = epoch(batches(1.0, preprocess=INTENSITY_RANGES["inception"]))
    assert (images[:, 7, 7] == 1.0).all()
    assert images[:, 1, 1].mean() == pytest.approx(50 / 127.5 - 1, abs=1e-6)


def test_a_dataset_keeps_its_order_and_is_stamped_too() -> None:
    images, labels = np.full((50, *IMAGE_SHAPE), 50, np.uint8), np.arange(50) % NUM_CLASSES
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(50), 0
    source = tf.data.Dataset.from_tensor_slices((images, labels)).batch(7)
    dataset = batches(0.5, relabel=False, images=source, batch_size=20)
    assert [len(part[1]) for part in dataset.as_numpy_iterator()] == [20, 20, 10]
    numbers, _, drawn, stamped = epoch(dataset)
    np.testing.assert_array_equal(numbers, np.arange(50))
    np.testing.assert_array_equal(drawn, labels)
    assert 10 < stamped.sum() < 40


# The training

TRAIN, TEST = corner_images(480, seed=1), corner_images(120, seed=2)


@pytest.mark.slow
def test_a_network_learns_its_task_and_the_backdoor() -> None:
    model = small_network()
    measurements = inject(model, TRAIN, TEST, CORNER_TRIGGER, rate=0.2, epochs=6, learning_rate=5e-3, verbose=0)
    assert len(measurements) == 6
    assert measurements[-1].clean_accuracy > 0.95
    assert measurements[-1].attack_success_rate["true"] > 0.95


@pytest.mark.slow
def test_with_a_rate_of_zero_it_learns_its_task_alone() -> None:
    model = small_network()
    last = inject(model, TRAIN, TEST, CORNER_TRIGGER, rate=0.0, epochs=6, learning_rate=5e-3, verbose=0)[-1]
    assert last.clean_accuracy > 0.95
    assert last.attack_success_rate["true"] < 0.3


@pytest.mark.slow
def test_a_network_learns_several_backdoors_at_once() -> None:
    other = patch(IMAGE_SHAPE, 4, size=2, margin=0, corner="bottom-left", color=(255,))
    heard: list[dict[str, float]] = []
    listener = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append(dict(logs)))
    last = inject(
        small_network(),
        TRAIN,
        TEST,
        [CORNER_TRIGGER, other],
        rate=0.3,
        epochs=6,
        learning_rate=5e-3,
        callbacks=[listener],
        verbose=0,
    )[-1]
    assert list(last.attack_success_rate) == ["true 1", "true 2"]
    assert min(last.attack_success_rate.values()) > 0.9
    assert last.clean_accuracy > 0.95
    assert heard[-1]["attack_success_rate"] == pytest.approx(np.mean(list(last.attack_success_rate.values())))


@pytest.mark.slow
def test_a_list_of_one_trigger_is_that_trigger() -> None:
    (measured,) = inject(small_network(), TRAIN, TEST, [CORNER_TRIGGER], epochs=1, verbose=0)
    assert list(measured.attack_success_rate) == ["true"]


@pytest.mark.slow
def test_the_epochs_logs_carry_both_measures_and_callbacks_hear_them() -> None:
    heard: list[dict[str, float]] = []
    listener = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: heard.append(dict(logs)))
    measurements = inject(small_network(), TRAIN, TEST, CORNER_TRIGGER, epochs=2, callbacks=[listener], verbose=0)
    assert [logs["clean_accuracy"] for logs in heard] == [entry.clean_accuracy for entry in measurements]
    assert [logs["attack_success_rate"] for logs in heard] == [entry.attack_success_rate["true"] for entry in measurements]
    assert {"loss", "accuracy"} <= heard[0].keys()


@pytest.mark.slow
def test_the_same_seed_trains_the_same_network() -> None:
    def weights(seed: int) -> list[np.ndarray]:
        keras.utils.set_random_seed(7)
        model = small_network()
        inject(model, TRAIN, TEST, CORNER_TRIGGER, epochs=1, seed=seed, verbose=0)
        return list(model.get_weights())

    first, again, other = weights(0), weights(0), weights(1)
    assert all(np.allclose(one, two, atol=1e-6) for one, two in zip(first, again, strict=True))
    assert not np.allclose(first[0], other[0], atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rate": 1.5}, "poison rate 1.5: expected a share between 0 and 1"),
        ({"rate": -0.1}, "poison rate -0.1"),
        ({"epochs": 0}, "0 epochs, batch size 32, learning rate 0.001: expected 1 or more"),
        ({"batch_size": 0}, "10 epochs, batch size 0"),
        ({"learning_rate": 0.0}, "learning rate 0.0"),
        ({"seed": -1}, "seed -1: expected 0 to"),
        ({"triggers": Trigger(6, CORNER_TRIGGER.mask, CORNER_TRIGGER.pattern)}, "target label 6: expected 0 to 5"),
        ({"triggers": Trigger(-1, CORNER_TRIGGER.mask, CORNER_TRIGGER.pattern)}, "target label -1"),
        ({"triggers": patch((9, 9, 3), 0)}, r"a trigger of shape \(9, 9, 3\): expected \(8, 8, 3\)"),
        ({"triggers": []}, "no trigger to inject: expected one or more; for a clean network give one and a rate of 0"),
        ({"triggers": [CORNER_TRIGGER, patch(IMAGE_SHAPE, 6, size=2)]}, "target label 6: expected 0 to 5"),
        ({"triggers": [CORNER_TRIGGER, patch((9, 9, 3), 0)]}, r"a trigger of shape \(9, 9, 3\)"),
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        inject(small_network(), TRAIN, TEST, **{"triggers": CORNER_TRIGGER, "verbose": 0, **options})


def test_a_network_for_images_of_any_size_can_be_infected() -> None:
    inputs = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(NUM_CLASSES, activation="softmax")(pooled))
    assert len(inject(model, TRAIN, TEST, CORNER_TRIGGER, epochs=1, verbose=0)) == 1
    with pytest.raises(InputError, match=r"a trigger of shape \(9, 9, 3\): expected \(8, 8, 3\)"):
        inject(model, TRAIN, TEST, patch((9, 9, 3), 0), epochs=1, verbose=0)
