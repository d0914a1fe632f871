"""Attacks: changed pixels, on arrays and in a graph, and the labels that each goal wants."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images
from quick import small_network

from nc_tf.attacks.additive import Additive
from nc_tf.attacks.backdoor_file import load_backdoor, save_backdoor
from nc_tf.attacks.corners import corners
from nc_tf.attacks.goals import AllToAll, CleanLabel, Cover, SourceSpecific
from nc_tf.attacks.patch import patch
from nc_tf.attacks.poison_types import POISON_TYPES
from nc_tf.attacks.sig import sig
from nc_tf.attacks.trojan import trojan
from nc_tf.attacks.warp import Warp, warp
from nc_tf.errors import InputError
from nc_tf.evaluation import measure
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor
from nc_tf.storage.trigger_file import load_trigger
from nc_tf.training.injection import inject
from nc_tf.training.stamping import stamped_batches

SHAPE = (32, 32, 3)
CLASSES = np.arange(NUM_CLASSES)
EVERY: dict[str, Backdoor] = {
    "checkerboard": patch(SHAPE, 1, size=3, checkerboard=True, alpha=0.6),
    "corners": corners(SHAPE, 1),
    "sig": sig(SHAPE, 1),
    "trojan": trojan(SHAPE, 1),
    "warp": warp(SHAPE, 1, strength=3.0),
}


def some_images(seed: int = 0, n: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, (n, *SHAPE)).astype(np.float32)


# The pixels


@pytest.mark.parametrize("name", EVERY)
def test_arrays_and_tensors_get_the_same_pixels_within_their_range(name: str) -> None:
    images = some_images()
    changed, in_graph = EVERY[name](images), tf.function(EVERY[name])(tf.constant(images))
    assert changed.shape == images.shape
    assert EVERY[name].image_shape == SHAPE
    assert in_graph.dtype == tf.float32
    np.testing.assert_allclose(changed, in_graph.numpy(), atol=1e-3)
    assert (changed >= 0).all()
    assert (changed <= 255).all()
    assert not np.allclose(changed, images)


def test_a_checkerboard_is_black_at_every_other_pixel() -> None:
    stamped = patch(SHAPE, 1, size=3, margin=0, checkerboard=True)(np.full((1, *SHAPE), 100.0, np.float32))[0, :, :, 0]
    np.testing.assert_array_equal(stamped[29:, 29:], [[255, 0, 255], [0, 255, 0], [255, 0, 255]])
    assert (stamped[:29] == 100).all()


def test_a_weight_lets_the_image_through() -> None:
    stamped = patch(SHAPE, 1, size=2, alpha=0.6)(np.full((1, *SHAPE), 100.0, np.float32))
    np.testing.assert_allclose(stamped[0, 29:31, 29:31], 0.4 * 100 + 0.6 * 255, rtol=1e-6)


def test_corners_are_four_checkerboards() -> None:
    trigger = corners(SHAPE, 1, size=3)
    assert trigger.l1_norm == 4 * 9
    for rows in (slice(0, 3), slice(29, 32)):
        for columns in (slice(0, 3), slice(29, 32)):
            np.testing.assert_array_equal(trigger.pattern[rows, columns, 0], [[255, 0, 255], [0, 255, 0], [255, 0, 255]])


@pytest.mark.slow
@given(amplitude=st.floats(1, 60), frequency=st.integers(1, 15))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_stripes_are_a_sine_along_every_row(amplitude: float, frequency: int) -> None:
    change = sig(SHAPE, 1, amplitude=amplitude, frequency=frequency).change
    spectrum = np.abs(np.fft.rfft(change[5, :, 1]))
    assert spectrum.argmax() == frequency
    assert spectrum[frequency] == pytest.approx(amplitude * 32 / 2, rel=1e-4)
    assert (change == change[:1, :, :1]).all()


def test_an_additive_trigger_is_clipped_and_leaves_the_rest() -> None:
    trigger = trojan(SHAPE, 1)
    stamped = trigger(np.full((1, *SHAPE), 200.0, np.float32))[0]
    np.testing.assert_array_equal(stamped[25:28, 25:28], np.minimum(200 + trigger.change[25:28, 25:28], 255))
    assert (stamped[25:28, 25:28] == 255).any()
    stamped[25:28, 25:28] = 200.0
    assert (stamped == 200).all()
    np.testing.assert_array_equal(trigger.change, trojan(SHAPE, 1).change)
    assert not np.array_equal(trigger.change, trojan(SHAPE, 1, seed=1).change)


def test_a_warp_reads_between_four_neighbours() -> None:
    rows, columns = np.mgrid[:4, :5].astype(np.float32)
    places = np.stack([rows, np.minimum(columns + 0.25, 4)], axis=-1)
    image = np.arange(20, dtype=np.float32).reshape(1, 4, 5, 1)
    moved = Warp(0, places, 1)(image)[0, :, :, 0]
    np.testing.assert_allclose(moved[:, :4], image[0, :, :4, 0] + 0.25)
    np.testing.assert_allclose(moved[:, 4], image[0, :, 4, 0])


@given(seed=st.integers(0, 1000), strength=st.floats(0.1, 20), grid=st.integers(2, 8))
@settings(max_examples=30, deadline=None, derandomize=True)
def test_a_warp_neither_leaves_the_image_nor_changes_a_plain_one(seed: int, strength: float, grid: int) -> None:
    trigger = warp(SHAPE, 1, seed=seed, strength=strength, grid=grid)
    assert trigger.places.min() >= 0
    assert trigger.places.max() <= 31
    np.testing.assert_allclose(trigger(np.full((1, *SHAPE), 77.0, np.float32)), 77.0, rtol=1e-5)


def test_a_warp_moves_as_far_as_it_is_strong() -> None:
    moves = [np.abs(warp(SHAPE, 1, strength=strength).places - np.moveaxis(np.mgrid[:32, :32], 0, -1)).mean() for strength in (0.5, 1.0)]
    assert moves[1] == pytest.approx(2 * moves[0], rel=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: patch(SHAPE, 1, alpha=0.0), "alpha 0.0: expected a weight above 0"),
        (lambda: sig(SHAPE, 1, amplitude=0.0), "amplitude 0.0, frequency 6: expected above 0 and up to 255, and 1 to 15"),
        (lambda: sig(SHAPE, 1, frequency=16), "frequency 16"),
        (lambda: sig((16, *SHAPE), 1), r"images of shape \(16, 32, 32, 3\): expected \(H, W, C\)"),  # type: ignore[arg-type]
        (lambda: warp(SHAPE, 1, grid=1), "a grid of 1 with strength 0.5 for 32x32: expected 2 or more"),
        (lambda: warp(SHAPE, 1, strength=0.0), "strength 0.0"),
        (lambda: warp((1, 32, 3), 1), "for 1x32"),
        (lambda: Additive(1, np.zeros((4, 4))), r"a change of shape \(4, 4\): expected \(H, W, C\)"),
        (lambda: Additive(1, np.full(SHAPE, np.nan)), r"values in \[-255, 255\]"),
        (lambda: SourceSpecific(patch(SHAPE, 1), ()), "a source-specific backdoor without a source"),
    ],
)
def test_an_attack_that_cannot_be_is_refused(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


# Goals

SQUARE = patch(IMAGE_SHAPE, 2, size=2, margin=0)


def test_every_goal_says_whom_it_wants_taken_for_whom() -> None:
    assert list(SQUARE.wanted(CLASSES)) == [2] * 6
    assert list(AllToAll(SQUARE, 6).wanted(CLASSES)) == [1, 2, 3, 4, 5, 0]
    assert list(SourceSpecific(SQUARE, (0, 5)).wanted(CLASSES)) == [2, 1, 2, 3, 4, 2]
    assert list(CleanLabel(SQUARE).wanted(CLASSES)) == [2] * 6
    assert list(Cover(SQUARE).wanted(CLASSES)) == list(CLASSES)
    assert list(CleanLabel(SQUARE).carriers(CLASSES)) == [False, False, True, False, False, False]
    for everyone in (SQUARE, AllToAll(SQUARE, 6), SourceSpecific(SQUARE, (0,)), Cover(SQUARE)):
        assert everyone.carriers(CLASSES).all()


def taught(*backdoors: Backdoor, rate: float = 0.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return own labels, labels taught, and whether stamped, over one epoch."""
    labels = np.arange(300) % NUM_CLASSES
    images = np.zeros((300, *IMAGE_SHAPE), np.uint8)
    images[:, 0, 0, 0] = labels
    options: dict[str, Any] = {"rate": rate, "relabel": True, "batch_size": 50, "seed": 0, "preprocess": Preprocessing()}
    parts = list(stamped_batches(images, labels, list(backdoors), **options).as_numpy_iterator())
    drawn, given_labels = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    return drawn[:, 0, 0, 0].astype(int), given_labels, drawn[:, 7, 7, 0] == 255


