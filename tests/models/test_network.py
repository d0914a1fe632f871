"""Any classifier as the search sees it: the same classes, on logits, from raw pixels, with the model itself left alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from networks import IMAGE_SHAPE, corner_images, corner_network

from nc_tf.errors import InputError
from nc_tf.models import frozen
from nc_tf.models.frozen import SMALLEST, FrozenNetwork, are_probabilities, has_bfloat16, resolve_precision
from nc_tf.models.networks.architectures import gtsrb_network, signs_network
from nc_tf.models.networks.cnn_lstm import cnn_lstm
from nc_tf.preprocessing import Preprocessing, preprocessing

IMAGES = corner_images(12, seed=6)[0]
FLOATS = IMAGES.astype(np.float32)


def sequential(*closing: layers.Layer) -> keras.Model:
    body = [layers.Rescaling(1 / 255), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.5)]
    return keras.Sequential([keras.Input(IMAGE_SHAPE), *body, layers.Flatten(), *closing])


def branches(activation: str = "softmax") -> keras.Model:
    image = keras.Input(IMAGE_SHAPE)
    small = layers.Rescaling(1 / 255)(image)
    left, right = layers.Conv2D(3, 3)(small), layers.Conv2D(3, 3, activation="relu")(small)
    return keras.Model(image, layers.Dense(5, activation=activation)(layers.Flatten()(layers.Concatenate()([left, right]))))


def functional_softmax_layer() -> keras.Model:
    image = keras.Input(IMAGE_SHAPE)
    return keras.Model(image, layers.Softmax()(layers.Dense(5)(layers.Flatten()(layers.Rescaling(1 / 255)(image)))))


def nested() -> keras.Model:
    return keras.Sequential([keras.Input(IMAGE_SHAPE), branches()])


def augmented() -> keras.Model:
    head = [layers.Dropout(0.5), layers.Dense(5, activation="softmax")]
    return keras.Sequential([keras.Input(IMAGE_SHAPE), layers.RandomFlip(seed=1), layers.Rescaling(1 / 255), layers.Flatten(), *head])


def home_made(logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.softmax(logits)


class Subclass(keras.Model):
    """A model whose `call` is its own, so that nobody can rebuild it."""

    def __init__(self, activation: str | None = None) -> None:
        super().__init__()
        self.dense = layers.Dense(5, activation=activation)

    def call(self, images: tf.Tensor) -> tf.Tensor:
        return self.dense(tf.reshape(images, [-1, 192]) / 255.0)


SOFTMAX_LIKE: list[tuple[Callable[[], keras.Model], str]] = [
    (lambda: sequential(layers.Dense(5, activation="softmax")), "softmax"),
    (lambda: sequential(layers.Dense(5), layers.Softmax()), "softmax"),
    (lambda: sequential(layers.Dense(5), layers.Activation("softmax")), "softmax"),
    (lambda: sequential(layers.Dense(5, activation="softmax", dtype="float32")), "softmax"),
    (lambda: sequential(layers.Dense(5, activation=home_made)), "softmax"),
    (functional_softmax_layer, "softmax"),
    (branches, "softmax"),
    (augmented, "softmax"),
    (nested, "softmax"),
    (lambda: Subclass("softmax"), "probabilities"),
    (lambda: corner_network(1), "softmax"),
]
IDS = ["dense", "layer", "activation", "float32", "home-made", "functional layer", "branches", "augmented", "nested", "subclass", "corner"]


@pytest.mark.slow
@pytest.mark.parametrize(("build", "output"), SOFTMAX_LIKE, ids=IDS)
def test_a_softmax_is_undone(build: Callable[[], keras.Model], output: str) -> None:
    model = build()
    expected = np.asarray(model(FLOATS, training=False))
    before = [np.array(weight) for weight in model.get_weights()]
    network = FrozenNetwork(model, Preprocessing(), "float32", IMAGES)
    logits = network.scores(tf.constant(FLOATS))
    assert (network.output, network.num_classes, network.precision) == (output, expected.shape[1], "float32")
    assert (logits.dtype, logits.shape) == (tf.float32, expected.shape)
    np.testing.assert_allclose(tf.nn.softmax(logits), expected, rtol=1e-4, atol=1e-6)
    assert not np.allclose(logits, expected, atol=1e-2), "these are still probabilities"
    # The model itself: as it was, still closing with its softmax.
    np.testing.assert_array_equal(model(FLOATS, training=False), expected)
    for weight, old in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(weight, old)
    assert model.trainable


@pytest.mark.parametrize(
    "build", [lambda: sequential(layers.Dense(5)), lambda: branches("linear"), Subclass], ids=["sequential", "functional", "subclass"]
)
def test_logits_stay_logits(build: Callable[[], keras.Model]) -> None:
    model = build()
    expected = model(FLOATS, training=False)
    network = FrozenNetwork(model, Preprocessing(), "float32", IMAGES)
    assert network.output == "logits"
    np.testing.assert_allclose(network.scores(tf.constant(FLOATS)), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "closing", [lambda: [layers.Dense(5, activation="sigmoid")], lambda: [layers.Dense(5), layers.Activation("sigmoid")]]
)
def test_a_sigmoid_is_undone(closing: Callable[[], list[layers.Layer]]) -> None:
    model = sequential(*closing())
    network = FrozenNetwork(model, Preprocessing(), "float32", IMAGES)
    assert network.output == "sigmoid"
    np.testing.assert_allclose(tf.sigmoid(network.scores(tf.constant(FLOATS))), model(FLOATS, training=False), rtol=1e-4, atol=1e-6)


def test_logits_are_steady_where_a_softmax_is_not() -> None:
    """Where the softmax rounds to exactly 1 and 0 its gradient is 0; that of the logits is not."""
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Flatten(), layers.Dense(2, activation="softmax")])
    model.set_weights([np.tile([[1.0, -1.0]], (192, 1)), np.zeros(2)])
    network = FrozenNetwork(model, Preprocessing(), "float32", IMAGES)
    image = tf.fill([1, *IMAGE_SHAPE], 200.0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(image)
        of_model, of_network = model(image)[:, 1], network.scores(image)[:, 1]
    np.testing.assert_array_equal(tape.gradient(of_model, image), 0.0)
    np.testing.assert_allclose(tape.gradient(of_network, image), -1.0)


def test_probabilities_of_zero_have_finite_logits() -> None:
    class Certain(keras.Model):
        def call(self, images: tf.Tensor) -> tf.Tensor:
            return tf.one_hot(tf.zeros([tf.shape(images)[0]], tf.int32), 3)

    network = FrozenNetwork(Certain(), Preprocessing(), "float32", IMAGES)
    np.testing.assert_allclose(network(tf.constant(FLOATS[:1])), [[0.0, np.log(SMALLEST), np.log(SMALLEST)]], rtol=1e-5)


def clips() -> keras.Model:
    return cnn_lstm(5, (3, 16, 16, 3), lstm_units=8)


@pytest.mark.slow
@pytest.mark.parametrize("build", [lambda: corner_network(2), branches, signs_network, clips], ids=["corner", "branches", "signs", "clips"])
def test_bfloat16_answers_nearly_the_same(build: Callable[[], keras.Model]) -> None:
    model = build()
    images = np.random.default_rng(1).integers(0, 256, (6, *model.input_shape[1:])).astype(np.uint8)
    exact, coarse = (FrozenNetwork(model, Preprocessing(), precision, images) for precision in ("float32", "bfloat16"))
    assert coarse.precision == "bfloat16"
    assert {layer.compute_dtype for layer in coarse.model.layers if layer.weights} == {"bfloat16"}
    assert {layer.compute_dtype for layer in exact.model.layers} == {"float32"}
    here, there = exact.scores(tf.constant(images, tf.float32)), coarse.scores(tf.constant(images, tf.float32))
    assert there.dtype == tf.float32
    np.testing.assert_allclose(there, here, atol=0.03 * float(tf.reduce_max(tf.abs(here))))
    assert not np.array_equal(there, here)
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def every_layer(layer: layers.Layer) -> list[layers.Layer]:
    """A layer and all that it holds, nested models and what TimeDistributed wraps included; but not models and inputs themselves."""
    held = layer.layers if isinstance(layer, keras.Model) else [layer.layer] if isinstance(layer, layers.Wrapper) else []
    itself = [] if isinstance(layer, layers.InputLayer | keras.Model) else [layer]
    return [found for child in held for found in every_layer(child)] + itself


@pytest.mark.slow
@pytest.mark.parametrize("wrapped", ["model", "layer", "twice"])
def test_what_is_repeated_over_time_is_rebuilt_too(wrapped: str) -> None:
    clip = keras.Input((3, 8, 8, 3))
    if wrapped == "layer":
        body = [layers.TimeDistributed(layers.Conv2D(4, 3)), layers.TimeDistributed(layers.Flatten())]
    else:
        frame: layers.Layer = sequential(layers.Dense(6))
        body = [layers.TimeDistributed(keras.Sequential([keras.Input(IMAGE_SHAPE), frame]) if wrapped == "twice" else frame)]
    answers = clip
    for layer in [*body, layers.GRU(4, return_sequences=True), layers.LSTM(4), layers.Dense(3, activation="softmax")]:
        answers = layer(answers)
    model = keras.Model(clip, answers)
    images = np.random.default_rng(2).integers(0, 256, (4, 3, 8, 8, 3)).astype(np.uint8)
    exact, coarse = (FrozenNetwork(model, Preprocessing(), precision, images) for precision in ("float32", "bfloat16"))
    here, there = (np.asarray(network.scores(tf.constant(images, tf.float32))) for network in (exact, coarse))
    np.testing.assert_allclose(tf.nn.softmax(here), model(images.astype(np.float32), training=False), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(there, here, atol=0.03 * np.abs(here).max())
    for network, dtype in ((exact, "float32"), (coarse, "bfloat16")):
        inner = every_layer(network.model)
        assert {layer.compute_dtype for layer in inner} == {dtype}
        assert {type(layer) for layer in inner} >= {layers.GRU, layers.LSTM, layers.Conv2D}
        # All frames in one call: sliced out one by one, each would need a gradient of the whole clip's size.
        assert _convolutions(network, images) == 1
        assert not any(layer.use_cudnn for layer in inner if isinstance(layer, layers.GRU | layers.LSTM))
    assert {layer.compute_dtype for layer in every_layer(model)} == {"float32"}


def _convolutions(network: FrozenNetwork, images: np.ndarray) -> int:
    graph = tf.function(network).get_concrete_function(tf.TensorSpec((None, *images.shape[1:]))).graph
    return sum(operation.type == "Conv2D" for operation in graph.get_operations())


def normalized(*normalizations: layers.Layer, wrap: bool = False, **convolution: Any) -> keras.Model:
    """Convolutions, each with its BatchNormalization, of statistics that have seen training."""
    body: list[layers.Layer] = [layers.Rescaling(1 / 255)]
    for normalization in normalizations:
        body += [layers.Conv2D(4, 3, padding="same", **convolution), normalization, layers.ReLU()]
    frame = keras.Sequential([keras.Input(IMAGE_SHAPE), *body, layers.Flatten()])
    images = keras.Input((1, *IMAGE_SHAPE)) if wrap else keras.Input(IMAGE_SHAPE)
    features = layers.Flatten()(layers.TimeDistributed(frame)(images)) if wrap else frame(images)
    return with_statistics(keras.Model(images, layers.Dense(5)(features)))


def with_statistics(model: keras.Model) -> keras.Model:
    rng = np.random.default_rng(3)
    for layer in every_layer(model):
        if isinstance(layer, layers.BatchNormalization):
            for weight in layer.weights:
                # Factors about one, offsets about zero: the ReLU behind lets about half of it through.
                weight.assign(rng.uniform(*((0.5, 2.0) if weight.name in ("gamma", "moving_variance") else (-0.5, 0.5)), weight.shape))
    return model


def slopes(model: Callable[[tf.Tensor], tf.Tensor], images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Answers, and the gradient of the first."""
    raw = tf.constant(images, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(raw)
        answers = model(raw)
        first = tf.reduce_sum(answers[:, 0])
    return answers.numpy(), tape.gradient(first, raw).numpy()


def kinds(model: keras.Model) -> list[type]:
    return [type(layer) for layer in every_layer(model)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normalizations", "built"),
    [
        ([{}, {}], {"use_bias": False}),
        ([{"scale": False, "epsilon": 0.1}], {"use_bias": True}),
        ([{"center": False}], {"strides": 2}),
        ([{}, {}], {"wrap": True, "use_bias": False}),
    ],
    ids=["two", "bias, no scale", "no center", "over time"],
)
def test_batch_normalization_is_multiplied_into_the_kernel_before_it(normalizations: list[dict[str, Any]], built: dict[str, Any]) -> None:
    model = normalized(*(layers.BatchNormalization(**each) for each in normalizations), **built)
    assert layers.BatchNormalization in kinds(model)
    images = IMAGES.reshape(-1, *model.input_shape[1:])
    network = FrozenNetwork(model, Preprocessing(), "float32", images)
    assert layers.BatchNormalization not in kinds(network.model)
    for here, there in zip(slopes(network.scores, images), slopes(lambda raw: model(raw, training=False), images), strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-4 * np.abs(there).max())
    exact, coarse = network.scores(tf.constant(images, tf.float32)), FrozenNetwork(model, Preprocessing(), "bfloat16", images)
    np.testing.assert_allclose(coarse.scores(tf.constant(images, tf.float32)), exact, atol=0.03 * float(tf.reduce_max(tf.abs(exact))))
    assert layers.BatchNormalization in kinds(model), "the model itself is as it was"


def test_batch_normalization_of_a_model_read_from_a_file_is_multiplied_in_too(tmp_path: Path) -> None:
    normalized(layers.BatchNormalization()).save(tmp_path / "model.keras")
    model = keras.models.load_model(tmp_path / "model.keras")
    network = FrozenNetwork(model, Preprocessing(), "float32", IMAGES)
    assert layers.BatchNormalization not in kinds(network.model)
    np.testing.assert_allclose(network.scores(tf.constant(FLOATS)), model(FLOATS, training=False), rtol=1e-4, atol=1e-4)


def read_twice(features: keras.KerasTensor) -> keras.KerasTensor:
    convolved = layers.Conv2D(4, 3, padding="same")(features)
    return layers.Add()([convolved, layers.BatchNormalization()(convolved)])


def used_twice(features: keras.KerasTensor) -> keras.KerasTensor:
    convolution = layers.Conv2D(3, 3, padding="same")
    return convolution(layers.BatchNormalization()(convolution(features)))


def normalizes_twice(features: keras.KerasTensor) -> keras.KerasTensor:
    normalization = layers.BatchNormalization()
    return normalization(layers.ReLU()(normalization(layers.Conv2D(3, 3)(features))))


def held_by_a_wrapper(features: keras.KerasTensor) -> keras.KerasTensor:
    convolution = layers.Conv2D(3, 3)
    alone = layers.BatchNormalization()(convolution(features))
    wrapped = layers.TimeDistributed(convolution)(layers.Reshape((1, *IMAGE_SHAPE))(features))
    return layers.Add()([alone, layers.Reshape(alone.shape[1:])(wrapped)])


def two_outputs(features: keras.KerasTensor) -> keras.KerasTensor:
    image = keras.Input(features.shape[1:])
    convolved = layers.Conv2D(3, 3)(image)
    return layers.Add()(keras.Model(image, [convolved, layers.BatchNormalization()(convolved)])(features))


UNFOLDED: list[Callable[[keras.KerasTensor], keras.KerasTensor]] = [
    read_twice,
    used_twice,
    normalizes_twice,
    held_by_a_wrapper,
    two_outputs,
    lambda features: layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(features)),
    lambda features: layers.BatchNormalization(axis=1)(layers.Conv2D(4, 3)(features)),
    lambda features: layers.BatchNormalization()(layers.DepthwiseConv2D(3)(features)),
    lambda features: layers.BatchNormalization()(features),
]


