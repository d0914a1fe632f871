"""Pruning: the order of the units, that they stay zero, the stop, and the saved file."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_network, corner_trigger
from planted import TEST, TRAIN, TRUE
from quick import digest, small_network

from nc_tf.attacks.goals import SourceSpecific
from nc_tf.attacks.patch import patch
from nc_tf.errors import InputError
from nc_tf.evaluation import measure, predict_classes
from nc_tf.mitigation import pruning
from nc_tf.mitigation.layers import find_layer, mean_activations, suspicious_units, switched_off
from nc_tf.mitigation.pruning import _where_to_stop, prune
from nc_tf.models.loading.load import load_model
from nc_tf.models.networks.residual import small_resnet
from nc_tf.models.saving import save_model
from nc_tf.preprocessing import INTENSITY_RANGES, Preprocessing
from nc_tf.results import Mitigation

RAW = Preprocessing()


@pytest.fixture(scope="module")
def pruned(infected: keras.Model) -> Mitigation:
    return prune(infected, *TRAIN, [TRUE], test=TEST, fraction=1.0)


def convolutional(skip: bool = False) -> keras.Model:
    """Return a functional network, optionally with a connection around its second convolution."""
    inputs = keras.Input(IMAGE_SHAPE)
    first = layers.Conv2D(8, 3, padding="same", activation="relu", name="first")(layers.Rescaling(1 / 255)(inputs))
    second = layers.Conv2D(8, 3, padding="same", activation="relu", name="second")(first)
    features = layers.Add()([first, second]) if skip else second
    return keras.Model(inputs, layers.Dense(NUM_CLASSES, name="logits")(layers.Flatten()(features)))


# The layer


@pytest.mark.slow
def test_the_layer_before_the_output_is_the_default() -> None:
    assert find_layer(small_network(), None).units == 32
    model = convolutional()
    assert find_layer(model, None).name == "second"
    assert find_layer(model, "first").name == "first"
    softmax = keras.Sequential([*small_network(activation=None).layers, layers.Dropout(0.5), layers.Softmax()])
    assert find_layer(softmax, None).units == 32


@pytest.mark.parametrize("name", ["logits", "nothing", "input_layer"])
def test_another_layer_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"layer '{name}': expected a hidden layer of the model, one of .*first, second"):
        find_layer(convolutional(), name)


def test_a_model_without_a_hidden_layer_is_refused() -> None:
    nested = keras.Sequential([keras.Input(IMAGE_SHAPE), small_network()])
    with pytest.raises(InputError, match="the model has no hidden layer of its own: expected one before its last Dense layer; unpack"):
        find_layer(nested, None)


def test_the_activation_of_a_convolution_is_its_mean_over_the_image() -> None:
    model = convolutional()
    layer = model.get_layer("first")
    images = TEST[0][:5].astype(np.float32)
    np.testing.assert_allclose(
        mean_activations(model, layer, images, RAW), keras.Model(model.input, layer.output)(images).numpy().mean((1, 2)), rtol=1e-5
    )


def test_the_unit_that_sees_the_planted_corner_comes_first() -> None:
    model = corner_network(2)
    hidden = find_layer(model, None)
    order = suspicious_units(model, hidden, *TEST, [corner_trigger(2)], RAW)
    assert sorted(order) == list(range(hidden.output.shape[-1]))
    assert order[0] == NUM_CLASSES  # behind the units of the rows
    alone = switched_off(model, hidden.name, order[:1])
    assert measure(model, *TEST, {"true": corner_trigger(2)}).attack_success_rate["true"] == 1.0
    assert measure(alone, *TEST, {"true": corner_trigger(2)}).attack_success_rate["true"] < 0.05


# Switching off


@pytest.mark.parametrize("build", [small_network, convolutional, lambda: convolutional(skip=True)])
def test_switched_off_units_answer_zero_and_nothing_else_changes(build: Any) -> None:
    model = build()
    name = find_layer(model, None).name
    before = digest(model.get_weights())
    units = np.array([0, 3])
    off = switched_off(model, name, units)
    answers = keras.Model(off.inputs[0], off.get_layer(f"{name}_pruned").output)(TEST[0][:4].astype(np.float32)).numpy()
    whole = keras.Model(model.inputs[0], model.get_layer(name).output)(TEST[0][:4].astype(np.float32)).numpy()
    assert (answers[..., units] == 0).all()
    rest = np.delete(np.arange(whole.shape[-1]), units)
    np.testing.assert_allclose(answers[..., rest], whole[..., rest], rtol=1e-5)
    assert digest(model.get_weights()) == digest(off.get_weights()) == before
    none = switched_off(model, name, np.array([], int))
    np.testing.assert_allclose(none(TEST[0][:4].astype(np.float32)), model(TEST[0][:4].astype(np.float32)), rtol=1e-5)


@pytest.mark.slow
def test_pruned_units_stay_silent_under_later_training(pruned: Mitigation) -> None:
    model = keras.models.clone_model(pruned.model)
    model.set_weights(pruned.model.get_weights())
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(TRAIN[0].astype(np.float32), TRAIN[1], epochs=1, verbose=0)
    layer = model.get_layer(f"{pruned.settings['layer']}_pruned")
    answers = keras.Model(model.inputs[0], layer.output)(TEST[0].astype(np.float32)).numpy()
    assert (answers[:, pruned.details["units"]] == 0).all()
    assert digest(model.get_weights()) != digest(pruned.model.get_weights())


def branches() -> keras.Model:
    """Two branches of equal shapes, so that swapped weights raise no error."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input(IMAGE_SHAPE)
    flat = layers.Flatten()(layers.Rescaling(1 / 255)(inputs))
    one, other = (
        layers.Dense(8, activation="relu", name=f"{name}_2")(layers.Dense(8, activation="relu", name=f"{name}_1")(flat)) for name in "ab"
    )
    return keras.Model(inputs, layers.Dense(NUM_CLASSES, activation="softmax", name="logits")(layers.Concatenate()([one, other])))


