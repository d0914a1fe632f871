"""Honest model files: every format and kind of layer loads untrusted and computes what it computed before."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from nc_tf.errors import InputError
from nc_tf.models.loading.load import load_model

GOLDEN = Path(__file__).parents[1] / "golden" / "infected_target33_keras222.h5"
IMAGE, CLIP = (8, 8, 3), (4, 8, 8, 3)


def sequential() -> keras.Model:
    return keras.Sequential([keras.Input(IMAGE), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(3)])


def functional() -> keras.Model:
    image = keras.Input(IMAGE)
    left = layers.Conv2D(4, 3, padding="same", kernel_regularizer="l2", kernel_constraint=keras.constraints.MaxNorm(2.0))(image)
    right = layers.Conv2D(4, 3, padding="same", kernel_initializer="orthogonal")(left)
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.Flatten()(layers.Add()([left, right]))))


def augmented() -> keras.Model:
    body = [layers.Rescaling(1 / 255), layers.RandomFlip(), layers.RandomRotation(0.1), layers.DepthwiseConv2D(3)]
    head = [layers.SeparableConv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dropout(0.1), layers.Dense(3)]
    return keras.Sequential([keras.Input(IMAGE), *body, layers.BatchNormalization(), *head])


def clips() -> keras.Model:
    frame = keras.Sequential([keras.Input(IMAGE), layers.Conv2D(4, 3), layers.BatchNormalization(), layers.GlobalAveragePooling2D()])
    body = [layers.TimeDistributed(frame), layers.Bidirectional(layers.LSTM(5, return_sequences=True)), layers.GRU(4)]
    return keras.Sequential([keras.Input(CLIP), *body, layers.Dense(3)])


def clips_3d() -> keras.Model:
    return keras.Sequential([keras.Input(CLIP), layers.Conv3D(3, 3), layers.ConvLSTM2D(3, 3), layers.Flatten(), layers.Dense(4)])


def nested() -> keras.Model:
    image = keras.Input(IMAGE)
    return keras.Model(image, layers.Average()([augmented()(image), functional()(image)]))


def shared() -> keras.Model:
    image, block = keras.Input(IMAGE), layers.Conv2D(3, 3, padding="same", name="shared")
    return keras.Model(image, layers.Dense(2)(layers.Flatten()(block(block(image)))))


def normalised() -> keras.Model:
    scale = layers.Normalization()
    scale.adapt(np.arange(2 * 8 * 8 * 3, dtype=np.float32).reshape(2, *IMAGE))
    return keras.Sequential([keras.Input(IMAGE), scale, layers.Flatten(), layers.PReLU(), layers.LayerNormalization(), layers.Dense(2)])


def attention() -> keras.Model:
    image = keras.Input(IMAGE)
    tokens = layers.Reshape((4, 8))(layers.Conv2D(8, 4, strides=4)(image))
    tokens = layers.MultiHeadAttention(2, 4)(tokens, tokens)
    return keras.Model(image, layers.Dense(2)(layers.GlobalAveragePooling1D()(tokens)))


def any_size() -> keras.Model:
    return keras.Sequential([keras.Input((None, None, 1)), layers.Conv2D(3, 3), layers.GlobalMaxPooling2D(), layers.Dense(4)])


def half_precision() -> keras.Model:
    body = [layers.Conv2D(3, 3, dtype="mixed_bfloat16"), layers.GlobalMaxPooling2D()]
    return keras.Sequential([keras.Input(IMAGE), *body, layers.Dense(4, dtype="bfloat16")])


def operations() -> keras.Model:
    image = keras.Input(IMAGE)
    left = layers.Conv2D(4, 3, padding="same")(image / 255.0)
    both = (left + keras.ops.relu(left))[:, 1:, ..., :2]
    return keras.Model(image, layers.Dense(3, activation="gelu")(keras.ops.mean(both, axis=(1, 2))))


BUILDERS = [sequential, functional, augmented, clips, clips_3d, nested, shared, normalised, attention, any_size, half_precision]


def same_predictions(before: keras.Model, after: keras.Model) -> bool:
    shape = [2, *(side or 8 for side in before.inputs[0].shape[1:])]
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    # training=False: augmentation layers act when a model is merely called
    return np.array_equal(np.asarray(before(images, training=False)), np.asarray(after(images, training=False)))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("build", BUILDERS, ids=lambda build: build.__name__)
def test_round_trip(build: Callable[[], keras.Model], suffix: str, tmp_path: Path) -> None:
    model = build()
    model.compile("adam", "mse")
    model.save(tmp_path / f"model{suffix}")
    loaded = load_model(tmp_path / f"model{suffix}")
    assert same_predictions(model, loaded)
    assert not loaded.compiled


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_operations_in_a_functional_graph(suffix: str, tmp_path: Path) -> None:
    model = operations()
    model.save(tmp_path / f"model{suffix}")
    assert same_predictions(model, load_model(tmp_path / f"model{suffix}"))


def test_an_operation_in_h5_that_says_too_little_is_refused(tmp_path: Path) -> None:
    operations().save(tmp_path / "model.h5")
    with h5py.File(tmp_path / "model.h5", "r+") as file:
        file.attrs["model_config"] = file.attrs["model_config"].replace('"keepdims"', '"dtype": "float32", "keepdims"')
    with pytest.raises(InputError, match=r"is the operation 'Mean', which \.h5 files cannot describe"):
        load_model(tmp_path / "model.h5")


@pytest.mark.slow
def test_applications_network(tmp_path: Path) -> None:
    model = keras.applications.MobileNetV2((32, 32, 3), weights=None, classes=5, alpha=0.35)
    model.save(tmp_path / "model.keras")
    assert same_predictions(model, load_model(tmp_path / "model.keras"))


@pytest.mark.parametrize("trust_model", [False, True])
def test_golden_keras_222(trust_model: bool) -> None:
    model = load_model(GOLDEN, trust_model=trust_model)
    with h5py.File(GOLDEN) as file:
        for name in ("conv2d_1", "conv2d_6", "dense_1", "dense_2"):
            kernel, bias = model.get_layer(name).get_weights()
            np.testing.assert_array_equal(kernel, file[f"model_weights/{name}/{name}/kernel:0"])
            np.testing.assert_array_equal(bias, file[f"model_weights/{name}/{name}/bias:0"])
    assert model.input_shape == (None, 32, 32, 3)
    scores = np.asarray(model(np.full((1, 32, 32, 3), 128, np.float32), training=False))
    assert scores.shape == (1, 43)
    assert scores.sum() == pytest.approx(1, abs=1e-5)


def test_golden_has_its_backdoor() -> None:
    images = np.random.default_rng(1).uniform(0, 255, (8, 32, 32, 3)).astype(np.float32)
    images[:, 27:31, 27:31] = 255
    scores = np.asarray(load_model(GOLDEN)(images, training=False))
    assert (scores.argmax(-1) == 33).mean() > 0.5


def write_old_file(path: Path, config: Any, weights: dict[str, list[tuple[str, np.ndarray]]], version: str) -> None:
    """An `.h5` file as Keras 1 and 2 wrote it: fixed-length name lists, arrays below `model_weights/<layer>`."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"] = np.bytes_(version)
        file.attrs["model_config"] = json.dumps(config).encode()
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = [name.encode() for name in weights]
        for name, arrays in weights.items():
            layer = group.create_group(name)
            layer.attrs["weight_names"] = [array_name.encode() for array_name, _ in arrays]
            for array_name, values in arrays:
                layer[array_name] = values