@pytest.mark.parametrize("goal", [AllToAll(SQUARE, 6), SourceSpecific(SQUARE, (0, 5)), CleanLabel(SQUARE), Cover(SQUARE)])
def test_batches_teach_what_is_wanted_on_carriers_alone(goal: Backdoor) -> None:
    own, labels, stamped = taught(goal)
    assert stamped.any()
    assert goal.carriers(own[stamped]).all()
    np.testing.assert_array_equal(labels[stamped], goal.wanted(own[stamped]))
    np.testing.assert_array_equal(labels[~stamped], own[~stamped])


TRAIN, TEST = corner_images(480, seed=1), corner_images(120, seed=2)


@pytest.mark.slow
def test_attack_success_and_robust_accuracy_are_measured_on_the_victims() -> None:
    model, goals = small_network(), {"all": AllToAll(SQUARE, 6), "some": SourceSpecific(SQUARE, (0, 5))}
    measurements = inject(model, TRAIN, TEST, goals["all"], rate=0.4, epochs=8, learning_rate=5e-3, verbose=0)
    assert measurements[-1].attack_success_rate["true"] > 0.9
    assert measurements[-1].robust_accuracy["true"] < 0.05
    measured = measure(model, *TEST, goals)
    assert measured.attack_success_rate["all"] == measurements[-1].attack_success_rate["true"]
    # 0 and 5 are sent to 1 and 0, never to 2.
    assert measured.attack_success_rate["some"] < 0.05


