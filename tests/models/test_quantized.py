"""Quantized and LoRA networks of Keras 3: read as float networks, equal within the rounding of what was quantized."""

import json
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from nc_tf.errors import InputError
from nc_tf.models.loading.load import load_model
from nc_tf.models.loading.quantized import as_float

# Keras warns of every layer that it does not quantize.
pytestmark = pytest.mark.filterwarnings("ignore:(Layer .* does not have a|Invalid quantization mode):UserWarning")
IMAGES = np.random.default_rng(0).uniform(0, 1, (32, 6, 6, 3)).astype(np.float32)


def network() -> keras.Model:
    """Every kind of layer that Keras quantizes to int8, two of them with axes that its scales are turned for."""
    image = keras.Input((6, 6, 3))
    numbers = layers.Embedding(9, 2)(keras.ops.cast(layers.Flatten()(image) * 8, "int32"))
    tokens = layers.EinsumDense("abc,cde->abde", output_shape=(6, 2, 5), bias_axes="de")(layers.Reshape((6, 18))(image))
    tokens = layers.EinsumDense("abde,dec->abc", output_shape=(6, 7))(tokens)
    both = layers.Concatenate()([layers.Flatten()(tokens), layers.Flatten()(numbers)])
    return keras.Model(image, layers.Dense(5)(layers.Dense(16, activation="relu", use_bias=False)(both)))


def answers(model: keras.Model) -> np.ndarray:
    return np.asarray(model(IMAGES, training=False))


@pytest.fixture(scope="module", params=["int8", "float8"])
def quantized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray, np.ndarray]:
    """A quantized network as a file, the answers of the float network that it was, and its own."""
    model = network()
    before = answers(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.quantize(request.param)
    path = tmp_path_factory.mktemp("quantized") / f"{request.param}.keras"
    model.save(path)
    model.save(path.with_suffix(".h5"))
    return path, before, answers(model)


@pytest.mark.slow
def test_quantized(quantized: tuple[Path, np.ndarray, np.ndarray]) -> None:
    path, before, after = quantized
    loaded = load_model(path)
    rounding = np.abs(after - before).max()
    assert 0 < rounding < 0.1 * np.abs(before).max()
    assert np.abs(answers(loaded) - after).max() < 2 * rounding
    # Nearer to what was quantized than the quantized network, because inputs are not rounded.
    assert np.abs(answers(loaded) - before).max() < rounding
    assert {variable.dtype for variable in loaded.weights} == {"float32"}
    with tf.GradientTape() as tape:
        tape.watch(images := tf.constant(IMAGES))
        scores = loaded(images, training=False)
    assert float(tf.reduce_min(tf.reduce_max(tf.abs(tape.gradient(scores, images)), axis=(1, 2, 3)))) > 0


def test_a_policy_in_one_word_is_the_same_policy(quantized: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path) -> None:
    path, _, _ = quantized
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    words = 0
    for entry in config["config"]["layers"]:
        if "Quantized" in str(entry["config"].get("dtype")):
            entry["config"]["dtype"], words = f"{path.stem}_from_float32", words + 1
    assert words >= 4
    with zipfile.ZipFile(tmp_path / "word.keras", "w") as archive:
        for name, content in {**members, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, content)
    np.testing.assert_array_equal(answers(load_model(tmp_path / "word.keras")), answers(load_model(path)))


def test_quantized_in_h5_is_refused(quantized: tuple[Path, np.ndarray, np.ndarray]) -> None:
    with pytest.raises(InputError, match=r"a quantized or LoRA network in an \.h5 file; expected a \.keras file"):
        load_model(quantized[0].with_suffix(".h5"))


@pytest.mark.slow
@pytest.mark.parametrize("quantize", [False, True])
def test_lora(quantize: bool, tmp_path: Path) -> None:
    model = network()
    for layer in model.layers:
        if hasattr(layer, "enable_lora"):
            layer.enable_lora(2)
            for variable in layer.trainable_variables:
                if "lora" in variable.name:
                    variable.assign(np.random.default_rng(1).normal(0, 0.3, variable.shape))
    before = answers(model)
    if quantize:
        model.quantize("int8")
    model.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(answers(loaded), before, atol=0.1 * np.abs(before).max() if quantize else 1e-5)
    assert not any(getattr(layer, "lora_enabled", False) for layer in loaded.layers)


@pytest.mark.slow
def test_int4_is_refused_untrusted(tmp_path: Path) -> None:
    model = network()
    model.quantize("int4")
    model.save(tmp_path / "model.keras")
    with pytest.raises(InputError, match=r"names 'keras\..*', a quantization that nc_tf does not undo; .*pass --trust-model"):
        load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(answers(load_model(tmp_path / "model.keras", trust_model=True)), answers(model))


def test_float_weights_under_an_int8_policy(tmp_path: Path) -> None:
    """A float network whose file says int8: its weights are read as they are."""
    model = network()
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    policy = r'{"module": "keras", "class_name": "DTypePolicy"[^{]*{"name": "float32"}[^}]*}'
    text = re.sub(policy, '"int8_from_float32"', members["config.json"].decode())
    with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
        for name, content in {**members, "config.json": text.encode()}.items():
            archive.writestr(name, content)
    assert "int8_from_float32" in text
    np.testing.assert_array_equal(answers(load_model(tmp_path / "odd.keras")), answers(model))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("int8_from_mixed_bfloat16", "mixed_bfloat16"),
        ("int8_from_here", "int8_from_here"),
        ("int4_from_float32", "int4_from_float32"),
        ({"class_name": "Dense", "config": {"units": 2, "lora_rank": 4, "lora_alpha": 4}}, {"class_name": "Dense", "config": {"units": 2}}),
        ({"class_name": ["Q"], "config": {"mode": "int8"}}, {"class_name": ["Q"], "config": {"mode": "int8"}}),
    ],
)
def test_as_float(given: Any, expected: Any) -> None:
    assert as_float(given) == expected
