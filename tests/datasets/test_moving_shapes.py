"""Rendered clips: the same bytes for the same seed, and classes that differ in time alone."""

import re
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from nc_tf.datasets.rendered import moving_shapes
from nc_tf.datasets.rendered.moving_shapes import CLASS_NAMES
from nc_tf.errors import InputError

LEFT, RIGHT, UP, DOWN, CLOCKWISE, ANTICLOCKWISE, BOUNCE, PULSE = range(8)


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray]:
    """Gray clips (960, 8, 32, 32) in [0, 1], and their classes."""
    clips, labels = moving_shapes.render(960, seed=3)
    return clips.mean(axis=-1, dtype=np.float32) / 255, labels


def film_of(label: int, count: int = 64, **options: Any) -> np.ndarray:
    """The same clips with another label: gray (count, T, H, W) float32."""
    return moving_shapes.render(count, seed=1, labels=[label] * count, **options)[0].mean(axis=-1, dtype=np.float32)


def motion(clips: np.ndarray) -> np.ndarray:
    """Return the motion right, down, around and outwards, (N, 4, T - 1), by least squares about the middle of the change."""
    change = np.diff(clips, axis=1)
    here = (clips[:, 1:] + clips[:, :-1]) / 2
    down, right = np.gradient(here, axis=(2, 3))
    weight = change**2 / (change**2).sum(axis=(2, 3), keepdims=True)
    place = np.arange(clips.shape[-1], dtype=np.float32)
    x = place - (weight.sum(axis=2) * place).sum(axis=-1)[..., None, None]
    y = place[:, None] - (weight.sum(axis=3) * place).sum(axis=-1)[..., None, None]
    fields = (right, down, x * down - y * right, x * right + y * down)
    return np.stack([-(change * field).sum(axis=(2, 3)) / (field**2).sum(axis=(2, 3)) for field in fields], axis=1)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    clips, labels = moving_shapes.render(70, seed=5)
    again, labels_again = moving_shapes.render(70, seed=5)
    np.testing.assert_array_equal(clips, again)
    np.testing.assert_array_equal(labels, labels_again)
    others, other_labels = moving_shapes.render(70, seed=6)
    assert not np.array_equal(labels, other_labels)
    assert not (clips == others).all(axis=(1, 2, 3, 4)).any()


@pytest.mark.parametrize("fewer", [1, 64, 65])
def test_a_clip_does_not_depend_on_those_after_it(fewer: int) -> None:
    labels = np.arange(130) % 8
    clips, _ = moving_shapes.render(130, seed=2, labels=labels)
    np.testing.assert_array_equal(moving_shapes.render(fewer, seed=2, labels=labels[:fewer])[0], clips[:fewer])


@pytest.mark.parametrize(("num_frames", "size"), [(8, 32), (2, 16), (5, 48)])
def test_clips_are_rgb_bytes_that_use_their_range(num_frames: int, size: int) -> None:
    clips, labels = moving_shapes.render(100, seed=0, num_frames=num_frames, size=size)
    assert (clips.shape, clips.dtype) == ((100, num_frames, size, size, 3), np.uint8)
    assert (labels.shape, labels.dtype) == ((100,), np.int64)
    assert clips.min() < 10
    assert clips.max() > 245
    assert clips.std(axis=(2, 3, 4)).min() > 3, "a frame is flat"


def test_classes_are_balanced_and_shuffled() -> None:
    _, labels = moving_shapes.render(100, seed=0)
    assert set(np.bincount(labels, minlength=8)) == {12, 13}
    assert (np.diff(labels) < 0).any()
    assert len(set(CLASS_NAMES)) == 8


def test_the_first_frame_does_not_depend_on_the_label() -> None:
    first = [film_of(label)[:, 0] for label in range(8)]
    for other in first[1:]:
        np.testing.assert_array_equal(other, first[0])


@pytest.mark.slow
@pytest.mark.parametrize("frame", [3, 7])
def test_no_single_frame_tells_the_class(many: tuple[np.ndarray, np.ndarray], frame: int) -> None:
    clips, labels = many
    pixels = clips[:, frame].reshape(-1, 16, 2, 16, 2).mean(axis=(2, 4)).reshape(len(clips), -1)
    linear = LogisticRegression(C=0.01, max_iter=1000).fit(pixels[:640], labels[:640])
    assert linear.score(pixels[640:], labels[640:]) < 0.2  # chance is .125


@pytest.mark.slow
def test_time_tells_the_class(many: tuple[np.ndarray, np.ndarray]) -> None:
    clips, labels = many
    features = motion(clips).reshape(len(clips), -1)
    forest = RandomForestClassifier(100, random_state=0).fit(features[:640], labels[:640])
    assert forest.score(features[640:], labels[640:]) > 0.7


@pytest.mark.parametrize(
    ("label", "opposite", "direction"), [(RIGHT, LEFT, 0), (DOWN, UP, 1), (CLOCKWISE, ANTICLOCKWISE, 2)], ids=["right", "down", "clockwise"]
)
def test_shapes_move_as_their_class_says(label: int, opposite: int, direction: int) -> None:
    for number, sign in ((label, 1), (opposite, -1)):
        moved = np.median(motion(film_of(number, num_frames=4, size=64)), axis=(0, 2))
        assert sign * moved[direction] > 0
        assert np.abs(moved).argmax() == direction or direction == 2  # turns are radians, steps are pixels


def test_what_bounces_and_pulses_comes_back() -> None:
    bounced, pulsed = motion(film_of(BOUNCE))[:, 1], motion(film_of(PULSE))[:, 3]
    for there in (bounced, pulsed):
        assert ((there > 0).any(axis=1) & (there < 0).any(axis=1)).mean() > 0.9


def test_training_and_test_set_share_no_clip() -> None:
    train, test = moving_shapes.load_data(num_train=80, num_test=40, seed=9)
    assert (train.subset, test.subset) == ("train", "test")
    assert train.class_names == test.class_names == CLASS_NAMES
    assert (train.images.shape, test.images.shape) == ((80, 8, 32, 32, 3), (40, 8, 32, 32, 3))
    assert np.bincount(test.labels).tolist() == [5] * 8
    seen = {clip.tobytes() for clip in train.images}
    assert len(seen) == 80
    assert not seen & {clip.tobytes() for clip in test.images}
    # Nor is the wall of a test clip that of the training clip in its place.
    walls = [np.median(part.images[:40], axis=1).reshape(40, -1) for part in (train, test)]
    assert np.abs(walls[0] - walls[1]).mean(axis=1).min() > 2
    clips, labels = moving_shapes.render(80, seed=9)
    np.testing.assert_array_equal(train.images, clips)
    np.testing.assert_array_equal(train.labels, labels)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_clips": 0, "seed": 0}, "num_clips 0: expected an integer of at least 1"),
        ({"num_clips": 2, "seed": -1}, "seed -1: expected an integer of at least 0"),
        ({"num_clips": 2, "seed": 0, "num_frames": 1}, "num_frames 1: expected an integer of at least 2"),
        ({"num_clips": 2, "seed": 0, "size": 8}, "size 8: expected an integer of at least 16"),
        ({"num_clips": 2, "seed": 0, "labels": [0, 8]}, "label 8: expected 0 to 7"),
        ({"num_clips": 2, "seed": 0, "labels": [0]}, "labels of shape (1,): expected one for each of 2 clips; pass shape (2,)"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        moving_shapes.render(**arguments)
    assert "\n" not in str(caught.value)


def test_load_data_names_its_own_arguments() -> None:
    with pytest.raises(InputError, match="num_test 0"):
        moving_shapes.load_data(num_train=1, num_test=0)
