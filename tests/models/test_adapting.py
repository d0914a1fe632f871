"""Networks of other forms: each is read as what it means, or refused in one sentence, and keeps its form in a repair."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from forms import TEST, TRAIN, VALUES, one_value, two_heads
from keras import layers, ops
from networks import IMAGE_SHAPE, corner_network, corner_trigger
from quick import QUICK, digest

import nc_tf
from nc_tf.datasets.checks import check_images
from nc_tf.datasets.read import read
from nc_tf.errors import InputError
from nc_tf.evaluation import accuracy, attack_success_rate
from nc_tf.mitigation.filtering import input_filter
from nc_tf.mitigation.goodnet import GoodNet
from nc_tf.mitigation.nft import nft
from nc_tf.mitigation.pruning import prune
from nc_tf.mitigation.rounds import unlearn_in_rounds
from nc_tf.mitigation.saving import save_mitigation
from nc_tf.models.adapting import adapt, adapt_to, adapted_like, original_form, to_train, what_was_adapted
from nc_tf.models.loading.load import load_model, load_network
from nc_tf.preprocessing import Preprocessing, preprocessing

IMAGES = np.random.default_rng(0).uniform(0, 255, (6, *IMAGE_SHAPE)).astype(np.float32)
TRIGGER = corner_trigger(0)


def answers(model: keras.Model, images: np.ndarray = IMAGES) -> Any:
    return tf.nest.map_structure(np.asarray, model(images, training=False))


def ends_in(*last: keras.Layer, value: str | None = "sigmoid") -> keras.Model:
    """A network with one value, and some layers behind it."""
    body = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(1, activation=value)]
    return keras.Sequential([keras.Input(IMAGE_SHAPE), *body, *last])


def operation() -> keras.Model:
    model = ends_in(value=None)
    return keras.Model(model.inputs[0], ops.sigmoid(model.outputs[0]))


def ensemble() -> keras.Model:
    images = keras.Input(IMAGE_SHAPE)
    return keras.Model(images, layers.Average()([ends_in()(images), ends_in()(images)]))


@keras.saving.register_keras_serializable("nc_tf_tests")
class Unreadable(keras.Layer):
    """A stranger's layer: scales a sigmoid."""

    def __init__(self, scale: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        self.scale = scale

    def call(self, values: tf.Tensor) -> tf.Tensor:
        return self.scale * tf.sigmoid(values)


PROBABILITIES = [
    ends_in,
    operation,
    ensemble,
    lambda: ends_in(layers.Dropout(0.5), layers.Activation("linear", dtype="float32")),
    lambda: ends_in(layers.Activation("sigmoid"), value=None),
    lambda: ends_in(value="hard_sigmoid"),
    lambda: ends_in(Unreadable(), value=None),
    lambda: keras.Model((images := keras.Input(IMAGE_SHAPE)), ends_in()(images)),
]


@pytest.mark.parametrize("build", PROBABILITIES)
def test_one_sigmoid_output_is_a_classifier_of_two_classes(build: Callable[[], keras.Model]) -> None:
    model = build()
    adapted = adapt(model)
    value = answers(model)
    np.testing.assert_allclose(answers(adapted), np.concatenate([1 - value, value], axis=-1), atol=1e-6)
    assert what_was_adapted(adapted) == {"adapted": "one sigmoid output"}


@pytest.mark.parametrize("build", [lambda: ends_in(value=None), lambda: ends_in(layers.Identity(), value=None)])
def test_one_linear_output_is_the_logit_of_class_1(build: Callable[[], keras.Model]) -> None:
    model = build()
    adapted = adapt(model)
    value = answers(model)
    probability = 1 / (1 + np.exp(-value))
    np.testing.assert_allclose(tf.nn.softmax(answers(adapted)), np.concatenate([1 - probability, probability], axis=-1), atol=1e-6)
    assert what_was_adapted(adapted) == {"adapted": "one linear output, the logit of class 1"}


def flat(values: tuple[int, ...], classes: int = 3) -> keras.Model:
    return keras.Sequential([keras.Input(values), layers.Flatten(), layers.Dense(classes)])


@pytest.mark.parametrize(
    ("own", "asked", "shape"),
    [
        ((784,), None, (28, 28, 1)),
        ((1024,), None, (32, 32, 1)),
        ((3072,), None, (32, 32, 3)),
        ((12288,), None, (64, 64, 3)),
        ((28, 28), None, (28, 28, 1)),
        ((784,), (14, 56, 1), (14, 56, 1)),
        ((48, 50), (40, 20, 3), (40, 20, 3)),
        ((8, 3), (4, 6, 1), (4, 6, 1)),
        ((2 * 8 * 8 * 3,), (2, 8, 8, 3), (2, 8, 8, 3)),
    ],
)
def test_flat_and_gray_input_is_reshaped(own: tuple[int, ...], asked: tuple[int, ...] | None, shape: tuple[int, ...]) -> None:
    model = flat(own)
    adapted = adapt(model, image_shape=asked)
    images = np.random.default_rng(0).random((2, *shape)).astype(np.float32)
    assert adapted.input_shape == (None, *shape)
    np.testing.assert_allclose(answers(adapted, images), answers(model, images.reshape(2, *own)), rtol=1e-6)
    assert what_was_adapted(adapted) == {"adapted": f"input {own} for images {shape}", "own_input_shape": list(own)}
    assert original_form(adapted) is model


def test_the_images_at_hand_say_what_a_flat_input_holds() -> None:
    assert adapt_to(flat((1200,)), (30, 40)).input_shape == (None, 30, 40, 1)
    assert adapt_to(flat((1200,)), (7, 7, 3)).input_shape == (None, 20, 20, 3), "they are others', so it is a square"
    assert adapt_to(flat((28, 28)), (28, 28, 1)).input_shape == (None, 28, 28, 1)
    images, _ = check_images(np.full((5, 784), 200, np.uint8), image_shape=(28, 28, 1))
    assert images.shape == (5, 28, 28, 1)


@pytest.mark.parametrize("output", ["kind", "scores", "1"])
def test_one_of_several_outputs_is_chosen_by_key_layer_or_number(output: str) -> None:
    model = two_heads()
    adapted = adapt(model, output=output)
    np.testing.assert_array_equal(answers(adapted), answers(model)["kind"])
    assert what_was_adapted(adapted) == {"adapted": "output 'kind' of 2", "output": "kind"}
    assert original_form(adapted) is model
    assert adapt(adapted) is adapted


def test_outputs_in_a_list_and_a_single_one_in_a_dict() -> None:
    images = keras.Input(IMAGE_SHAPE, name="picture")
    heads = [layers.Dense(3, name=name)(layers.Flatten()(images)) for name in ("first", "second")]
    several, single = keras.Model(images, heads), keras.Model({"picture": images}, {"scores": heads[0]})
    np.testing.assert_array_equal(answers(adapt(several, output="second")), answers(several)[1])
    adapted = adapt(single)
    np.testing.assert_array_equal(answers(adapted), answers(several)[0])
    assert what_was_adapted(adapted) == {}
    assert isinstance(original_form(adapted).output, dict)


def test_what_needs_no_adapting_comes_back_as_it_was() -> None:
    model = corner_network()
    assert adapt(model) is model
    assert adapt(model, image_shape=IMAGE_SHAPE) is model
    assert adapt_to(model, (9, 9, 3)) is model
    assert original_form(model) is model
    assert adapted_like(model, model) is model
    assert what_was_adapted(model) == {}


def test_a_subclass_with_a_call_of_its_own_is_called_as_one() -> None:
    class Doubled(keras.Model):
        def call(self, inputs: tf.Tensor, training: bool | None = None, mask: tf.Tensor | None = None) -> tf.Tensor:
            return super().call(inputs, training=training, mask=mask) / 2

    body = ends_in()
    model = Doubled(body.inputs, body.outputs)
    np.testing.assert_allclose(answers(adapt(model))[:, 1:], answers(body) / 2, rtol=1e-6)


def network(inputs: int = 1, outputs: int = 1, shape: tuple[int | None, ...] = IMAGE_SHAPE, classes: int = 2) -> keras.Model:
    images = [keras.Input(shape) for _ in range(inputs)]
    merged = layers.Add()(images) if inputs > 1 else images[0]
    pooled = ops.sum(merged, axis=tuple(range(1, len(shape) + 1)))[:, None]
    return keras.Model(images, [layers.Dense(classes, name=f"head_{number}")(pooled) for number in range(outputs)])


def endless(depth: int, *, several: bool = False) -> keras.Model:
    """A value that leads to its sigmoid on 2 ** depth ways."""
    images = keras.Input(IMAGE_SHAPE)
    value = first = layers.Dense(1, activation="sigmoid")(layers.Flatten()(images))
    for _ in range(depth):
        value = layers.Average()([value, value])
    return keras.Model(images, layers.Average()([value, layers.Rescaling(2.0)(first)]) if several else value)


def test_a_long_way_to_the_activation_ends() -> None:
    assert what_was_adapted(adapt(endless(60))) == {"adapted": "one sigmoid output"}


class Subclass(keras.Model):
    """A network whose shapes are not known."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return inputs


REFUSED: list[tuple[Callable[[], Any], dict[str, Any], str]] = [
    (lambda: network(inputs=2), {}, "the network has 2 inputs; expected one, of images or clips; cut out the image branch"),
    (
        lambda: network(outputs=2),
        {},
        r"the network has 2 outputs; expected one, of class scores; choose with --output \(output= of nc_tf.adapt\) "
        r"one of 0: 'head_0' \(None, 2\), 1: 'head_1' \(None, 2\)",
    ),
    (
        lambda: network(outputs=2),
        {"output": "x"},
        r"the network has no single output 'x'; expected one of 0: 'head_0' \(None, 2\), 1: .*; name it, or give its number",
    ),
    (two_heads, {"output": "age"}, "the network puts out one value, through 'relu', which is no class score; expected a sigmoid"),
    (
        lambda: network(shape=(8, 3)),
        {},
        r"reads arrays of shape \(None, 8, 3\); expected images \(N, H, W, C\) or clips \(N, T, H, W, C\), or as many values; "
        r"give --image-shape HxWxC \(image_shape=\(H, W, C\) of nc_tf.adapt\)",
    ),
    (lambda: flat((2400,)), {}, r"reads arrays of shape \(None, 2400\); .*, such as 48x50x1 or 25x32x3$"),
    (lambda: flat((4,)), {}, r"reads arrays of shape \(None, 4\); .*of nc_tf.adapt\)$"),
    (
        lambda: flat((784,)),
        {"image_shape": (28, 28, 3)},
        r"reads 784 values \(784,\), 28x28x3 are 2352; expected as many, HxWxC or TxHxWxC; correct --image-shape",
    ),
    (
        corner_network,
        {"image_shape": (8, 8, 1)},
        r"reads images of shape \(8, 8, 3\), 8x8x1 was asked for; leave --image-shape out",
    ),
    (lambda: network(shape=(None, 8)), {}, r"reads arrays of shape \(None, None, 8\); expected images"),
    (lambda: network(shape=(8, 8, None)), {}, r"reads \(None, 8, 8, None\), channels unknown"),
    (
        lambda: keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Dense(3)]),
        {},
        r"puts out arrays of shape \(None, 8, 8, 3\); expected class scores",
    ),
    (
        lambda: ends_in(value="tanh"),
        {},
        r"puts out one value, through 'tanh', which is no class score; expected a sigmoid \(class 1 above .5\), or no activation "
        r"\(class 1 above 0\), or a score a class",
    ),
    (lambda: ends_in(layers.Rescaling(2.0)), {}, "puts out one value, through 'Rescaling', which is no class score"),
    (lambda: endless(1, several=True), {}, "puts out one value, through 'Rescaling, sigmoid', which is no class score"),
    (lambda: network(outputs=25), {}, r"has 25 outputs; .*, 19: 'head_19' \(None, 2\), \.\.\.$"),
    (
        lambda: ends_in(value="softmax"),
        {},
        "puts out one value, through softmax, which is always 1; expected a sigmoid .*; train it again so",
    ),
    (
        lambda: ends_in(Unreadable(40.0), value=None),
        {},
        r"puts out one value and answers [\d.]+ to [\d.]+ for random images, so it is not known what that means; expected a sigmoid",
    ),
    (lambda: ends_in(Unreadable(float("nan")), value=None), {}, "puts out one value and cannot be tried, so it is not known what"),
    (
        lambda: keras.Sequential([layers.Dense(3)]),
        {},
        r"the network has no known input and output; expected a Sequential or functional model; "
        r"make one: keras.Model\(images, model\(images\)\) with images = keras.Input\(\(H, W, C\)\)",
    ),
    (Subclass, {}, "the network has no known input and output"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "asked", "message"), REFUSED)
def test_networks_that_are_no_classifier(model: Callable[[], Any], asked: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"^m.keras: .*{message}"):
        adapt(model(), name="m.keras", **asked)


@pytest.mark.parametrize("model", [Subclass(), network(outputs=2), network(inputs=2), keras.Sequential([layers.Dense(2)]), "model.h5"])
def test_models_in_memory_get_the_same_messages(model: Any) -> None:
    images, labels = TEST
    visualizer = (model, "raw", "l1", IMAGE_SHAPE, 0.001, 10, 2, 0.1, 2)
    calls: list[Callable[[], Any]] = [lambda: nc_tf.scan(model, images, labels), lambda: nc_tf.Visualizer(*visualizer)]
    repairs: list[Callable[..., Any]] = [nc_tf.unlearn, prune, nft, input_filter, unlearn_in_rounds]
    calls += [partial(method, model, images, labels, [TRIGGER], test=TEST) for method in repairs]
    calls.append(lambda: GoodNet.from_badnet(model, TEST))
    for call in calls:
        with pytest.raises(InputError, match=r"^the model(: the network has (no known|2)| is of type str; expected a keras\.Model)"):
            call()


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_files_of_other_forms_load(suffix: str, tmp_path: Path) -> None:
    value, heads = one_value(), two_heads()
    value.save(tmp_path / f"value{suffix}")
    heads.save(tmp_path / f"heads{suffix}")
    loaded = load_model(tmp_path / f"value{suffix}")
    np.testing.assert_allclose(answers(loaded)[:, 1:], answers(value, IMAGES.reshape(-1, VALUES)), atol=1e-6)
    np.testing.assert_allclose(answers(load_model(tmp_path / f"heads{suffix}", output="kind")), answers(heads)["kind"], atol=1e-6)
    with pytest.raises(InputError, match=f"^{tmp_path}/heads{suffix}: the network has 2 outputs; .* one of 0: 'age'"):
        load_model(tmp_path / f"heads{suffix}")
    with pytest.raises(InputError, match=r"192 values \(192,\), 8x8x1 are 64"):
        load_model(tmp_path / f"value{suffix}", image_shape=(8, 8, 1))


def test_an_adapted_model_is_a_plain_one_on_disk(tmp_path: Path) -> None:
    for number, model in enumerate((one_value(), one_value(None), kind_of_two_heads())):
        adapted = adapt(model)
        adapted.save(tmp_path / f"{number}.keras")
        np.testing.assert_array_equal(answers(load_model(tmp_path / f"{number}.keras")), answers(adapted))


def test_the_outputs_of_a_saved_model_keep_their_names(tmp_path: Path) -> None:
    two_heads().export(tmp_path / "saved", verbose=False)
    with pytest.raises(InputError, match=r"2 outputs; .* one of 0: 'age' .*, 1: 'kind'"):
        load_model(tmp_path / "saved", trust_model=True)
    assert load_model(tmp_path / "saved", trust_model=True, output="kind").output_shape == (None, 2)


def kind_of_two_heads() -> keras.Model:
    return adapt(two_heads(), output="kind")


def one_logit() -> keras.Model:
    return one_value(None, IMAGE_SHAPE)


QUICKLY: dict[str, Any] = {"epochs": 2, "fraction": 1.0, "learning_rate": 0.003, "verbose": 0}
REPAIRS: list[tuple[Callable[[], keras.Model], Callable[..., Any], dict[str, Any]]] = [
    (kind_of_two_heads, nc_tf.unlearn, QUICKLY),
    (one_value, nc_tf.unlearn, QUICKLY),
    (kind_of_two_heads, prune, {"most": 0.9, "step": 0.3}),
    (one_logit, prune, {"most": 0.9, "step": 0.3}),
    (one_value, nft, {"fraction": 0.5, "steps": 3, "verbose": 0}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("build", "method", "settings"), REPAIRS)
def test_a_repair_keeps_the_form(
    build: Callable[[], keras.Model], method: Callable[..., Any], settings: dict[str, Any], tmp_path: Path
) -> None:
    model = build()
    before = digest(model.get_weights())
    done = method(model, *TRAIN, [TRIGGER], test=TEST, **settings)
    assert digest(model.get_weights()) == before
    assert (done.before.clean_accuracy, done.before.attack_success_rate) == (1.0, {"reversed": 1.0})
    assert done.after.clean_accuracy > 0.95
    assert done.after.attack_success_rate["reversed"] < 0.05 or method is nft  # a few steps of it leave the backdoor in
    original = original_form(model)
    assert done.model is not original
    assert (done.model.input_shape, done.model.output_shape) == (original.input_shape, original.output_shape)
    assert original_form(done.classifier) is done.model
    saved = save_mitigation(done, tmp_path / "repaired.keras", TEST, Preprocessing())
    assert saved.after == done.after
    stored = load_network(tmp_path / "repaired.keras")
    shape = original.input_shape[1:]
    tf.nest.map_structure(
        lambda first, then: np.testing.assert_allclose(first, then, atol=1e-6),
        answers(stored, IMAGES.reshape(-1, *shape)),
        answers(done.model, IMAGES.reshape(-1, *shape)),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("build", "suffix"), [(one_value, ".h5"), (one_logit, ".keras")])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_a_filter_keeps_the_input_and_answers_a_score_a_class(build: Callable[[], keras.Model], suffix: str, tmp_path: Path) -> None:
    model = build()
    filtered = input_filter(model, *TRAIN, [TRIGGER], test=TEST, units=0.3)
    assert filtered.after.attack_success_rate == {"reversed": 0.0}
    assert filtered.after.clean_accuracy > 0.9
    assert (filtered.model.input_shape, filtered.model.output_shape) == (model.input_shape, (None, 3))
    kept = answers(filtered.classifier)
    np.testing.assert_allclose(kept[kept[:, 2] == 0, :2], answers(adapt(model))[kept[:, 2] == 0], atol=1e-5)
    assert save_mitigation(filtered, tmp_path / f"filtered{suffix}", TEST, Preprocessing()).after == filtered.after


def test_a_filter_wants_one_output() -> None:
    with pytest.raises(InputError, match="a model with 2 outputs: expected one, which the filter adds a class to; keep that output only"):
        input_filter(adapt(two_heads(), output="kind"), *TRAIN, [TRIGGER], test=TEST)


@pytest.mark.slow
def test_unlearning_in_rounds_and_goodnet_keep_the_choice() -> None:
    options: dict[str, Any] = {"settings": replace(QUICK, max_rounds=5), "starts": 1, "preset": "paper"}
    done = unlearn_in_rounds(kind_of_two_heads(), *TRAIN, [TRIGGER], test=TEST, rounds=1, scan_options=options, **QUICKLY)
    assert done.after.attack_success_rate["reversed"] < 0.05
    assert set(done.model.output) == {"kind", "age"}
    goodnet = GoodNet.from_badnet(one_value(), TRAIN, test_data=TEST, scan_options=options)
    assert goodnet.model.input_shape == (None, *IMAGE_SHAPE)
    assert np.mean(goodnet.predict(TEST[0]) == TEST[1]) == 1.0


def test_a_confident_sigmoid_is_trained_on_its_logit() -> None:
    """Of the stamped images the probability of their own class is 0 to the last digit: its logarithm has no gradient."""
    adapted = adapt(one_value())
    stamped = TRIGGER(TEST[0][TEST[1] == 1].astype(np.float32))
    assert (answers(adapted, stamped)[:, 1] < 1e-12).all()
    learner = to_train(adapted)
    learner.compile(keras.optimizers.SGD(0.01), keras.losses.BinaryCrossentropy())
    before = learner.get_layer("hidden").get_weights()
    learner.fit(stamped, np.ones(len(stamped)), verbose=0)
    assert digest(before) != digest(learner.get_layer("hidden").get_weights())
    linear = adapt(one_value(None))
    assert to_train(linear) is linear


@pytest.mark.slow
def test_a_scan_sees_in_one_value_what_it_sees_in_two() -> None:
    twin = one_value(None, IMAGE_SHAPE)
    two = keras.Model(twin.inputs[0], ops.concatenate([ops.zeros_like(twin.outputs[0]), twin.outputs[0]], axis=-1))
    options: dict[str, Any] = {"preset": "paper", "settings": QUICK}
    expected = [result.trigger.l1_norm for result in nc_tf.scan(two, *TEST, **options).labels]
    found = nc_tf.scan(one_value(None), *TEST, **options)
    assert [result.label for result in found.labels] == [0, 1]
    np.testing.assert_allclose([result.trigger.l1_norm for result in found.labels], expected, rtol=0.05)
    assert expected[0] < 1.5 < 2.5 < expected[1]


def test_what_is_measured_of_one_value_is_what_it_means() -> None:
    """The largest of one score is the first, as if the network had always said class 0."""
    assert accuracy(one_value(), *TEST) == accuracy(one_value(None, IMAGE_SHAPE), *TEST) == 1.0
    with pytest.raises(InputError, match="the network has 2 outputs"):
        accuracy(two_heads(), *TEST)


def test_a_strangers_flat_network_recognises_digits(realdata: Path) -> None:
    model = load_model(realdata / "strangers" / "mnist_flat_784.h5")
    digits = read(realdata / "mnist_test.npz", image_shape=model.input_shape[1:])
    assert accuracy(model, digits.images[:2000], digits.labels[:2000], preprocessing("mnist")) > 0.95


@pytest.mark.slow
def test_the_visualizer_takes_other_forms() -> None:
    visualizer = nc_tf.Visualizer(one_value(), "raw", "l1", IMAGE_SHAPE, 0.1, 8, 4, 0.1, 2, verbose=0, loss="cross_entropy")
    batches = tf.data.Dataset.from_tensor_slices(TEST).shuffle(99, seed=0).batch(20)
    start = np.full(IMAGE_SHAPE, 128.0), np.full(IMAGE_SHAPE[:2], 0.5)
    pattern, _, mask, *logs = visualizer.visualize(batches, 0, *start)
    assert (pattern.shape, mask.shape, len(logs[0])) == (IMAGE_SHAPE, IMAGE_SHAPE[:2], 8)
    model = one_value()
    assert attack_success_rate(adapt(model), *TEST, nc_tf.Trigger(0, mask, pattern)) > accuracy(adapt(model), *TEST) - 0.1