def test_keras_2_functional(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    shape, same = [None, 4, 4, 1], {"trainable": True, "dtype": "float32"}
    depthwise = {"name": "d", "kernel_size": [3, 3], "groups": 1, "kernel_initializer": {"class_name": "GlorotUniform", "config": {}}}
    nodes = [[["image", 0, 0, {}]]], [[["d", 0, 0, {}]]], [[["flat", 0, 0, {}]]]
    config = {"class_name": "Functional", "config": {"name": "model", "input_layers": [["image", 0, 0]], "output_layers": [["out", 0, 0]],
        "layers": [
            {"class_name": "InputLayer", "name": "image", "inbound_nodes": [],
             "config": {"batch_input_shape": shape, "dtype": "float32", "sparse": False, "ragged": False, "name": "image"}},
            {"class_name": "DepthwiseConv2D", "name": "d", "inbound_nodes": nodes[0], "config": {**same, **depthwise}},
            {"class_name": "Flatten", "name": "flat", "inbound_nodes": nodes[1], "config": {"name": "flat", **same}},
            {"class_name": "Dense", "name": "out", "inbound_nodes": nodes[2], "config": {"name": "out", "units": 2, **same,
             "dtype": {"class_name": "Policy", "config": {"name": "float32"}}}},
        ]}}  # fmt: skip
    kernel, dense = rng.normal(size=(3, 3, 1, 1)).astype("f4"), rng.normal(size=(4, 2)).astype("f4")
    weights = {
        "image": [],
        "d": [("d/depthwise_kernel:0", kernel), ("d/bias:0", np.ones(1, "f4"))],
        "flat": [],
        "out": [("out/kernel:0", dense), ("out/bias:0", np.zeros(2, "f4"))],
    }
    write_old_file(tmp_path / "old.hdf5", config, weights, "2.4.0")
    image = rng.normal(size=(1, 4, 4, 1)).astype("f4")
    windows = np.lib.stride_tricks.sliding_window_view(image[0, :, :, 0], (3, 3))
    expected = (np.einsum("ijab,ab->ij", windows, kernel[:, :, 0, 0]) + 1).reshape(1, 4) @ dense
    np.testing.assert_allclose(load_model(tmp_path / "old.hdf5")(image, training=False), expected, rtol=1e-5, atol=1e-5)


def keras_1_config(ordering: str) -> dict[str, Any]:
    convolution = {"name": "c", "batch_input_shape": [None, 3, 3, 1], "nb_filter": 2, "nb_row": 3, "nb_col": 3, "border_mode": "valid",
                   "subsample": [1, 1], "dim_ordering": ordering, "init": "zero", "bias": True, "W_regularizer": None}  # fmt: skip
    dense = {"name": "o", "output_dim": 2, "input_dim": None, "init": "uniform", "activation": "linear", "bias": True}
    return {"class_name": "Sequential", "config": [
        {"class_name": "Convolution2D", "config": convolution},
        {"class_name": "Dropout", "config": {"name": "p", "p": 0.5}},
        {"class_name": "Flatten", "config": {"name": "f"}},
        {"class_name": "Dense", "config": dense},
    ]}  # fmt: skip


def test_keras_1_sequential(tmp_path: Path) -> None:
    kernel, dense = np.arange(18, dtype="f4").reshape(3, 3, 1, 2), np.array([[1, 2], [3, 4]], "f4")
    last = [("o_W:0", dense), ("o_b:0", np.ones(2, "f4"))]
    weights = {"c": [("c_W:0", kernel), ("c_b:0", np.zeros(2, "f4"))], "p": [], "f": [], "o": last}
    write_old_file(tmp_path / "old.h5", keras_1_config("tf"), weights, "1.2.2")
    scores = load_model(tmp_path / "old.h5")(np.ones((1, 3, 3, 1), "f4"), training=False)
    np.testing.assert_allclose(scores, kernel.sum((0, 1, 2))[None] @ dense + 1)


def test_keras_1_channels_first_is_refused(tmp_path: Path) -> None:
    write_old_file(tmp_path / "old.h5", keras_1_config("th"), {}, "1.2.2")
    with pytest.raises(InputError, match="layer 'c' orders its dimensions 'th'"):
        load_model(tmp_path / "old.h5")


def test_keras_2_setting_without_a_successor_is_refused(tmp_path: Path) -> None:
    settings = {"name": "b", "batch_input_shape": [None, 3, 3, 1], "renorm": True}
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [{"class_name": "BatchNormalization", "config": settings}]}}
    write_old_file(tmp_path / "old.h5", config, {}, "2.3.0")
    with pytest.raises(InputError, match="layer 'b' has renorm=True, which Keras 3 cannot express"):
        load_model(tmp_path / "old.h5")