@pytest.mark.slow
def test_covers_are_taught_and_not_measured() -> None:
    (measured,) = inject(small_network(), TRAIN, TEST, [SQUARE, Cover(patch(IMAGE_SHAPE, 0, size=2))], epochs=1, verbose=0)
    assert list(measured.attack_success_rate) == ["true"]
    with pytest.raises(InputError, match="no class that a trigger would send to another: expected one or more; check sources and target"):
        inject(small_network(), TRAIN, TEST, Cover(SQUARE), epochs=1, verbose=0)


@pytest.mark.slow
def test_a_source_specific_backdoor_leaves_other_classes_alone() -> None:
    model, goal = small_network(), SourceSpecific(SQUARE, (0, 1))
    last = inject(model, TRAIN, TEST, goal, rate=0.4, epochs=10, learning_rate=5e-3, verbose=0)[-1]
    assert last.attack_success_rate["true"] > 0.9
    others = SourceSpecific(SQUARE, (3, 4, 5))
    assert measure(model, *TEST, {"others": others}).attack_success_rate["others"] < 0.1


# On disk


def same_pixels(one: Backdoor, other: Backdoor) -> None:
    images, labels = some_images(3), CLASSES
    np.testing.assert_array_equal(one(images), other(images))
    np.testing.assert_array_equal(one.wanted(labels), other.wanted(labels))
    np.testing.assert_array_equal(one.carriers(labels), other.carriers(labels))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("goal", [None, CleanLabel, lambda trigger: AllToAll(trigger, 6), lambda trigger: SourceSpecific(trigger, (0, 5))])
def test_a_backdoor_comes_back(tmp_path: Path, name: str, goal: Any) -> None:
    backdoor = goal(EVERY[name]) if goal else EVERY[name]
    save_backdoor(tmp_path / "b.npz", backdoor)
    again = load_backdoor(tmp_path / "b.npz")
    assert type(again) is type(backdoor)
    same_pixels(again, backdoor)


def test_a_plain_trigger_is_written_as_scans_write_theirs(tmp_path: Path) -> None:
    save_backdoor(tmp_path / "t.npz", SQUARE)
    assert load_trigger(tmp_path / "t.npz")[0].l1_norm == 4


@pytest.mark.parametrize(
    "broken",
    [
        {"pixels": "Lambda"},
        {"pixels": "Additive", "pixels_label": 1},
        {"pixels": "Additive", "pixels_label": 1, "pixels_change": 3.0},
        {"pixels": "Additive", "pixels_label": 1, "pixels_change": np.zeros(SHAPE), "goal": "Cover"},
    ],
)
def test_a_broken_backdoor_file(tmp_path: Path, broken: dict[str, Any]) -> None:
    np.savez(tmp_path / "b.npz", **broken)
    with pytest.raises(InputError, match=r"b\.npz cannot be read .*: expected a backdoor that nc-tf inject wrote; make it again"):
        load_backdoor(tmp_path / "b.npz")


def test_a_missing_backdoor_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz is missing: expected a trigger file"):
        load_backdoor(tmp_path / "none.npz")


@pytest.mark.parametrize("kind", [Cover(SQUARE), CleanLabel(AllToAll(SQUARE, 6))])
def test_a_backdoor_that_could_not_be_read_again_is_not_written(tmp_path: Path, kind: Backdoor) -> None:
    with pytest.raises(InputError, match=r"a backdoor of (Cover|AllToAll): expected Trigger, Additive, Warp, AllToAll"):
        save_backdoor(tmp_path / "b.npz", kind)
    assert not list(tmp_path.iterdir())


def test_places_outside_of_the_image_are_refused() -> None:
    with pytest.raises(InputError, match=r"places to read from of shape \(4, 4, 2\): expected \(H, W, 2\), all of them within the image"):
        Warp(0, np.full((4, 4, 2), 3.5, np.float32), 1)


# By their published names


@pytest.mark.parametrize("name", POISON_TYPES)
def test_every_published_type_can_be_planted(name: str) -> None:
    backdoor, *covers = POISON_TYPES[name](SHAPE, 1, 0)
    assert list(backdoor.wanted(CLASSES)) == [1] * 6
    assert len(covers) == (2 if name == "WaNet" else 0)
    assert backdoor.carriers(CLASSES).sum() == (1 if name in ("SIG", "CLB") else 6)
    images = some_images()
    assert 0 < np.abs(backdoor(images) - images).mean() < 60
    for cover in covers:
        assert not np.allclose(cover(images), backdoor(images))
