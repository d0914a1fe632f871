"""Networks that answer as any classifier does and leave a search nothing to see: what is put right, and what is said of the rest."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops
from networks import IMAGE_SHAPE, NUM_CLASSES, corner_images, corner_network

from nc_tf.errors import InputError
from nc_tf.evaluation import predict_classes
from nc_tf.models.frozen import SMALLEST, FrozenNetwork, as_input
from nc_tf.models.output_head import output_head
from nc_tf.models.scale import LEAST_LEAD, MOST_LEAD, USUAL_LEAD, lead, logit_scale
from nc_tf.preprocessing import Preprocessing, preprocessing

IMAGES, LABELS = corner_images(24, seed=6)
FLOATS = tf.constant(IMAGES, tf.float32)
LOGITS = np.asarray(corner_network(1, activation=None)(FLOATS))


def around(wrap: Callable[[keras.KerasTensor], keras.KerasTensor], activation: str | None = "softmax") -> keras.Model:
    """The corner network, infected for label 1, inside another."""
    image = keras.Input(IMAGE_SHAPE)
    return keras.Model(image, wrap(corner_network(1, activation=activation)(image)))


def frozen(model: keras.Model, precision: str = "float32") -> FrozenNetwork:
    return FrozenNetwork(model, Preprocessing(), precision, IMAGES)


def times(model: keras.Model, factor: float) -> keras.Model:
    """The same answers, of logits so many times as large."""
    *others, kernel, bias = model.get_weights()
    model.set_weights([*others, kernel * factor, bias * factor])
    return model


def strangers_own(logits: tf.Tensor) -> tf.Tensor:
    return tf.exp(logits) / tf.reduce_sum(tf.exp(logits), -1, keepdims=True)


# -- what closes a network, wherever it stands -----------------------------------------------------------------------------------------

CLOSED: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "model in a model": (lambda: around(lambda p: p), "softmax"),
    "model in a Sequential": (lambda: keras.Sequential([keras.Input(IMAGE_SHAPE), corner_network(1)]), "softmax"),
    "Sequential in Sequential": (
        lambda: keras.Sequential([keras.Input(IMAGE_SHAPE), keras.Sequential([corner_network(1)]), layers.Dropout(0.5)]),
        "softmax",
    ),
    "Rescaling": (lambda: around(layers.Rescaling(1.0)), "softmax"),
    "Activation": (lambda: around(lambda p: layers.Activation("linear")(layers.Reshape((NUM_CLASSES,))(layers.Identity()(p)))), "softmax"),
    "regularized": (lambda: around(layers.ActivityRegularization(l1=0.1)), "softmax"),
    "operation": (lambda: around(ops.softmax, None), "softmax"),
    "function": (lambda: around(keras.activations.softmax, None), "softmax"),
    "places": (lambda: around(lambda z: layers.Flatten()(layers.Softmax()(layers.Reshape((1, 1, NUM_CLASSES))(z))), None), "softmax"),
    "logarithm": (lambda: around(ops.log), "softmax"),
    "percent": (lambda: around(lambda p: 100.0 * ops.cast(p, "float32")), "softmax"),
    "twice": (lambda: around(layers.Softmax()), "softmax"),
    "rounded": (lambda: around(lambda p: ops.round(p, 2)), "softmax"),
    "clipped": (lambda: around(lambda p: ops.clip(p, 1e-7, 1.0)), "softmax"),
    "stopped": (lambda: around(ops.stop_gradient), "softmax"),
    "its own": (lambda: around(layers.Activation(strangers_own), None), "softmax"),
    "a lambda": (lambda: around(layers.Activation(lambda z: tf.nn.softmax(z)), None), "softmax"),
    "sigmoid": (lambda: around(layers.Rescaling(1.0), "sigmoid"), "sigmoid"),
    "tanh": (lambda: around(ops.tanh, None), "tanh"),
    "log softmax": (lambda: around(ops.log_softmax), "softmax"),
    "softplus": (lambda: corner_network(1, activation="softplus"), "softplus"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("build", "output"), CLOSED.values(), ids=CLOSED)
def test_what_closes_a_network_is_left_out_wherever_it_stands(build: Callable[[], keras.Model], output: str) -> None:
    model = build()
    answers = np.asarray(model(FLOATS, training=False))
    network = frozen(model)
    assert (network.output, network.warnings, network.no_gradient, network.logit_scale) == (output, (), None, 1.0)
    np.testing.assert_allclose(network(FLOATS), LOGITS, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(output_head(model).close(network(FLOATS)), answers, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(model(FLOATS, training=False), answers)


@pytest.mark.parametrize("activation", ["sigmoid", "hard_sigmoid"])
@pytest.mark.parametrize("swapped", [False, True])
def test_one_sigmoid_that_became_two_classes_is_left_out_too(swapped: bool, activation: str) -> None:
    image = keras.Input(IMAGE_SHAPE)
    body = [layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(1, activation=activation)]
    inner = keras.Sequential([keras.Input(IMAGE_SHAPE), *body])
    p = inner(image)
    model = keras.Model(image, ops.concatenate([p, 1 - p] if swapped else [1 - p, p], -1))
    network = frozen(model)
    assert (network.output, network.warnings) == (activation, ())
    z = np.reshape(IMAGES / 255.0, (len(IMAGES), -1)) @ np.asarray(inner.layers[-1].kernel)
    expected = np.concatenate([z, 0 * z] if swapped else [0 * z, z], -1)
    np.testing.assert_allclose(network.scores(FLOATS), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output_head(model).close(network.scores(FLOATS)), model(FLOATS), atol=1e-6)
    np.testing.assert_array_equal(np.argmax(expected, -1), np.argmax(model(FLOATS), -1))


def ensemble() -> keras.Model:
    image = keras.Input(IMAGE_SHAPE)
    return keras.Model(image, layers.Average()([corner_network(1)(image), corner_network(2)(image)]))


def shared_activation() -> keras.Model:
    """Leaving out the last call of this layer would leave out the first one too."""
    image, squash = keras.Input(IMAGE_SHAPE), layers.Activation("tanh")
    features = squash(layers.Dense(8)(layers.Flatten()(layers.Rescaling(1 / 255)(image))))
    return keras.Model(image, squash(layers.Dense(5)(features)))


KEPT: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "an average of softmaxes": (ensemble, "probabilities"),
    "a layer used twice": (shared_activation, "logits"),
    "the other end": (lambda: around(lambda p: 1.0 - p), "logits"),
    "places that stay apart": (
        lambda: around(lambda z: layers.Flatten()(layers.Softmax()(layers.Reshape((2, NUM_CLASSES // 2))(z))), None),
        "logits",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("build", "output"), KEPT.values(), ids=KEPT)
def test_what_cannot_be_left_out_stays_and_the_copy_answers_as_the_model(build: Callable[[], keras.Model], output: str) -> None:
    model = build()
    network = frozen(model)
    assert (network.output, network.warnings) == (output, ())
    assert network.model is not model
    np.testing.assert_allclose(network.model(FLOATS), model(FLOATS), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_quantized_network_is_copied_without_its_softmax() -> None:
    model = corner_network(1)
    for layer in model.layers:
        if isinstance(layer, layers.Dense):
            layer.quantize("int8")
    network = frozen(model)
    assert (network.output, network.warnings, network.no_gradient) == ("softmax", (), None)
    np.testing.assert_allclose(tf.nn.softmax(network(FLOATS)), model(FLOATS), atol=1e-5)


def test_a_lambda_is_copied_with_its_function() -> None:
    image = keras.Input(IMAGE_SHAPE)
    network = frozen(keras.Model(image, corner_network(1)(layers.Lambda(lambda pixels: pixels * 1.0)(image))))
    assert (network.output, network.warnings) == ("softmax", ())
    np.testing.assert_allclose(network(FLOATS), LOGITS, rtol=1e-4, atol=1e-4)


class Own(keras.Model):
    """A softmax that nobody can leave out, of logits so many times as large, mixed with equal chances for all."""

    def __init__(self, factor: float = 1.0, equal: float = 0.0) -> None:
        super().__init__()
        self.inner, self.equal = times(corner_network(1), factor), equal

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return (1.0 - self.equal) * self.inner(images) + self.equal / NUM_CLASSES


def test_a_model_that_cannot_be_copied_is_named_and_its_softmax_has_a_gradient_down_to_the_smallest_number() -> None:
    model = Own(4.0)
    network = frozen(model)
    (warning,) = network.warnings
    assert warning.startswith("the network is searched as it is, with all that closes it, in float32: Keras cannot rebuild it (")
    assert (network.output, network.no_gradient) == ("probabilities", None)
    logits = np.asarray(network(FLOATS))
    expected = 4.0 * LOGITS - 4.0 * LOGITS.max(-1, keepdims=True)
    assert np.log(SMALLEST) < expected.min() < np.log(1e-7), "some would have no gradient with a clip at 1e-7"
    np.testing.assert_allclose(logits, expected, atol=1e-3)
    with tf.GradientTape() as tape:
        tape.watch(FLOATS)
        least = tf.reduce_min(network(FLOATS), -1)
    slopes = tape.gradient(least, FLOATS).numpy()
    assert (np.abs(slopes).max((1, 2, 3)) > 1e-3).all()


# -- logits of an unusual size ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("factor", [1000.0, 300.0, 1e-3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_logits_of_an_unusual_size_are_brought_to_a_usual_one(factor: float, precision: str) -> None:
    network = frozen(times(around(layers.Rescaling(1.0)), factor), precision)
    logits = np.asarray(network(FLOATS))
    assert (network.precision, network.warnings, network.no_gradient) == (precision, (), None)
    assert np.log2(network.logit_scale) == round(np.log2(network.logit_scale)) != 0
    assert USUAL_LEAD / 2 < lead(logits) < USUAL_LEAD * 2
    np.testing.assert_array_equal(logits.argmax(-1), LABELS)
    np.testing.assert_allclose(logits, LOGITS * factor * network.logit_scale, atol=0.02 * np.abs(logits).max())


@pytest.mark.parametrize("factor", [0.2, 1.0, 4.0])
def test_logits_of_a_usual_size_stay_as_they_are(factor: float) -> None:
    assert frozen(times(corner_network(1), factor)).logit_scale == 1.0


def test_the_lead_is_a_median_over_images_and_classes_that_are_answered() -> None:
    logits = np.array([[3.0, 1.0, 0.0], [0.0, 5.0, 1.0], [1.0, 0.0, 8.0]])
    assert lead(logits) == 4.5  # of 2, 3, 5, 4, 7 and 8
    # A class that is never answered, however far behind, a copy of one, and an image beyond all measure make no odds, or little.
    assert lead(np.column_stack([logits, np.full(3, -1e6), logits[:, 2] - 1e-3])) == 4.5
    assert lead(np.concatenate([logits, [[1e9, 0.0, 0.0]]])) == 6.0
    assert lead(np.array([[7.0, 3.0, 2.0], [9.0, 3.0, 4.0]])) == 5.0  # one answer only: of all classes, 4, 5, 6 and 5


def test_the_scale_is_one_within_the_band_and_a_power_of_two_beyond() -> None:
    def scale(size: float) -> float:
        return logit_scale(np.array([[size, 0.0], [0.0, size]], np.float32))

    assert [scale(size) for size in (1.1 * LEAST_LEAD, 5.0, 62.0, 0.9 * MOST_LEAD, 0.0)] == [1.0] * 5
    assert [scale(size) for size in (USUAL_LEAD * 1024, USUAL_LEAD / 1024, 3e38, 1e-44)] == [2.0**-10, 2.0**10, 2.0**-120, 2.0**120]


def test_two_classes_that_are_as_good_as_equal_do_not_make_logits_small() -> None:
    """As images in a wrong range may be answered."""
    assert logit_scale(np.array([[3.0, 2.999, 0.0, 1.0], [2.999, 3.0, 0.5, 0.0]])) == 1.0


# -- no gradient -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["uint8", "float32"])
def test_a_network_that_reads_whole_numbers_has_a_twin_that_reads_floats(outer: str) -> None:
    inner, image = keras.Input(IMAGE_SHAPE, dtype="uint8"), keras.Input(IMAGE_SHAPE, dtype=outer)
    model = keras.Model(image, corner_network(1)(keras.Model(inner, layers.Rescaling(1.0)(inner))(image)))
    network = frozen(model)
    assert (network.output, network.warnings, network.no_gradient) == ("softmax", (), None)
    np.testing.assert_allclose(network(FLOATS), LOGITS, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(predict_classes(model, IMAGES), LABELS)


def test_a_network_that_reads_whole_numbers_is_given_rounded_ones() -> None:
    """A trigger makes fractions; what is cut off them would be darker than the search saw it."""
    image = keras.Input(IMAGE_SHAPE, dtype="uint8")
    model = keras.Model(image, layers.Flatten()(layers.Rescaling(1.0)(image[:, :1, :1])))
    given = np.full((1, *IMAGE_SHAPE), 7.0, np.float32)
    given[0, 0, 0] = [6.4, 6.6, 200.5]
    np.testing.assert_array_equal(model(as_input(model, given)), [[6.0, 7.0, 200.0]])
    assert as_input(corner_network(1), given) is given


def test_gradients_go_through_what_only_stops_them() -> None:
    image = keras.Input(IMAGE_SHAPE)
    network = frozen(keras.Model(image, corner_network(1)(ops.stop_gradient(image))))
    assert (network.output, network.warnings, network.no_gradient) == ("softmax", (), None)
    np.testing.assert_allclose(network(FLOATS), LOGITS, rtol=1e-4, atol=1e-4)


def test_a_cast_to_floats_is_copied_in_bfloat16_too() -> None:
    image = keras.Input(IMAGE_SHAPE, dtype="uint8")
    assert frozen(keras.Model(image, corner_network(1)(ops.cast(image, "float32"))), "bfloat16").precision == "bfloat16"


def argmax(p: keras.KerasTensor) -> keras.KerasTensor:
    return ops.one_hot(ops.argmax(p, -1), NUM_CLASSES)


def dead() -> keras.Model:
    model = corner_network(1)
    model.set_weights([*model.get_weights()[:-2], np.zeros((NUM_CLASSES + 1, NUM_CLASSES)), 5.0 * np.eye(NUM_CLASSES)[2]])
    return model


def rounded(rounding: Callable[[keras.KerasTensor], keras.KerasTensor]) -> keras.Model:
    image = keras.Input(IMAGE_SHAPE)
    return keras.Model(image, corner_network(1)(rounding(image)))


def first_ahead(shape: tuple[int, ...], dtype: str | None = None) -> tf.Tensor:
    return tf.one_hot(0, shape[0], 9.0, dtype=dtype or "float32")


SIGHTLESS: dict[str, Callable[[], keras.Model]] = {
    "cast to integers and back": lambda: rounded(lambda x: ops.cast(ops.cast(x, "int32"), "float32")),
    "rounded": lambda: rounded(ops.round),
    "argmax": lambda: around(argmax),
    "sign": lambda: around(lambda p: ops.sign(p - 0.5)),
    "constant": dead,
    "cold softmax of a subclass": lambda: Own(1000.0),
    "all classes alike": lambda: keras.Sequential(
        [keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(NUM_CLASSES, kernel_initializer="ones", bias_initializer=first_ahead)]
    ),
    "floor under what a softmax leaves": lambda: Own(12.0, 1e-3),
}


@pytest.mark.slow
@pytest.mark.parametrize("build", SIGHTLESS.values(), ids=SIGHTLESS)
def test_a_network_without_a_gradient_is_told_in_a_sentence(build: Callable[[], keras.Model]) -> None:
    sentence = frozen(build()).no_gradient
    assert sentence is not None
    assert sentence.startswith("no gradient of the model's answers reaches its input, for 12 of 12 pairs of an image and a label")


def over_the_batch() -> keras.Model:
    return around(layers.Softmax(axis=0), None)


class Noisy(keras.Model):
    """Answers another class at every call."""

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return tf.random.normal([tf.shape(images)[0], 5]) + tf.reduce_mean(images)


@pytest.mark.parametrize("build", [over_the_batch, Noisy], ids=["a softmax over the batch", "noise"])
def test_an_answer_that_depends_on_more_than_the_image_is_told_in_a_sentence(build: Callable[[], keras.Model]) -> None:
    sentence = frozen(build()).no_gradient
    assert sentence is not None
    assert sentence.startswith("the model's answer to an image changes from call to call, or with the images beside it")


def test_a_dropout_that_was_called_for_training_sleeps_in_the_copy_as_in_the_model() -> None:
    image = keras.Input(IMAGE_SHAPE)
    network = frozen(keras.Model(image, corner_network(1)(layers.Dropout(0.5)(image, training=True))))
    assert (network.no_gradient, network.warnings) == (None, ())
    np.testing.assert_allclose(network(FLOATS), LOGITS, rtol=1e-4, atol=1e-4)


def test_a_network_for_one_image_at_a_time_takes_many() -> None:
    image = keras.Input(batch_shape=(1, *IMAGE_SHAPE))
    network = frozen(keras.Model(image, corner_network(1)(image)))
    assert (network.output, network.warnings, network.no_gradient) == ("softmax", (), None)
    assert network.model.input_shape == (None, *IMAGE_SHAPE)
    np.testing.assert_allclose(network(FLOATS), LOGITS, rtol=1e-4, atol=1e-4)


def test_a_network_with_a_number_of_images_built_in_is_refused_in_a_sentence() -> None:
    image = keras.Input(batch_shape=(1, *IMAGE_SHAPE))
    model = keras.Model(image, layers.Dense(3)(ops.reshape(image, (1, 192))))
    message = r"cannot answer \d+ inputs of shape \(8, 8, 3\) at once \(.*\): expected a network for any number of them; rebuild it without"
    for attempt in (lambda: frozen(model), lambda: predict_classes(model, IMAGES)):
        with pytest.raises(InputError, match=message):
            attempt()


def test_a_compiled_network_is_copied_whatever_it_was_trained_with() -> None:
    model = corner_network(1)
    model.compile(loss=lambda truth, answers: 0.0 * answers, metrics=[lambda truth, answers: 0.0 * answers])
    assert frozen(model).warnings == ()


def test_a_copy_that_answers_otherwise_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    from nc_tf.models import frozen as module

    made = module.copy_up_to

    def spoilt(*args: Any) -> keras.Model:
        copy = made(*args)
        copy.set_weights([-weight for weight in copy.get_weights()])
        return copy

    monkeypatch.setattr(module, "copy_up_to", spoilt)
    model = around(lambda p: p)
    network = frozen(model)
    assert network.model is model
    assert network.warnings == ("the network is searched as it is, with all that closes it, in float32: a copy answers otherwise",)
    np.testing.assert_allclose(tf.nn.softmax(network(FLOATS)), model(FLOATS), atol=1e-5)


def test_a_network_that_bfloat16_would_change_is_searched_in_float32() -> None:
    """Every logit is moved by so much that in bfloat16 what lies between them is rounded away."""
    model = corner_network(1, activation=None)
    model.set_weights([*model.get_weights()[:-1], np.full(NUM_CLASSES, 3000.0)])
    network = frozen(model, "bfloat16")
    assert (network.precision, network.warnings) == (
        "float32",
        ("in bfloat16 the network answers otherwise, so the search runs in float32",),
    )


def test_a_network_in_bfloat16_is_copied_in_float32() -> None:
    """It rounds its own answers by more than a copy may otherwise differ: scores of 30 or so, which a tenth lies between, to an eighth."""
    apart = keras.initializers.RandomUniform(0.0, 0.4, seed=1)
    scores = layers.Dense(5, kernel_initializer="ones", bias_initializer=apart, dtype="mixed_bfloat16")
    body = [layers.Rescaling(1 / 255), layers.Flatten(), scores, layers.Softmax(dtype="float32")]
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), *body])
    network = frozen(model)
    assert (network.output, network.precision, network.warnings) == ("softmax", "float32", ())
    assert np.abs(tf.nn.softmax(network.scores(FLOATS)) - model(FLOATS)).max() > 0.02 * np.max(model(FLOATS))


def test_images_are_looked_at_from_the_first_to_the_last() -> None:
    """Sets are often sorted by class: the first ones alone would tell little of the size of the logits."""
    order = np.argsort(LABELS, kind="stable")
    network = FrozenNetwork(corner_network(1), preprocessing("raw"), "float32", np.repeat(IMAGES[order], 20, 0))
    assert network.logit_scale == 1.0