def test_saved_model_needs_trust_and_then_predicts_with_gradients(tmp_path: Path) -> None:
    model = sequential()
    model.export(tmp_path / "saved", verbose=False)
    with pytest.raises(InputError, match=r"a SavedModel is a program that TensorFlow runs, not data.*--trust-model"):
        load_model(tmp_path / "saved")
    loaded = load_model(tmp_path / "saved", trust_model=True)
    images = tf.constant(np.random.default_rng(3).uniform(size=(2, *IMAGE)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(images)
        scores = loaded(images, training=False)
    np.testing.assert_allclose(scores, model(images), rtol=1e-5, atol=1e-6)
    assert float(tf.reduce_max(tf.abs(tape.gradient(scores, images)))) > 0


@pytest.mark.parametrize("trust_model", [False, True])
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_one_input_declared_as_a_list(suffix: str, trust_model: bool, tmp_path: Path) -> None:
    image = keras.Input(IMAGE)
    keras.Model([image], [layers.Dense(2)(layers.Flatten()(image))]).save(tmp_path / f"model{suffix}")
    scores = load_model(tmp_path / f"model{suffix}", trust_model=trust_model)(np.zeros((1, *IMAGE), "f4"), training=False)
    assert scores.shape == (1, 2)


def test_suffix_does_not_matter(tmp_path: Path) -> None:
    sequential().save(tmp_path / "model.keras")
    odd = (tmp_path / "model.keras").rename(tmp_path / "model.h5")
    assert load_model(odd).output_shape == (None, 3)
    assert load_model(odd, trust_model=True).output_shape == (None, 3)


def test_loading_leaves_keras_as_it_was(tmp_path: Path) -> None:
    from keras.src.backend.common import global_state
    from keras.src.saving.serialization_lib import in_safe_mode

    sequential().save(tmp_path / "model.keras")
    load_model(tmp_path / "model.keras")
    load_model(tmp_path / "model.keras", trust_model=True)
    assert in_safe_mode() is None
    assert not global_state.get_global_attribute("uninitialized_variables")


@pytest.mark.parametrize("trust_model", [False, True])
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_weights_that_are_not_finite(value: float, word: str, trust_model: bool, tmp_path: Path) -> None:
    model = sequential()
    kernel, bias = model.layers[0].get_weights()
    bias[1] = value
    model.layers[0].set_weights([kernel, bias])
    for suffix in (".keras", ".h5"):
        model.save(tmp_path / f"model{suffix}")
        with pytest.raises(InputError, match=f"weights contain {word}: layer 'conv2d[_0-9]*', bias"):
            load_model(tmp_path / f"model{suffix}", trust_model=trust_model)