@pytest.mark.parametrize("name", ["a_1", "a_2", "b_2"])
def test_every_layer_keeps_its_own_weights_where_the_network_branches(name: str) -> None:
    model = branches()
    off = switched_off(model, name, np.array([1]))
    for layer in model.layers[1:]:
        for one, other in zip(layer.get_weights(), off.get_layer(layer.name).get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
    images = TEST[0][:8].astype(np.float32)
    np.testing.assert_allclose(switched_off(model, name, np.array([], int))(images), model(images), rtol=1e-5)


@pytest.mark.slow
def test_a_residual_network_with_normalisation_is_pruned_at_its_shortcut() -> None:
    model = small_resnet(NUM_CLASSES, (8, 8, 3))
    shortcut = [layer.name for layer in model.layers if isinstance(layer, layers.Conv2D)][-1]
    found = prune(model, *TRAIN, [TRUE], test=TEST, layer=shortcut, step=0.5)
    assert len(found.details["curve"]) == 2
    images = TEST[0][:8].astype(np.float32)
    np.testing.assert_allclose(switched_off(model, shortcut, np.array([], int))(images), model(images), rtol=1e-4)


# The method


def test_the_backdoor_works_before_and_not_after(infected: keras.Model, pruned: Mitigation) -> None:
    assert pruned.before.attack_success_rate["reversed"] > 0.95
    assert pruned.after.attack_success_rate["reversed"] < 0.05
    assert pruned.after.robust_accuracy["reversed"] > 0.9
    assert pruned.after.clean_accuracy > 0.9
    assert pruned.settings["stopped"] == "the triggers are dead, and more would cost too much accuracy"
    assert 0 < pruned.details["dead_at"] <= pruned.settings["pruned"] < 0.5
    assert len(pruned.details["units"]) == round(32 * pruned.settings["pruned"])


def test_the_curve_is_what_each_share_of_pruned_units_measures(infected: keras.Model, pruned: Mitigation) -> None:
    order = suspicious_units(infected, infected.layers[-2], *TRAIN, [TRUE], RAW)
    curve = pruned.details["curve"]
    assert [row["pruned"] for row in curve] == [count / 32 for count in range(17)]
    for count in (0, 3, 7):
        measured = measure(switched_off(infected, infected.layers[-2].name, order[:count]), *TEST, {"reversed": TRUE})
        assert curve[count]["clean_accuracy"] == pytest.approx(measured.clean_accuracy)
        assert curve[count]["attack_success_rate"] == pytest.approx(measured.attack_success_rate)


@pytest.mark.slow
def test_a_way_around_the_layer_changes_no_figure() -> None:
    """The slow measurement, for residual networks, gives the same numbers."""
    model = convolutional(skip=True)
    curve = prune(model, *TRAIN, [TRUE], test=TEST, layer="second", step=0.25, most=0.5).details["curve"]
    order = suspicious_units(model, model.get_layer("second"), *_some(TRAIN, 0.1), [TRUE], RAW)
    for row, count in zip(curve, (0, 2, 4), strict=True):
        assert row["pruned"] == count / 8
        measured = measure(switched_off(model, "second", order[:count]), *TEST, {"reversed": TRUE})
        assert row["clean_accuracy"] == pytest.approx(measured.clean_accuracy)


def _some(data: tuple[np.ndarray, np.ndarray], fraction: float) -> tuple[np.ndarray, np.ndarray]:
    chosen = np.random.default_rng(0).permutation(len(data[0]))[: round(fraction * len(data[0]))]
    return data[0][chosen], data[1][chosen]


@pytest.mark.slow
def test_a_sequential_from_a_file_is_cut_in_two_as_well(infected: keras.Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(infected, tmp_path / "m.keras")
    monkeypatch.setattr(pruning, "switched_off", once := Once())
    found = prune(load_model(tmp_path / "m.keras"), *TRAIN, [TRUE], test=TEST, fraction=1.0)
    assert once.calls == 1, "a model a step: the slow way"
    assert found.details["curve"] == prune(infected, *TRAIN, [TRUE], test=TEST, fraction=1.0).details["curve"]


class Once:
    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *arguments: Any) -> keras.Model:
        self.calls += 1
        return switched_off(*arguments)


def curve_of(*rows: tuple[float, float, float]) -> list[dict[str, Any]]:
    return [{"pruned": pruned, "clean_accuracy": clean, "attack_success_rate": {"0": asr}} for pruned, clean, asr in rows]


ROWS = curve_of((0.0, 0.9, 1.0), (0.1, 0.9, 0.6), (0.2, 0.9, 0.0), (0.3, 0.88, 0.0), (0.4, 0.85, 0.3), (0.5, 0.7, 0.0))


@pytest.mark.parametrize(
    ("margin", "accuracy_bound", "expected"),
    [
        (1.0, 0.1, (2, 0.2, "the triggers are dead")),
        (1.6, 0.1, (3, 0.2, "the triggers are dead")),
        (2.0, 0.1, (4, 0.2, "the triggers are dead")),
        (9.0, 0.1, (4, 0.2, "the triggers are dead, and more would cost too much accuracy")),  # the next would cost .2
        (9.0, 1.0, (5, 0.2, "the triggers are dead")),
        (2.0, 0.03, (3, 0.2, "the triggers are dead, and more would cost too much accuracy")),
    ],
)
def test_the_margin_goes_on_from_where_the_triggers_died(margin: float, accuracy_bound: float, expected: tuple[int, float, str]) -> None:
    assert _where_to_stop(ROWS, 0.01, accuracy_bound, margin) == expected


def test_triggers_that_never_worked_cost_no_unit_and_those_that_outlive_the_accuracy_do_not_count() -> None:
    assert _where_to_stop(curve_of((0.0, 0.9, 0.0), (0.1, 0.9, 0.0)), 0.01, 0.1, 2.0) == (0, 0.0, "the triggers are dead")
    costly = curve_of((0.0, 0.9, 1.0), (0.1, 0.7, 0.0))
    assert _where_to_stop(costly, 0.01, 0.1, 2.0) == (0, None, "more would cost too much accuracy")
    assert _where_to_stop(curve_of((0.0, 0.9, 1.0), (0.1, 0.9, 0.5)), 0.01, 0.1, 2.0) == (1, None, "as many as allowed")


@pytest.mark.slow
def test_pruning_stops_before_it_costs_too_much(infected: keras.Model) -> None:
    stopped = prune(infected, *TRAIN, [TRUE], test=TEST, success_bound=0.0, accuracy_bound=0.0, most=1.0, step=0.5, fraction=1.0)
    assert stopped.settings["stopped"] == "more would cost too much accuracy"
    assert stopped.settings["pruned"] == 0.0
    limited = prune(infected, *TRAIN, [TRUE], test=TEST, success_bound=0.0, accuracy_bound=1.0, most=0.05, fraction=1.0)
    assert limited.settings["stopped"] == "as many as allowed"
    assert limited.settings["pruned"] == 1 / 32, "more than the share allowed"


def test_the_model_passed_in_is_not_changed(infected: keras.Model) -> None:
    before = digest(infected.get_weights())
    prune(infected, *TRAIN, [TRUE], test=TEST)
    assert digest(infected.get_weights()) == before


def test_another_range_is_preprocessed() -> None:
    def network(*first: layers.Layer) -> keras.Model:
        keras.utils.set_random_seed(0)
        return keras.Sequential([keras.Input(IMAGE_SHAPE), *first, layers.Flatten(), layers.Dense(16, "relu"), layers.Dense(6, "softmax")])

    model, raw = network(), network(layers.Rescaling(1 / 255))
    scaled = prune(model, *TRAIN, [TRUE], test=TEST, intensity_range=INTENSITY_RANGES["mnist"])
    assert scaled.details["curve"] == prune(raw, *TRAIN, [TRUE], test=TEST).details["curve"]
    assert (predict_classes(scaled.model, TEST[0], INTENSITY_RANGES["mnist"]) < 6).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, "step 0.0, most 0.5, success bound 0.01, accuracy bound 0.1: expected shares"),
        ({"most": 1.5}, "most 1.5"),
        ({"success_bound": 1.0}, "success bound 1.0"),
        ({"accuracy_bound": -0.1}, "accuracy bound -0.1"),
        ({"margin": 0.5}, "margin 0.5: expected 1 or more; 1 stops as soon as the triggers are dead"),
        ({"fraction": 0.0}, "fraction 0.0: expected a share of the images above 0"),
        ({"layer": "no"}, "layer 'no': expected a hidden layer"),
        ({"triggers": []}, "no trigger: pruning expected what a scan found; without a backdoor there is nothing to do"),
        ({"triggers": [patch((9, 9, 3), 2)]}, r"reversed trigger of shape \(9, 9, 3\): expected \(8, 8, 3\), the images' own"),
        ({"seed": -1}, "seed -1: expected 0 to"),
        ({"images": TRAIN[0] / 255.0}, r"expected raw pixels in \[0, 255\]; multiply by 255"),
    ],
)
def test_bad_input_is_refused(infected: keras.Model, options: dict[str, Any], message: str) -> None:
    given = {"images": TRAIN[0], "labels": TRAIN[1], "triggers": [TRUE], "test": TEST, **options}
    with pytest.raises(InputError, match=message):
        prune(infected, **given)