@pytest.mark.slow
@pytest.mark.parametrize("block", UNFOLDED)
def test_any_other_batch_normalization_stays(block: Callable[[keras.KerasTensor], keras.KerasTensor]) -> None:
    image = keras.Input(IMAGE_SHAPE)
    model = with_statistics(keras.Model(image, layers.Dense(5)(layers.Flatten()(block(layers.Rescaling(1 / 255)(image))))))
    network = FrozenNetwork(model, Preprocessing(), "float32", IMAGES)
    assert layers.BatchNormalization in kinds(network.model)
    np.testing.assert_allclose(network.scores(tf.constant(FLOATS)), model(FLOATS, training=False), rtol=1e-4, atol=1e-4)


class Attributes(keras.Model):
    """A subclass that calls something of its own what Keras calls the outputs of a graph."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.outputs = [layers.Dense(4)]

    def call(self, features: tf.Tensor) -> tf.Tensor:
        return self.outputs[0](features)

    def build(self, shape: tuple[int | None, ...]) -> None:
        self.outputs[0].build(shape)


def operations() -> keras.Model:
    """Arithmetic and slices on the tensors of a functional model are no layers, and hold nothing."""
    image = keras.Input(IMAGE_SHAPE)
    convolved = layers.BatchNormalization()(layers.Conv2D(3, 3, padding="same")(image / 255.0))
    return keras.Model(image, layers.Dense(5)(layers.Flatten()(keras.ops.relu(convolved + image / 255.0)[:, 1:])))


def masked() -> keras.Model:
    image = keras.Input(IMAGE_SHAPE)
    return keras.Model(image, layers.Dense(5)(layers.LSTM(4)(layers.Masking()(layers.Reshape((8, 24))(layers.Rescaling(1 / 255)(image))))))


def with_a_subclass() -> keras.Model:
    image = keras.Input(IMAGE_SHAPE)
    return keras.Model(image, layers.Dense(5)(Attributes()(layers.Flatten()(layers.Rescaling(1 / 255)(image)))))


def adapted() -> keras.Model:
    normalization = layers.Normalization()
    normalization.adapt(FLOATS)
    return keras.Sequential([keras.Input(IMAGE_SHAPE), normalization, layers.Flatten(), layers.Dense(5)])


@pytest.mark.slow
@pytest.mark.parametrize("build", [operations, masked, with_a_subclass, adapted])
def test_what_a_model_is_made_of_besides_is_copied_with_it(build: Callable[[], keras.Model]) -> None:
    model = with_statistics(build()) if build is operations else build()
    network = FrozenNetwork(model, Preprocessing(), "float32", IMAGES)
    assert network.model is not model
    np.testing.assert_allclose(network.scores(tf.constant(FLOATS)), model(FLOATS, training=False), rtol=1e-4, atol=1e-4)


def test_steps_that_a_mask_leaves_out_are_left_out() -> None:
    class Kept(layers.Layer):
        def call(self, step: tf.Tensor, mask: tf.Tensor | None = None) -> tf.Tensor:
            return step if mask is None else tf.where(mask[:, None], step, 7.0)

        def compute_output_shape(self, step: tuple[int | None, ...]) -> tuple[int | None, ...]:
            return step

    class Flat(layers.Flatten):
        def compute_mask(self, inputs: tf.Tensor, previous_mask: tf.Tensor | None = None) -> None:
            return None

    steps = [layers.Reshape((3, 192)), layers.Masking(), layers.TimeDistributed(Kept()), Flat(), layers.Dense(3)]
    model = keras.Sequential([keras.Input((3, 8, 8, 3)), *steps])
    images = np.random.default_rng(2).integers(0, 256, (4, 3, 8, 8, 3)).astype(np.float32)
    images[0, 1] = images[2] = 0
    network = FrozenNetwork(model, Preprocessing(), "float32", images)
    assert network.model is not model
    np.testing.assert_allclose(network.scores(tf.constant(images)), model(images, training=False), rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_the_search_can_be_compiled_by_xla_through_time() -> None:
    """As on a GPU: the gradient of the recurrent loop, with an open number of clips."""
    body = [layers.TimeDistributed(layers.Flatten()), layers.LSTM(4, return_sequences=True), layers.LSTM(4)]
    model = keras.Sequential([keras.Input((3, 2, 2, 3)), layers.Rescaling(1 / 255), *body, layers.Dense(2, activation="softmax")])
    images = tf.constant(np.random.default_rng(3).uniform(0, 255, (2, 3, 2, 2, 3)), tf.float32)
    network = FrozenNetwork(model, Preprocessing(), "float32", images.numpy())

    def slope(images: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(images)
            answers = network(images)[:, 1]
        return tape.gradient(answers, images)

    compiled = tf.function(slope, jit_compile=True, input_signature=[tf.TensorSpec((None, *images.shape[1:]))])(images)
    np.testing.assert_allclose(compiled, slope(images), atol=1e-4 * float(tf.reduce_max(tf.abs(compiled))))


def test_the_search_can_differentiate_it() -> None:
    network = FrozenNetwork(corner_network(2), Preprocessing(), "float32", IMAGES)
    image = tf.constant(FLOATS[:1])
    with tf.GradientTape() as tape:
        tape.watch(image)
        answer = network(image)[0, 2]
    gradient = tape.gradient(answer, image).numpy()[0]
    # By hand: the corner's gain 100 and slope .02 over its 12 numbers, row 2's gain 10 over its 18, both per grey level of 255.
    np.testing.assert_allclose(gradient[6:, 6:], 100 * 0.02 / 12 / 255, rtol=1e-4)
    np.testing.assert_allclose(gradient[2, :6], 10 / 18 / 255, rtol=1e-4)
    assert network.model.trainable is False
    assert network.model.trainable_variables == []


def test_dropout_sleeps_and_statistics_stand_still() -> None:
    model = sequential(layers.Dense(5, activation="softmax"))
    network = FrozenNetwork(model, Preprocessing(), "float32", IMAGES)
    first = network.scores(tf.constant(FLOATS))
    np.testing.assert_array_equal(network.scores(tf.constant(FLOATS)), first)
    alone = tf.concat([network.scores(tf.constant(FLOATS[i : i + 1])) for i in range(3)], 0)
    np.testing.assert_allclose(alone, first[:3], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("range_", ["mnist", "inception", "imagenet"])
def test_raw_pixels_are_preprocessed_first(range_: str) -> None:
    model, preprocess = branches(), preprocessing(range_)
    network = FrozenNetwork(model, preprocess, "float32", IMAGES)
    expected = model(preprocess(FLOATS).astype(np.float32), training=False)
    np.testing.assert_allclose(tf.nn.softmax(network.scores(tf.constant(FLOATS))), expected, rtol=1e-4, atol=1e-6)


def test_grayscale() -> None:
    model = gtsrb_network(4, (32, 32, 1))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 1)).astype(np.uint8)
    network = FrozenNetwork(model, preprocessing("mnist"), "float32", images)
    expected = model(images / np.float32(255), training=False)
    np.testing.assert_allclose(tf.nn.softmax(network.scores(tf.constant(images, tf.float32))), expected, rtol=1e-4)


def test_the_papers_network_has_its_shape() -> None:
    model = gtsrb_network()
    assert model.output_shape == (None, 43)
    assert [layer.filters for layer in model.layers if isinstance(layer, layers.Conv2D)] == [32, 32, 64, 64, 128, 128]
    assert model.count_params() == 571_723
    assert signs_network(7, (16, 16, 3)).output_shape == (None, 7)


def test_a_model_that_answers_nan_is_refused() -> None:
    model = corner_network()
    model.set_weights([*model.get_weights()[:-1], np.full(6, np.nan)])
    with pytest.raises(InputError, match=r"answers NaN or infinity: expected finite outputs"):
        FrozenNetwork(model, Preprocessing(), "float32", IMAGES)


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(InputError, match=r"precision 'float16': expected auto, float32 or bfloat16"):
        FrozenNetwork(corner_network(), Preprocessing(), "float16", IMAGES)


def test_a_subclass_cannot_be_had_in_bfloat16() -> None:
    with pytest.raises(InputError, match=r"precision bfloat16: expected a Sequential or functional model"):
        FrozenNetwork(Subclass(), Preprocessing(), "bfloat16", IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize(("hardware", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_what_the_hardware_has(monkeypatch: pytest.MonkeyPatch, hardware: bool, expected: str) -> None:
    monkeypatch.setattr(frozen, "has_bfloat16", lambda: hardware)
    assert resolve_precision("auto") == expected
    assert [resolve_precision(name) for name in ("float32", "bfloat16")] == ["float32", "bfloat16"]
    assert FrozenNetwork(corner_network(), Preprocessing(), "auto", IMAGES).precision == expected
    assert FrozenNetwork(Subclass(), Preprocessing(), "auto", IMAGES).precision == "float32"
    assert FrozenNetwork(corner_network(), Preprocessing(), "float32", IMAGES).precision == "float32"


@pytest.mark.parametrize(
    ("cpuinfo", "expected"),
    [("flags : fma avx2 avx512_bf16\n", True), ("flags : amx_bf16 amx_tile\n", True), ("flags : fma avx512f\n", False), (None, False)],
)
def test_bfloat16_of_processors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cpuinfo: str | None, expected: bool) -> None:
    if cpuinfo is not None:
        (tmp_path / "cpuinfo").write_text(cpuinfo)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(frozen, "Path", lambda path: tmp_path / "cpuinfo")
    assert has_bfloat16() is expected


@pytest.mark.parametrize(
    ("details", "expected"), [({"compute_capability": (8, 0)}, True), ({"compute_capability": (7, 5)}, False), ({}, False)]
)
def test_bfloat16_of_gpus(monkeypatch: pytest.MonkeyPatch, details: dict[str, Any], expected: bool) -> None:
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details)
    assert has_bfloat16() is expected


def test_what_counts_as_probabilities() -> None:
    assert are_probabilities(np.array([[0.2, 0.8], [1.0, 0.0]]))
    assert not are_probabilities(np.array([[0.2, 0.8], [0.5, 0.6]]))
    assert not are_probabilities(np.array([[1.5, -0.5]]))
