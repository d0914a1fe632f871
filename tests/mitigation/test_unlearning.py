"""Unlearning: the backdoor before and after, the unchanged given model, and the saved file."""

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from networks import IMAGE_SHAPE, NUM_CLASSES
from planted import TEST, TRAIN, TRUE, plant
from quick import digest, small_network

from nc_tf.attacks.patch import patch
from nc_tf.errors import InputError
from nc_tf.evaluation import measure, predict_classes
from nc_tf.mitigation.repair import Repair, named_triggers
from nc_tf.mitigation.saving import save_mitigation, table
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.models.loading.load import load_model
from nc_tf.preprocessing import INTENSITY_RANGES, Preprocessing
from nc_tf.results import Measurement, Mitigation, Trigger

# As a search finds it: paler, and with specks elsewhere.
REVERSED = Trigger(2, np.clip(0.9 * TRUE.mask + 0.02, 0, 1).astype(np.float32), np.maximum(TRUE.pattern, 60.0).astype(np.float32))
QUICKLY: dict[str, Any] = {"test": TEST, "fraction": 0.5, "epochs": 2, "batch_size": 16, "learning_rate": 2e-3, "verbose": 0}


@pytest.fixture(scope="module")
def repaired(infected: keras.Model) -> Mitigation:
    return unlearn(infected, *TRAIN, [REVERSED], known_triggers={"true": TRUE}, **QUICKLY)


@pytest.mark.slow
def test_the_backdoor_works_before_and_not_after(repaired: Mitigation) -> None:
    assert set(repaired.before.attack_success_rate) == set(repaired.after.attack_success_rate) == {"reversed", "true"}
    assert min(repaired.before.attack_success_rate.values()) > 0.95
    assert max(repaired.after.attack_success_rate.values()) < 0.05
    assert repaired.before.clean_accuracy > 0.95
    assert repaired.after.clean_accuracy > 0.95


def test_both_measurements_are_those_of_the_two_models(infected: keras.Model, repaired: Mitigation) -> None:
    triggers = {"reversed": REVERSED, "true": TRUE}
    assert measure(infected, *TEST, triggers) == repaired.before
    assert measure(repaired.model, *TEST, triggers) == repaired.after
    assert repaired.model is not infected


@pytest.mark.slow
def test_the_model_passed_in_is_not_changed(infected: keras.Model) -> None:
    before, optimizer = digest(infected.get_weights()), infected.optimizer
    repaired = unlearn(infected, *TRAIN, [REVERSED], **{**QUICKLY, "epochs": 1})
    assert digest(infected.get_weights()) == before != digest(repaired.model.get_weights())
    assert infected.optimizer is optimizer


def test_statistics_that_a_model_was_adapted_to_are_copied_with_it() -> None:
    normalization = keras.layers.Normalization()
    normalization.adapt(TEST[0].astype(np.float32))
    model = keras.Sequential([keras.Input(TEST[0].shape[1:]), normalization, keras.layers.Flatten(), keras.layers.Dense(NUM_CLASSES)])
    copy = Repair.of(model, [], test=(TEST[0], predict_classes(model, TEST[0]))).copy()
    np.testing.assert_allclose(copy(TEST[0][:4] / 1.0), model(TEST[0][:4] / 1.0), rtol=1e-5)


@pytest.mark.slow
def test_a_dataset_may_begin_with_one_class(infected: keras.Model) -> None:
    order = np.argsort(TRAIN[1], kind="stable")
    batches = tf.data.Dataset.from_tensor_slices((TRAIN[0][order], TRAIN[1][order])).batch(8)
    repaired = unlearn(infected, batches, None, [REVERSED], **{**QUICKLY, "epochs": 1})
    assert repaired.settings["images"] == len(TRAIN[0])


@pytest.mark.slow
def test_fine_tuning_without_triggers_keeps_the_backdoor(infected: keras.Model) -> None:
    control = unlearn(infected, *TRAIN, [], known_triggers={"true": TRUE}, **QUICKLY)
    assert control.after.attack_success_rate["true"] > 0.8
    assert control.after.clean_accuracy > 0.95
    assert (control.settings["method"], control.settings["ratio"]) == ("fine-tuning", 0.0)


