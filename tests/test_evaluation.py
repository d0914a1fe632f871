"""Rates, compared with numbers computed by hand."""

import keras
import numpy as np
import pytest
from networks import corner_images, corner_network, corner_trigger, linear_network

from nc_tf.errors import InputError
from nc_tf.evaluation import BATCH_SIZE, NO_CLASS, accuracy, attack_success_rate, attacked, measure, predict_classes
from nc_tf.preprocessing import preprocessing
from nc_tf.results import Trigger

SHAPE = (1, 1, 2)


@pytest.fixture(scope="module")
def brighter() -> keras.Model:
    """Class 1 where the second channel is the brighter one, of one pixel."""
    return linear_network(np.eye(2), np.zeros(2), SHAPE)


def pixels(*values: tuple[int, int]) -> np.ndarray:
    return np.array(values, np.uint8).reshape(-1, *SHAPE)


IMAGES, LABELS = pixels((200, 10), (100, 10), (10, 200), (10, 30), (90, 80)), np.array([0, 0, 1, 1, 1])


def test_classes_and_accuracy(brighter: keras.Model) -> None:
    np.testing.assert_array_equal(predict_classes(brighter, IMAGES), [0, 0, 1, 1, 0])
    assert accuracy(brighter, IMAGES, LABELS) == pytest.approx(4 / 5)


def test_a_trigger_is_stamped_in_raw_pixels(brighter: keras.Model) -> None:
    """Half of (0, 120) over half of the image: (200, 10) -> (100, 65) stays, (100, 10) -> (50, 65) and (90, 80) -> (45, 100) turn."""
    trigger = Trigger(1, np.array([[0.5]], np.float32), np.array([[[0.0, 120.0]]], np.float32))
    np.testing.assert_array_equal(predict_classes(brighter, IMAGES, trigger=trigger), [0, 1, 1, 1, 1])
    np.testing.assert_array_equal(predict_classes(brighter, IMAGES, preprocessing("inception"), trigger), [0, 1, 1, 1, 1])


def test_images_of_the_target_class_do_not_count(brighter: keras.Model) -> None:
    """Of the two images of class 0 one turns; the three of class 1 would have made it four of five."""
    trigger = Trigger(1, np.array([[0.5]], np.float32), np.array([[[0.0, 120.0]]], np.float32))
    assert attack_success_rate(brighter, IMAGES, LABELS, trigger) == 0.5


def test_all_rates_together() -> None:
    images, labels = corner_images(30, seed=2)
    model = corner_network(4)
    labels[:3] = 5  # 0, 1 and 2 by right: three of thirty are wrong now
    measured = measure(model, images, labels, {"true": corner_trigger(4), "faint": corner_trigger(4, 0.1), "other": corner_trigger(1)})
    assert measured.clean_accuracy == pytest.approx(0.9)
    # The white corner sends everything to 4, so to 1 only what never was: none.
    assert measured.attack_success_rate == {"true": 1.0, "faint": 0.0, "other": 0.0}


def test_preprocessing_reaches_the_model() -> None:
    """Class 1 above a brightness of .5 in [0, 1]: on raw pixels nearly everything is."""
    model = linear_network(np.array([[0.0, 1.0]]), np.array([0.5, 0.0]), (1, 1, 1))
    gray = np.array([0, 2, 100, 130, 255], np.uint8).reshape(-1, 1, 1, 1)
    np.testing.assert_array_equal(predict_classes(model, gray), [0, 1, 1, 1, 1])
    np.testing.assert_array_equal(predict_classes(model, gray, preprocessing("mnist")), [0, 0, 0, 1, 1])


def test_more_images_than_a_batch_keep_their_order(brighter: keras.Model) -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (2 * BATCH_SIZE + 3, *SHAPE)).astype(np.uint8)
    np.testing.assert_array_equal(predict_classes(brighter, images), images.reshape(-1, 2).argmax(1))


def test_no_images_have_no_classes(brighter: keras.Model) -> None:
    assert predict_classes(brighter, IMAGES[:0]).shape == (0,)


def test_the_images_stay_as_they_were(brighter: keras.Model) -> None:
    before = IMAGES.copy()
    attack_success_rate(brighter, IMAGES, LABELS, Trigger(1, np.ones((1, 1), np.float32), np.zeros(SHAPE, np.float32)))
    np.testing.assert_array_equal(IMAGES, before)


def test_an_answer_of_nan_is_no_class() -> None:
    """The largest of NaNs is the first: without a word all would be of class 0."""
    model = linear_network(np.full((2, 2), 3e38), np.zeros(2), SHAPE)
    with pytest.raises(InputError, match="the model answers NaN or infinity"):
        predict_classes(model, IMAGES)


def test_a_stamped_image_that_is_answered_with_nan_neither_obeys_nor_is_recognised(brighter: keras.Model) -> None:
    """The second image of class 0 turns, the first becomes NaN: half of the two obey, and none is recognised."""
    image = keras.Input(SHAPE)
    model = keras.Model(image, keras.ops.where(image[:, 0, 0, :1] > 129.0, float("nan"), brighter(image)))
    trigger = Trigger(1, np.array([[0.5]], np.float32), np.array([[[60.0, 255.0]]], np.float32))
    images, labels = pixels((200, 10), (100, 10)), np.array([0, 0])
    np.testing.assert_array_equal(predict_classes(model, images, trigger=trigger), [NO_CLASS, 1])
    assert attacked(model, images, labels, trigger) == (0.5, 0.0, False)
    assert attacked(brighter, images, labels, trigger).finite
    assert attack_success_rate(model, images, labels, trigger) == 0.5
    with pytest.raises(InputError, match="the model answers NaN or infinity"):
        predict_classes(model, images)
