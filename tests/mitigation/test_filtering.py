"""The input filter: rejected images, error rates, and a model that Keras alone can use."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images
from planted import TRAIN, TRUE, plant
from quick import digest, small_network

from nc_tf.errors import InputError
from nc_tf.evaluation import predict_classes
from nc_tf.mitigation.filtering import FALSE_POSITIVE_RATES, input_filter
from nc_tf.mitigation.saving import save_mitigation
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Mitigation

TEST = corner_images(600, seed=2)  # large, to measure rates of a few percent
OPTIONS: dict[str, Any] = {"test": TEST, "fraction": 1.0, "units": 0.1}


@pytest.fixture(scope="module", params=["softmax", pytest.param(None, marks=pytest.mark.slow)])
def infected(infected: keras.Model, request: pytest.FixtureRequest) -> keras.Model:
    """Once with softmax, once with logits."""
    if request.param:
        return infected
    logits = small_network(activation=None)
    logits.set_weights(infected.get_weights())
    return logits


@pytest.fixture(scope="module")
def filtered(infected: keras.Model) -> Mitigation:
    return input_filter(infected, *TRAIN, [TRUE], **OPTIONS)


def test_triggered_images_are_rejected_and_clean_ones_pass(filtered: Mitigation) -> None:
    assert filtered.before.attack_success_rate["reversed"] > 0.95
    assert filtered.after.attack_success_rate["reversed"] < 0.02
    assert filtered.after.robust_accuracy["reversed"] < 0.02
    assert filtered.after.clean_accuracy > 0.9
    clean, triggered = (predict_classes(filtered.model, images) for images in (TEST[0], TRUE(TEST[0][TEST[1] != 2])))
    assert np.mean(clean == NUM_CLASSES) == pytest.approx(0.05, abs=0.03)
    assert np.mean(triggered == NUM_CLASSES) > 0.95


def test_what_is_let_through_gets_the_models_own_answer(infected: keras.Model, filtered: Mitigation) -> None:
    answers = np.asarray(filtered.model(TEST[0].astype(np.float32)))
    assert answers.shape == (600, NUM_CLASSES + 1)
    np.testing.assert_allclose(answers.sum(axis=1), 1.0, rtol=1e-5)
    passed = answers[:, -1] == 0
    own = np.asarray(infected(TEST[0].astype(np.float32)))
    if infected.layers[-1].activation is keras.activations.linear:
        own = keras.ops.convert_to_numpy(keras.ops.softmax(own))
    np.testing.assert_allclose(answers[passed, :-1], own[passed], atol=1e-5)
    assert set(answers[:, -1]) <= {0.0, 1.0}
    assert (answers[~passed, :-1] == 0).all()


def test_the_rates_are_those_of_thresholds_set_on_the_calibration_images(filtered: Mitigation) -> None:
    rates = filtered.details["rates"]
    assert tuple(row["false_positive_rate"] for row in rates) == FALSE_POSITIVE_RATES
    measured = [row["measured_false_positive_rate"] for row in rates]
    missed = [row["false_negative_rate"]["reversed"] for row in rates]
    assert measured == sorted(measured)
    assert missed == sorted(missed, reverse=True)
    reached = [row["attack_success_rate"]["reversed"] for row in rates]
    assert all(some <= all_missed for some, all_missed in zip(reached, missed, strict=True))
    assert reached[-1] == pytest.approx(filtered.after.attack_success_rate["reversed"])
    assert filtered.details["roc_auc"]["reversed"] > 0.99
    activation = filtered.details["mean_activation"]
    assert activation["reversed"] > 2 * activation["clean"]
    # The model's threshold is the last one.
    clean = predict_classes(filtered.model, TEST[0])
    assert np.mean(clean == NUM_CLASSES) == pytest.approx(measured[-1])
    assert len(filtered.details["units"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.01, 0.2])
def test_the_rate_is_chosen(infected: keras.Model, rate: float) -> None:
    chosen = input_filter(infected, *TRAIN, [TRUE], false_positive_rate=rate, **OPTIONS)
    assert np.mean(predict_classes(chosen.model, TRAIN[0]) == NUM_CLASSES) == pytest.approx(rate, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_the_saved_file_filters_as_well_and_needs_no_nc_tf(filtered: Mitigation, tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"filtered{suffix}"
    assert save_mitigation(filtered, file, TEST, Preprocessing()).after == filtered.after
    plain = keras.models.load_model(file, compile=False)
    np.testing.assert_array_equal(predict_classes(plain, TEST[0]), predict_classes(filtered.model, TEST[0]))


@pytest.mark.slow
def test_a_convolution_is_looked_at_by_its_means() -> None:
    keras.utils.set_random_seed(0)
    stack = [layers.Rescaling(1 / 255), layers.Conv2D(12, 3, padding="same", activation="relu", name="conv"), layers.Flatten()]
    model = plant(keras.Sequential([keras.Input(IMAGE_SHAPE), *stack, layers.Dense(NUM_CLASSES, "softmax")]))
    found = input_filter(model, *TRAIN, [TRUE], layer="conv", **OPTIONS)
    assert found.settings["layer"] == "conv"
    assert found.after.attack_success_rate["reversed"] < 0.3 < found.before.attack_success_rate["reversed"]


@pytest.mark.slow
def test_the_model_passed_in_is_not_changed(infected: keras.Model) -> None:
    before = digest(infected.get_weights())
    input_filter(infected, *TRAIN, [TRUE], **OPTIONS)
    assert digest(infected.get_weights()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": 0.0}, "units 0.0, false positive rate 0.05: expected shares above 0"),
        ({"false_positive_rate": 1.0}, "false positive rate 1.0"),
        ({"triggers": []}, "no trigger: the filter expected what a scan found"),
        ({"layer": "no"}, "layer 'no': expected a hidden layer"),
    ],
)
def test_bad_input_is_refused(infected: keras.Model, options: dict[str, Any], message: str) -> None:
    given = {"images": TRAIN[0], "labels": TRAIN[1], "triggers": [TRUE], **OPTIONS, **options}
    with pytest.raises(InputError, match=message):
        input_filter(infected, **given)


def test_a_filter_behind_a_filter_is_refused(filtered: Mitigation) -> None:
    with pytest.raises(InputError, match="the model has an input filter already: expected one without"):
        input_filter(filtered.model, *TRAIN, [TRUE], **OPTIONS)