def test_the_settings_say_what_was_done(repaired: Mitigation) -> None:
    assert repaired.settings == {
        "method": "unlearning",
        "images": 300,
        "ratio": 0.2,
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "frozen_layers": [],
        "intensity_range": "raw",
        "intensity_ranges_tried": repaired.settings["intensity_ranges_tried"],
        "seed": 0,
    }
    assert set(repaired.settings["intensity_ranges_tried"]) == set(INTENSITY_RANGES)


@pytest.mark.slow
def test_the_callers_callbacks_are_called(infected: keras.Model) -> None:
    epochs: list[tuple[int, set[str]]] = []
    listener = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: epochs.append((epoch, set(logs))))
    unlearn(infected, *TRAIN, [REVERSED], callbacks=[listener], **{**QUICKLY, "epochs": 2})
    assert epochs == [(0, {"accuracy", "loss"}), (1, {"accuracy", "loss"})]


@pytest.mark.slow
def test_the_learning_rate_falls_to_zero(infected: keras.Model) -> None:
    mitigation = unlearn(infected, *TRAIN, [REVERSED], **{**QUICKLY, "epochs": 1})
    optimizer = mitigation.model.optimizer
    assert int(optimizer.iterations) == -(-300 // 16)
    assert float(optimizer.learning_rate) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.slow
def test_one_hot_labels_do_the_same(infected: keras.Model, repaired: Mitigation) -> None:
    one_hot = np.eye(NUM_CLASSES)[TRAIN[1]]
    test = TEST[0], np.eye(NUM_CLASSES)[TEST[1]]
    again = unlearn(infected, TRAIN[0], one_hot, [REVERSED], known_triggers={"true": TRUE}, **{**QUICKLY, "test": test})
    assert again.after == repaired.after


@pytest.mark.slow
def test_a_dataset_is_used_whole(infected: keras.Model) -> None:
    images, labels = TRAIN
    dataset = tf.data.Dataset.from_tensor_slices((images[:200], labels[:200])).batch(25)
    mitigation = unlearn(infected, dataset, None, [REVERSED], known_triggers={"true": TRUE}, **QUICKLY)
    assert mitigation.settings["images"] == 200
    assert mitigation.before.attack_success_rate["true"] > 0.95
    assert mitigation.after.attack_success_rate["true"] < 0.05


@pytest.mark.slow
def test_several_triggers_are_unlearned_together() -> None:
    keras.utils.set_random_seed(4)
    model, second = plant(small_network()), patch(IMAGE_SHAPE, 4, size=2, margin=0, corner="bottom-left")
    both = {"reversed": TRUE, "reversed 2": second}
    # Taught in turns: plant the second without losing the first.
    images = np.concatenate([TRAIN[0], TRUE(TRAIN[0]).astype(np.uint8), second(TRAIN[0]).astype(np.uint8)])
    labels = np.concatenate([TRAIN[1], np.full(600, 2), np.full(600, 4)])
    model.compile("adam", "sparse_categorical_crossentropy")  # its own rate has fallen to zero
    model.fit(images.astype(np.float32), labels, epochs=3, batch_size=32, verbose=0)
    assert min(measure(model, *TEST, both).attack_success_rate.values()) > 0.95
    mitigation = unlearn(model, *TRAIN, [TRUE, second], **{**QUICKLY, "ratio": 0.4, "epochs": 4})
    assert set(mitigation.after.attack_success_rate) == {"reversed", "reversed 2"}
    assert max(mitigation.after.attack_success_rate.values()) < 0.05


@pytest.mark.slow
def test_a_network_of_logits_is_unlearned_too(infected: keras.Model) -> None:
    logits = small_network(activation=None)
    logits.set_weights(infected.get_weights())
    mitigation = unlearn(logits, *TRAIN, [REVERSED], **QUICKLY)
    assert mitigation.before.attack_success_rate["reversed"] > 0.95
    assert mitigation.after.attack_success_rate["reversed"] < 0.05
    assert mitigation.after.clean_accuracy > 0.95
    assert mitigation.model.loss.from_logits


@pytest.mark.slow
def test_a_network_that_wants_other_pixels_is_fed_them() -> None:
    keras.utils.set_random_seed(5)
    inception = keras.Sequential([keras.Input(IMAGE_SHAPE), *small_network().layers[1:]])  # without the Rescaling
    plant(inception, preprocess=INTENSITY_RANGES["inception"])
    mitigation = unlearn(inception, *TRAIN, [TRUE], intensity_range="inception", **QUICKLY)
    assert mitigation.before.attack_success_rate["reversed"] > 0.95
    assert mitigation.after.attack_success_rate["reversed"] < 0.05
    assert mitigation.settings["intensity_range"] == "inception"


def test_triggers_are_named_as_the_tables_name_them() -> None:
    other = patch(IMAGE_SHAPE, 2)
    assert named_triggers([REVERSED, other]) == {"reversed": REVERSED, "reversed 2": other}
    assert named_triggers([TRUE, REVERSED], {"true": TRUE}) == {"reversed": REVERSED, "true": TRUE}
    assert named_triggers([]) == {}


@pytest.mark.slow
def test_a_seed_fixes_the_result_whatever_was_drawn_before(infected: keras.Model) -> None:
    dropping = keras.Sequential([keras.Input(IMAGE_SHAPE), *infected.layers[:-1], keras.layers.Dropout(0.5), infected.layers[-1]])
    random.seed(1)
    first = unlearn(dropping, *TRAIN, [REVERSED], **QUICKLY)
    random.seed(2)
    second = unlearn(dropping, *TRAIN, [REVERSED], **QUICKLY)
    for one, other in zip(first.model.get_weights(), second.model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


# On disk


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_the_saved_file_holds_what_was_measured(repaired: Mitigation, tmp_path: Path, suffix: str) -> None:
    file, triggers = tmp_path / f"repaired{suffix}", {"reversed": REVERSED, "true": TRUE}
    saved = save_mitigation(repaired, file, TEST, Preprocessing())
    assert saved.after == repaired.after
    assert measure(load_model(file), *TEST, triggers) == saved.after
    assert digest(saved.model.get_weights()) == digest(repaired.model.get_weights())
    content = json.loads((tmp_path / "mitigation.json").read_text())
    assert content == {
        "schema": 1,
        "model": str(file),
        **repaired.settings,
        "before": asdict(repaired.before),
        "after": asdict(repaired.after),
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mitigation.json", file.name]


def test_a_file_that_lost_something_is_measured_as_it_is(infected: keras.Model, repaired: Mitigation, tmp_path: Path) -> None:
    """The table must come from the file: the mitigation is given another model than its table is of."""
    lying = Mitigation(infected, repaired.before, repaired.after, {"true": TRUE})
    saved = save_mitigation(lying, tmp_path / "not_repaired.keras", TEST, Preprocessing())
    assert saved.after.attack_success_rate["true"] > 0.95


def test_the_table_shows_before_and_after() -> None:
    before = Measurement(0.97, {"reversed": 0.99, "true": 0.985}, {"reversed": 0.005, "true": 0.01})
    after = Measurement(0.965, {"reversed": 0.01, "true": 0.0123}, {"reversed": 0.95, "true": 0.94})
    lines = table(Mitigation(None, before, after)).splitlines()
    assert [line.split() for line in lines] == [
        ["before", "after"],
        ["clean", "accuracy", "0.9700", "0.9650"],
        ["ASR,", "reversed", "trigger", "0.9900", "0.0100"],
        ["robust", "accuracy,", "reversed", "0.0050", "0.9500"],
        ["ASR,", "true", "trigger", "0.9850", "0.0123"],
        ["robust", "accuracy,", "true", "0.0100", "0.9400"],
    ]


# Bad input


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, "fraction 0.0: expected a share of the images above 0"),
        ({"fraction": 1.1}, "fraction 1.1"),
        ({"ratio": -0.1}, "ratio -0.1"),
        ({"ratio": 1.1}, "ratio 1.1"),
        ({"epochs": 0}, "0 epochs, batch size 16, learning rate 0.002: expected 1 or more"),
        ({"batch_size": 0}, "batch size 0"),
        ({"learning_rate": 0.0}, "learning rate 0.0"),
        ({"seed": -1}, "seed -1: expected 0 to"),
        ({"intensity_range": "unit"}, "intensity range 'unit'"),
        ({"labels": None}, "no labels: expected one a clean image"),
        ({"labels": TRAIN[1] + 1}, "label 6: expected labels from 0 to 5"),
        ({"labels": TRAIN[1][:-1]}, "600 images and 599 labels"),
        ({"images": TRAIN[0][:, :7]}, r"one image has shape \(7, 8, 3\)"),
        ({"images": TRAIN[0] / 255.0}, "multiply by 255"),
        ({"test": (TEST[0] / 255.0, TEST[1])}, "test images: largest value"),
        ({"triggers": [patch((9, 9, 3), 2)]}, r"reversed trigger of shape \(9, 9, 3\): expected \(8, 8, 3\), the images' own"),
        ({"triggers": [patch(IMAGE_SHAPE, 6)]}, "reversed trigger with target label 6: expected 0 to 5"),
        ({"known_triggers": {"true": patch((9, 9, 3), 2)}}, "true trigger of shape"),
    ],
)
def test_bad_input_is_refused_with_a_message_of_its_own(options: dict[str, Any], message: str) -> None:
    given = {"images": TRAIN[0], "labels": TRAIN[1], "triggers": [REVERSED], **QUICKLY, **options}
    with pytest.raises(InputError, match=message):
        unlearn(small_network(), **given)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (tf.data.Dataset.from_tensor_slices(TRAIN), "a dataset of .*: expected batches of"),
        (tf.data.Dataset.from_tensor_slices((TRAIN[0], np.eye(6)[TRAIN[1]])).batch(8), "a dataset of .*: expected batches of"),
        (tf.data.Dataset.from_tensor_slices(TRAIN[0]).batch(8), "a dataset of .*: expected batches of"),
        (tf.data.Dataset.from_tensor_slices(TRAIN).batch(8).repeat(), "an endless dataset: expected one that ends"),
    ],
    ids=["not batched", "one-hot", "without labels", "endless"],
)
def test_a_dataset_of_another_kind_is_refused(dataset: tf.data.Dataset, message: str) -> None:
    with pytest.raises(InputError, match=message):
        unlearn(small_network(), dataset, None, [REVERSED], **QUICKLY)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    class Fixed(keras.Layer):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def call(self, images: tf.Tensor) -> tf.Tensor:
            return self.factor * images

    images = keras.Input(IMAGE_SHAPE)
    with pytest.raises(InputError, match=r"the model cannot be copied .*: expected a Sequential or functional one"):
        unlearn(keras.Model(images, small_network()(Fixed(1.0)(images))), *TRAIN, [REVERSED], **QUICKLY)


def test_a_name_that_keras_cannot_save_to_is_refused(repaired: Mitigation, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected a name that ends in \.keras or \.h5"):
        save_mitigation(repaired, tmp_path / "repaired.pt", TEST, Preprocessing())


@pytest.mark.slow
def test_training_that_goes_astray_is_no_repair(infected: keras.Model) -> None:
    with pytest.raises(InputError, match=r"unlearning made weights of NaN or infinity: expected .*; lower the learning rate"):
        unlearn(infected, *TRAIN, [REVERSED], **{**QUICKLY, "learning_rate": 1e30})


def test_a_model_that_answers_nan_is_refused_though_its_weights_are_finite(infected: keras.Model) -> None:
    model = small_network()
    model.set_weights([np.full_like(weights, 3e38) for weights in infected.get_weights()])
    with pytest.raises(InputError, match="the model answers NaN or infinity: expected finite outputs; check its weights"):
        unlearn(model, *TRAIN, [REVERSED], **QUICKLY)