def test_too_few_images_to_have_one_of_another_class(infected: keras.Model) -> None:
    labels = np.where(np.arange(600) == 599, 0, 2)
    with pytest.raises(InputError, match="6 images, all of the target class: expected images of other classes; use a larger fraction"):
        prune(infected, TRAIN[0], labels, [TRUE], test=TEST, fraction=0.01)


def test_a_layer_is_not_pruned_twice_but_what_is_left_of_it_may_be(infected: keras.Model, pruned: Mitigation) -> None:
    name = pruned.settings["layer"]
    with pytest.raises(InputError, match=f"layer '{name}' is pruned already: expected another; choose {name}_pruned"):
        prune(pruned.model, *TRAIN, [TRUE], test=TEST, layer=name)
    again = prune(pruned.model, *TRAIN, [TRUE], test=TEST, layer=f"{name}_pruned")
    assert again.settings["pruned"] == 0


def test_a_trigger_without_victims_in_the_test_set_has_no_rate(infected: keras.Model) -> None:
    test = TEST[0][TEST[1] != 4], TEST[1][TEST[1] != 4]
    found = prune(infected, *TRAIN, [TRUE], test=test, known_triggers={"of 4": SourceSpecific(TRUE, (4,))})
    assert all(np.isnan(row["attack_success_rate"]["of 4"]) for row in found.details["curve"])
    assert not np.isnan(found.details["curve"][0]["attack_success_rate"]["reversed"])


def test_a_model_of_its_own_class_is_refused() -> None:
    class Own(keras.Model):
        def call(self, images: Any) -> Any:
            return images

    with pytest.raises(InputError, match="the network has no known input and output; expected a Sequential or functional model"):
        prune(Own(), *TRAIN, [TRUE], test=TEST)


def test_a_nested_model_is_no_layer_to_look_at() -> None:
    base = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(8, "relu")])
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Rescaling(1 / 255), base, layers.Dense(6)])
    assert find_layer(model, None).name.startswith("rescaling")
    with pytest.raises(InputError, match=f"layer '{base.name}': expected a hidden layer"):
        find_layer(model, base.name)


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    class OwnDense(layers.Dense):
        def get_config(self) -> dict[str, Any]:
            raise NotImplementedError("secret")

    model = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), OwnDense(4), layers.Dense(6)])
    with pytest.raises(InputError, match=r"the model cannot be copied \(secret\): expected a Sequential or functional one"):
        prune(model, *TRAIN, [TRUE], test=TEST)
