"""Rendered traffic signs: the same bytes for the same seed, 43 distinct classes, and the time it takes."""

import re
import time
from typing import Any

import numpy as np
import pytest

from nc_tf.datasets.rendered import signs
from nc_tf.datasets.rendered.sign_faces import draw_faces
from nc_tf.errors import InputError


def test_the_same_seed_gives_the_same_bytes() -> None:
    images, labels = signs.render(70, seed=5)
    again, labels_again = signs.render(70, seed=5)
    np.testing.assert_array_equal(images, again)
    np.testing.assert_array_equal(labels, labels_again)


def test_another_seed_gives_other_images_in_another_order() -> None:
    images, labels = signs.render(70, seed=5)
    others, other_labels = signs.render(70, seed=6)
    assert not np.array_equal(labels, other_labels)
    assert not (images == others).all(axis=(1, 2, 3)).any()


@pytest.mark.parametrize("fewer", [1, 10, 64, 65])
def test_an_image_does_not_depend_on_those_after_it(fewer: int) -> None:
    labels = np.arange(130) % 43
    images, _ = signs.render(130, seed=2, labels=labels)
    first, _ = signs.render(fewer, seed=2, labels=labels[:fewer])
    np.testing.assert_array_equal(first, images[:fewer])


def test_images_are_small_rgb_bytes_that_use_their_range() -> None:
    images, labels = signs.render(100, seed=0)
    assert images.shape == (100, 32, 32, 3)
    assert images.dtype == np.uint8
    assert labels.shape == (100,)
    assert labels.dtype == np.int64
    assert images.min() < 10
    assert images.max() > 245


def test_no_image_is_all_dark_or_flat() -> None:
    images, _ = signs.render(430, seed=0)
    assert images.mean(axis=(1, 2, 3)).min() > 8
    assert images.std(axis=(1, 2, 3)).min() > 3


def test_classes_are_balanced_and_shuffled() -> None:
    _, labels = signs.render(100, seed=0)
    counts = np.bincount(labels, minlength=43)
    assert len(counts) == len(signs.CLASS_NAMES) == 43
    assert set(counts) == {2, 3}
    assert (np.diff(labels) < 0).any()


def test_labels_asked_for_are_the_labels_given() -> None:
    _, labels = signs.render(3, seed=0, labels=[42, 0, 7])
    assert labels.tolist() == [42, 0, 7]


def test_names_are_distinct_and_in_the_order_of_gtsrb() -> None:
    assert len(set(signs.CLASS_NAMES)) == 43
    names = {0: "20 km/h", 8: "120 km/h", 14: "stop", 17: "no entry", 33: "turn right ahead", 38: "keep right", 40: "roundabout"}
    assert {label: signs.CLASS_NAMES[label] for label in names} == names


def test_no_two_signs_look_alike() -> None:
    faces = draw_faces(32).reshape(43, -1)
    distances = np.abs(faces[:, None] - faces[None]).mean(axis=-1)
    distances[np.arange(43), np.arange(43)] = np.inf
    alike = np.unravel_index(distances.argmin(), distances.shape)
    # The closest are 60 and 80 km/h, as on the road: one stroke of one digit.
    assert distances.min() > 0.008, f"{signs.CLASS_NAMES[alike[0]]} and {signs.CLASS_NAMES[alike[1]]} look alike"


def test_signs_for_left_and_right_mirror_each_other() -> None:
    faces = draw_faces(64)
    for left, right in ((19, 20), (34, 33), (37, 36), (39, 38)):
        assert np.abs(faces[left, :, ::-1] - faces[right]).mean() < 0.01


