"""The list of names that a model file may hold: whole for the installed Keras, and what is not on it is refused."""

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from nc_tf.errors import InputError
from nc_tf.models.loading.allowed_layers import ALLOWED, allowed_word, keras_has, kind_of, listed, with_modules
from nc_tf.models.loading.inspection import check_config
from nc_tf.models.loading.load import load_model

SPACES = (keras.layers, keras.initializers, keras.regularizers, keras.constraints, keras.dtype_policies, keras.quantizers)
OPERATIONS = ("keras.src.ops.", "keras.src.activations.", "keras.src.applications.")


def names_of_this_keras() -> set[str]:
    """Everything that a file might name: public classes, activations, operations, and the layers that keras.applications defines."""
    found = {
        f"keras.{space.__name__.rpartition('.')[2]}.{name}"
        for space in SPACES
        for name, item in vars(space).items()
        if inspect.isclass(item) and item.__module__.startswith("keras.")
    }
    found |= {f"keras.activations.{name}" for name, item in vars(keras.activations).items() if inspect.isfunction(item)}
    found -= {f"keras.activations.{name}" for name in ("get", "serialize", "deserialize")}
    for module in [name for name in sys.modules if name.startswith(OPERATIONS)]:
        for name, item in vars(sys.modules[module]).items():
            if inspect.isclass(item) and issubclass(item, keras.Operation) and item.__module__ == module:
                found.add(f"{module}.{name}")
    return found


def test_every_name_of_the_installed_keras_is_decided_on() -> None:
    """When this fails, a new Keras has new names: give each its line in nc_tf/models/loading/allowed_names.txt, allowed or refused."""
    new = sorted(names_of_this_keras() - listed().keys())
    assert len(names_of_this_keras()) > 500
    assert not new, f"Keras {keras.__version__} has names that nobody decided on:\n" + "\n".join(new)


def test_the_list_is_in_order() -> None:
    text = (Path(__file__).parents[2] / "nc_tf" / "models" / "loading" / "allowed_names.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines)) == len(listed())
    assert {line.split()[0] for line in lines} == ALLOWED | {"runs-code", "reads-files", "takes-function", "quantized", "no-layer"}


@pytest.mark.parametrize(
    ("module", "name", "kind"),
    [
        ("keras.layers", "Dense", "layer"),
        ("", "Dense", "layer"),
        ("keras", "Sequential", "model"),
        ("keras.src.models.functional", "Functional", "model"),
        ("keras.src.ops.numpy", "Add", "operation"),
        ("keras.src.applications.convnext", "LayerScale", "application"),
        ("keras.layers", "Lambda", "runs-code"),
        ("", "StringLookup", "reads-files"),
        ("keras.src.ops.core", "Map", "takes-function"),
        ("keras.utils", "get_file", None),
        ("", "Mean", None),
    ],
)
def test_kind(module: str, name: str, kind: str | None) -> None:
    assert kind_of(module, name) == kind
    assert keras_has(module, name) or not module or kind is None or "get_file" in name


def sequential(**settings: Any) -> dict[str, Any]:
    dense = {"module": "keras.layers", "class_name": "Dense", "registered_name": None, "config": {"name": "out", "units": 2, **settings}}
    return {"module": "keras", "class_name": "Sequential", "registered_name": None, "config": {"name": "s", "layers": [dense]}}


@pytest.mark.parametrize(
    ("key", "word"),
    [
        ("activation", "my_activation"), ("recurrent_activation", "eval"), ("kernel_initializer", "get_file"),
        ("bias_regularizer", "l3"), ("kernel_constraint", "no"), ("dtype", "string"), ("dtype", "complex64"),
        ("dtype", "int4_from_float32"), ("policy", "gptq/4/-1_from_float32"),
    ],
)  # fmt: skip
def test_words_that_name_nothing_allowed_are_refused(key: str, word: str) -> None:
    assert not allowed_word(key, word)
    with pytest.raises(InputError, match=rf"^m.keras: layer 'out' has {key}='{word}', which is none of Keras's; expected a name it"):
        check_config(sequential(**{key: word}), Path("m.keras"))


@pytest.mark.parametrize(
    ("key", "word"),
    [("activation", "hard_silu"), ("kernel_initializer", "glorot_uniform"), ("kernel_initializer", "HeNormal"), ("dtype", "mixed_bfloat16"),
     ("padding", "anything"), ("kernel_regularizer", "l2")],
)  # fmt: skip
def test_words_that_keras_knows_are_accepted(key: str, word: str) -> None:
    check_config(sequential(**{key: word}), Path("m.keras"))


def test_a_layer_of_a_newer_keras_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    config = sequential()
    monkeypatch.delitem(listed(), "keras.layers.Dense")
    with pytest.raises(InputError, match=r"names 'keras.layers.Dense', which nc_tf has not been told of; .*pass --trust-model"):
        check_config(config, Path("m.keras"))


def test_a_listed_name_that_this_keras_lacks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(listed(), "keras.layers.Denser", "layer")
    config = sequential()
    config["config"]["layers"][0]["class_name"] = "Denser"
    with pytest.raises(InputError, match=r"is a 'Denser', which Keras [\d.]+ does not have; expected its layers; use a newer one"):
        check_config(config, Path("m.keras"))


def operations() -> keras.Model:
    """Operations with the names of layers and without, constants, slices, and layers of keras.applications."""
    from keras.src.applications.convnext import LayerScale, StochasticDepth
    from keras.src.applications.inception_resnet_v2 import CustomScaleLayer

    image = keras.Input((8, 8, 3))
    left = keras.layers.Conv2D(4, 3, padding="same")(image / 255.0)
    both = keras.layers.Add()([left, LayerScale(0.5, 4)(left) + 1.0]) * keras.ops.relu(left)
    both = CustomScaleLayer(0.2)([both, StochasticDepth(0.1)(left)])[:, 1:, :, :2]
    means = keras.ops.concatenate([keras.ops.mean(both, axis=(1, 2)), keras.ops.max(both, axis=(1, 2))], axis=-1)
    return keras.Model(image, keras.layers.Dense(3, activation="softmax")(means))


@pytest.mark.slow
@pytest.mark.parametrize("trust_model", [False, True])
def test_operations_and_layers_of_applications_in_h5(trust_model: bool, tmp_path: Path) -> None:
    """Keras writes them without their module, and cannot read them again."""
    model = operations()
    images = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(load_model(tmp_path / name, trust_model=trust_model)(images, training=False), model(images))
    with h5py.File(tmp_path / "model.h5") as file:
        stored = json.loads(file.attrs["model_config"])
    found = {entry["class_name"]: entry.get("module") for entry in with_modules(stored)["config"]["layers"]}
    assert found["Max"] == "keras.src.ops.numpy"
    assert found["LayerScale"] == "keras.src.applications.convnext"
    assert found["Conv2D"] is None
    with pytest.raises(ValueError, match="Unknown layer"):
        keras.models.load_model(tmp_path / "model.h5")


@pytest.mark.slow
def test_a_small_network_of_applications(tmp_path: Path) -> None:
    """benchmarks/files/applications.py tries all of them."""
    model = keras.applications.MobileNetV3Small((32, 32, 3), weights=None, classes=3, alpha=0.75)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype(np.float32)
    for name in ("model.keras", "model.h5"):
        model.save(tmp_path / name)
        np.testing.assert_array_equal(load_model(tmp_path / name)(images, training=False), model(images, training=False))
