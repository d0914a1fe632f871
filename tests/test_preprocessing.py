"""The four ranges, compared with keras.applications where it has them, and their inverses."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from nc_tf.errors import InputError
from nc_tf.preprocessing import INTENSITY_RANGES, Preprocessing, preprocessing

quick = settings(deadline=None, derandomize=True, max_examples=40)
SHAPES = st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3), st.just(3))
IMAGES = hnp.arrays(np.float32, SHAPES, elements=st.floats(0, 255, width=32))
NORMALISED = preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(5).uniform(0, 255, (4, 3, 2, 3)).astype(np.float32)


@pytest.mark.parametrize(("name", "application"), [("imagenet", keras.applications.vgg16), ("inception", keras.applications.inception_v3)])
def test_ranges_of_keras_applications(images: np.ndarray, name: str, application: Any) -> None:
    expected = application.preprocess_input(images.copy())
    np.testing.assert_allclose(preprocessing(name)(images), expected, rtol=1e-5, atol=1e-4)


def test_mean_and_std_are_those_of_torch_style_applications(images: np.ndarray) -> None:
    expected = keras.applications.densenet.preprocess_input(images.copy())
    np.testing.assert_allclose(NORMALISED(images), expected, rtol=1e-4, atol=1e-5)


def test_values_worked_out_by_hand() -> None:
    pixel = np.array([[255.0, 127.5, 0.0]])
    np.testing.assert_array_equal(preprocessing()(pixel), pixel)
    np.testing.assert_allclose(preprocessing("mnist")(pixel), [[1.0, 0.5, 0.0]])
    np.testing.assert_allclose(preprocessing("inception")(pixel), [[1.0, 0.0, -1.0]])
    np.testing.assert_allclose(preprocessing("imagenet")(pixel), [[0.0 - 103.939, 127.5 - 116.779, 255.0 - 123.68]])
    np.testing.assert_allclose(preprocessing("mnist", mean=(0.5,), std=(0.25,))(pixel), [[2.0, 0.0, -2.0]])


@pytest.mark.parametrize("range_", [*INTENSITY_RANGES.values(), NORMALISED], ids=lambda range_: range_.name[:9])
@quick
@given(images=IMAGES)
def test_there_and_back(range_: Preprocessing, images: np.ndarray) -> None:
    np.testing.assert_allclose(range_.reverse(range_(images)), images, atol=1e-3)
    np.testing.assert_allclose(range_(range_.reverse(images / 255)), images / 255, atol=1e-4)


@pytest.mark.parametrize("range_", [*INTENSITY_RANGES.values(), NORMALISED], ids=lambda range_: range_.name[:9])
def test_tensors_and_arrays_alike(images: np.ndarray, range_: Preprocessing) -> None:
    tensor = range_(tf.constant(images))
    assert isinstance(tensor, tf.Tensor)
    assert tensor.dtype == tf.float32
    np.testing.assert_allclose(tensor, range_(images), atol=1e-4)
    np.testing.assert_allclose(range_.reverse(tensor), images, atol=1e-3)


@pytest.mark.parametrize("name", ["raw", "mnist", "inception"])
def test_grayscale(name: str) -> None:
    gray = np.full((2, 3, 3, 1), 51.0)
    assert preprocessing(name)(gray).shape == gray.shape
    np.testing.assert_allclose(preprocessing(name).reverse(preprocessing(name)(gray)), gray)


def test_every_range_has_its_name() -> None:
    assert [preprocessing(name).name for name in INTENSITY_RANGES] == list(INTENSITY_RANGES) == ["raw", "mnist", "inception", "imagenet"]
    assert preprocessing(NORMALISED) is NORMALISED
    assert NORMALISED.name == "mean [0.485, 0.456, 0.406] std [0.229, 0.224, 0.225]"


def test_an_unknown_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"intensity range 'caffe': expected one of raw, mnist, inception, imagenet"):
        preprocessing("caffe")


@pytest.mark.parametrize(
    ("name", "given_"), [("raw", {"mean": (0.5,)}), ("raw", {"std": (0.5,)}), ("imagenet", {"mean": (0.5,), "std": (0.5,)})]
)
def test_half_a_normalisation_and_a_contradiction_are_refused(name: str, given_: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"with intensity range {name}: expected both, with no other range"):
        preprocessing(name, **given_)


@pytest.mark.parametrize("std", [(0.0,), (0.2, -0.1, 0.2), (float("nan"),), (0.2, float("inf"), 0.2)])
def test_a_standard_deviation_that_is_not_positive_and_finite_is_refused(std: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="expected positive numbers, finite ones"):
        preprocessing(mean=(0.0,), std=std)


@pytest.mark.parametrize("mean", [(float("nan"),), (0.2, float("-inf"), 0.2)])
def test_a_mean_that_is_not_finite_is_refused(mean: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"preprocessing mean \(.*\): expected finite numbers; give the mean"):
        preprocessing(mean=mean, std=(1.0,))


def test_a_scale_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match="expected positive numbers"):
        Preprocessing(scale=0.0)