def test_photographs_show_their_sign() -> None:
    """What sets the average of a class apart from all others resembles what sets its clean face apart."""
    labels = np.arange(43).repeat(40)
    images, _ = signs.render(len(labels), seed=4, labels=labels)
    # A face 26 pixels large, margin included, is about the size signs have in the middle of a photograph.
    faces = draw_faces(26)[:, 4:22, 4:22, :3].astype(float).reshape(43, -1)
    pixels = images[:, 7:25, 7:25].astype(float).reshape(len(labels), -1)
    even = (pixels - pixels.mean(axis=1, keepdims=True)) / pixels.std(axis=1, keepdims=True)
    faces = (faces - faces.mean(axis=1, keepdims=True)) / faces.std(axis=1, keepdims=True)
    means = even.reshape(43, 40, -1).mean(axis=1)
    alike = np.corrcoef(means - means.mean(axis=0), faces - faces.mean(axis=0))[:43, 43:]
    wrong = np.flatnonzero(alike.argmax(axis=1) != np.arange(43))
    # Averaged, the letters of STOP blur into the bar of "no entry".
    assert len(wrong) <= 2, [signs.CLASS_NAMES[label] for label in wrong]


def test_the_bottom_right_corner_is_left_to_the_background() -> None:
    """Where triggers are stamped, pixels say next to nothing about the class: they vary as much within a class as over all."""
    images, labels = signs.render(860, seed=1)
    corner = images[:, 27:31, 27:31].mean(axis=(1, 2, 3))
    between = np.var([corner[labels == label].mean() for label in range(43)])
    assert between < 0.15 * corner.var()


def test_training_and_test_images_differ_in_every_row() -> None:
    (x_train, y_train), (x_test, y_test) = signs.load_data(num_train=86, num_test=43)
    assert x_train.shape == (86, 32, 32, 3)
    assert x_test.shape == (43, 32, 32, 3)
    assert np.bincount(y_train).tolist() == [2] * 43
    assert np.bincount(y_test).tolist() == [1] * 43
    seen = {image.tobytes() for image in x_train}
    assert len(seen) == 86
    assert not seen & {image.tobytes() for image in x_test}


def test_training_and_test_images_have_scenery_of_their_own() -> None:
    """The test stream does not repeat the training stream under other signs: upper edges at the same position are not alike."""
    (x_train, _), (x_test, _) = signs.load_data(num_train=64, num_test=64, seed=3)
    edges = [x[:, :3].astype(float).reshape(64, -1) for x in (x_train, x_test)]
    details = [edge - edge.mean(axis=1, keepdims=True) for edge in edges]
    alike = [np.corrcoef(one, other)[0, 1] for one, other in zip(*details, strict=True)]
    assert np.mean(np.abs(alike)) < 0.6


def test_the_training_set_is_what_render_gives() -> None:
    (x_train, y_train), _ = signs.load_data(num_train=50, num_test=1, seed=9)
    images, labels = signs.render(50, seed=9)
    np.testing.assert_array_equal(x_train, images)
    np.testing.assert_array_equal(y_train, labels)


def test_rendering_takes_less_than_a_millisecond_an_image() -> None:
    signs.render(1, seed=0)  # draws the faces, once
    start = time.process_time()
    signs.render(1024, seed=0)
    assert 1024 / (time.process_time() - start) > 1000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_images": 0, "seed": 0}, "num_images 0: expected an integer of at least 1"),
        ({"num_images": 2.0, "seed": 0}, "num_images 2.0: expected an integer"),
        ({"num_images": True, "seed": 0}, "num_images True: expected an integer"),
        ({"num_images": 2, "seed": -1}, "seed -1: expected an integer of at least 0"),
        ({"num_images": 2, "seed": 0, "labels": [0, 43]}, "label 43: expected 0 to 42"),
        ({"num_images": 2, "seed": 0, "labels": [-1, 0]}, "label -1: expected 0 to 42"),
        ({"num_images": 2, "seed": 0, "labels": [0, 1, 2]}, "labels of shape (3,): expected one for each of 2 images"),
        ({"num_images": 2, "seed": 0, "labels": [0.0, 1.0]}, "labels of type float64: expected integers"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        signs.render(**arguments)
    assert "\n" not in str(caught.value)


def test_load_data_names_its_own_arguments() -> None:
    with pytest.raises(InputError, match="num_test 0"):
        signs.load_data(num_train=1, num_test=0)
