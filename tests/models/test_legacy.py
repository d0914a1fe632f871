"""Files of Keras 1 and 2: equal to the answers of the TensorFlow that wrote them, or refused in one sentence.

`golden/legacy_models.tar.xz` holds small networks that Keras 2.2.4 and TensorFlow 2.6, 2.10, 2.12 and 2.15 wrote, with their answers
(`benchmarks/files/legacy_models.py`, `benchmarks/files/legacy_keras.py`).
"""

import importlib
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from test_loading import write_old_file

from nc_tf.errors import InputError
from nc_tf.models.folding import copy_up_to
from nc_tf.models.loading.load import load_model
from nc_tf.models.output_head import UNKNOWN
from nc_tf.models.saving import save_model

ROOT = Path(__file__).resolve().parents[2]
# Of the networks in the archive, those that Keras 3 cannot express: how their message goes on after the name of the layer.
REFUSED = {
    "BidirectionalUnequal": "has directions of different sizes, which Keras 3 cannot",
    "LSTMActivation": r"\(LSTM\) has activation='hard_sigmoid', which is another function in Keras 3",
    "LambdaLayer": "is a Lambda, code that only the Python which wrote it can run",
    "LocallyConnected1D": "is a LocallyConnected1D, which Keras 3 does not have",
    "LocallyConnected2D": "is a LocallyConnected2D, which Keras 3 does not have",
    "LocallyConnected2DImplementation2": "is a LocallyConnected2D, which Keras 3 does not have",
    "LocallyConnected2DImplementation3": "is a LocallyConnected2D, which Keras 3 does not have",
    "LocallyConnected2DSame": "is a LocallyConnected2D, which Keras 3 does not have",
    "OperationsStandardise": "calls TensorFlow's 'image.per_image_standardization', an operation that nc_tf does not translate",
    "ResizingGaussian": "resizes by 'gaussian', which Keras 3 cannot",
    "ResizingMitchell": "resizes by 'mitchellcubic', which Keras 3 cannot",
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the archive, in a folder for each TensorFlow."""
    folder = tmp_path_factory.mktemp("written")
    with tarfile.open(Path(__file__).parents[1] / "golden" / "legacy_models.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def benchmark() -> Any:
    """benchmarks/files/compatibility.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT)
        return importlib.import_module("benchmarks.files.compatibility")


@pytest.mark.slow
@pytest.mark.parametrize("writer", ["k224/*.h5", "tf26/*.h5", "tf210/*.h5", "tf212/*.keras", "tf215/*.keras", "tf215/*.h5"])
def test_networks_of_keras_2_answer_what_their_tensorflow_answered(writer: str, written: Path, benchmark: Any) -> None:
    files = sorted(written.glob(writer))
    outcomes = {path.stem: benchmark.outcome(path) for path in files}
    assert len(files) > {"tf210/*.h5": 50, "tf215/*.keras": 100}.get(writer, 9)
    refused = {name for name in outcomes if name in REFUSED or (writer.startswith("tf26") and name.startswith("RandomCrop"))}
    expected = {name: "refused" if name in refused else "equal" for name in outcomes}
    assert {name: found for name, found in outcomes.items() if found["outcome"] != expected[name]} == {}


@pytest.mark.parametrize("trust_model", [False, True])
@pytest.mark.parametrize("name", sorted(REFUSED))
def test_networks_that_keras_3_cannot_express(name: str, trust_model: bool, written: Path) -> None:
    path = written / "tf215" / f"{name}.keras"
    with pytest.raises(InputError, match=rf"^{path}: layer '[a-z0-9_.]+' {REFUSED[name]}; the file is of Keras 2\.15\.0; ") as error:
        load_model(path, trust_model=trust_model)
    assert "trust" not in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name",
    [
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("Activation", "ActivationInConvs", "LSTM", "GRU")),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("ConvLSTM2D", "Bidirectional", "TimeDistributed")),
        "OperationsSlices",
    ],
)
def test_what_was_translated_stays_when_it_is_copied_and_saved(name: str, written: Path, tmp_path: Path, benchmark: Any) -> None:
    model = load_model(written / "tf210" / f"{name}.h5")
    images = benchmark.images((8, 8, 3))
    answers = np.asarray(model(images, training=False))
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    logits = copy_up_to(UNKNOWN, model, "float32")
    save_model(model, tmp_path / "model.keras")
    for other in (copy, logits, load_model(tmp_path / "model.keras")):
        np.testing.assert_allclose(other(images, training=False), answers, rtol=1e-4, atol=2e-5 * np.abs(answers).max())


def test_random_crop_was_another_before_2_9(written: Path) -> None:
    with pytest.raises(InputError, match=r"layer 'random_crop' is a RandomCrop of Keras before 2\.9, which Keras 3 does not have"):
        load_model(written / "tf26" / "RandomCropFlat.h5")


def test_frozen_layers_stay_frozen(written: Path) -> None:
    base = load_model(written / "tf215" / "FunctionalOfPartlyFrozenBase.keras").get_layer("base")
    assert [layer.trainable for layer in base.layers[1:]] == [False, True]


def network(*layers: tuple[str, dict[str, Any]], nested: bool = False) -> dict[str, Any]:
    """A functional network of layers in a row, as Keras 2 describes it."""
    names = ["image", *(settings["name"] for _, settings in layers)]
    described: list[dict[str, Any]] = [
        {
            "class_name": "InputLayer",
            "name": "image",
            "inbound_nodes": [],
            "config": {"batch_input_shape": [None, 2, 2, 1], "name": "image"},
        }
    ]
    for (kind, settings), before in zip(layers, names, strict=False):
        node = settings.pop("node", [[before, 0, 0, {}]])
        described.append({"class_name": kind, "name": settings["name"], "inbound_nodes": [node], "config": settings})
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [[names[-1], int(nested), 0]]}
    return {"class_name": "Functional", "config": {"name": "model", "layers": described, **ends}}


FLAT, DENSE = ("Flatten", {"name": "flat"}), {"name": "out", "units": 2, "activation": "linear", "use_bias": True}
WEIGHTS = {"out": [("out/kernel:0", np.ones((4, 2), "f4")), ("out/bias:0", np.zeros(2, "f4"))]}


def operation(function: str, **arguments: Any) -> tuple[str, dict[str, Any]]:
    return "TFOpLambda", {"name": "op", "function": function, "node": ["image", 0, 0, arguments]}


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([operation("io.read_file")], "layer 'op' calls TensorFlow's 'io.read_file', an operation that nc_tf does not translate"),
        ([operation("image.resize", size=[4, 4], method="area")], "calls TensorFlow's 'image.resize' in a way that nc_tf does not"),
        ([operation("math.reduce_mean", axis=1, surprise=2)], "calls TensorFlow's 'math.reduce_mean' in a way that nc_tf does not"),
        ([operation("reshape", shape=[-1, ["image", 0, 0]])], "calls TensorFlow's 'reshape' in a way that nc_tf does not translate"),
        ([FLAT, ("Dense", {**DENSE, "activation": "mine"})], "layer 'out' uses the function 'mine', which is none of Keras's own"),
        ([("Mine", {"name": "m"})], r"layer 'm' is a 'Mine', which Keras 3.* does not have"),
        ([("Custom>Dense", {"name": "m"})], "layer 'm' is a 'Custom>Dense', which Keras 3.* does not have"),
        ([("BatchNormalization", {"name": "b", "axis": [1, 2]})], r"layer 'b' normalizes over the axes \[1, 2\], which Keras 3 cannot"),
        ([("Discretization", {"name": "d", "num_bins": 4})], "layer 'd' is a Discretization whose limits are not in the architecture"),
        ([("Attention", {"name": "a", "causal": True})], "layer 'a' has causal=True, which Keras 3 cannot express"),
        ([("Flatten", {"name": 5})], "its architecture is not as Keras 2.9.0 writes it"),
        ([("Flatten", {"name": "flat", "node": [["nowhere", 0, 0, {}]]})], "cannot rebuild this network"),
        ([FLAT, ("Dense", DENSE)], "the arrays of layer 'out' are called 'out/bias:0', 'out/kernel:0', ..., which does not agree"),
    ],
)  # fmt: skip
def test_messages(layers: list[tuple[str, dict[str, Any]]], message: str, tmp_path: Path) -> None:
    swapped = {"out": [("out/bias:0", np.ones((4, 2), "f4")), ("out/kernel:0", np.zeros(2, "f4"))]}
    write_old_file(tmp_path / "old.h5", network(*json.loads(json.dumps(layers))), swapped, "2.9.0")
    with pytest.raises(InputError, match=message) as error:
        load_model(tmp_path / "old.h5")
    assert "trust" not in str(error.value)


def test_an_author_s_layer_called_like_one_of_keras(tmp_path: Path) -> None:
    config = network(FLAT, ("Dense", dict(DENSE)))
    config["config"]["layers"][2].update(module="theirs", registered_name="Theirs>Dense")
    write_old_file(tmp_path / "old.h5", config, WEIGHTS, "2.15.0")
    with pytest.raises(InputError, match=r"layer 'out' is a 'Theirs>Dense', which Keras 3.* does not have"):
        load_model(tmp_path / "old.h5")


def keras_1(*layers: dict[str, Any]) -> dict[str, Any]:
    """A network of Keras 1 on images (2, 2, 1)."""
    layers[0]["config"]["batch_input_shape"] = [None, 2, 2, 1]
    last = {
        "class_name": "Dense",
        "config": {"name": "out", "output_dim": 2, "activation": "hard_sigmoid", "init": "uniform", "bias": True},
    }
    return {"class_name": "Sequential", "config": [*layers, {"class_name": "Flatten", "config": {"name": "flat"}}, last]}


KERAS_1_WEIGHTS = {"out": [("out_W:0", np.ones((4, 2), "f4")), ("out_b:0", np.zeros(2, "f4"))]}


def test_hard_sigmoid_of_keras_1(tmp_path: Path) -> None:
    config = keras_1({"class_name": "Activation", "config": {"name": "a", "activation": "hard_sigmoid"}})
    write_old_file(tmp_path / "old.h5", config, KERAS_1_WEIGHTS, "1.2.2")
    images = np.linspace(-3.0, 3.0, 12, dtype="f4").reshape(3, 2, 2, 1)
    inner = np.clip(0.2 * images + 0.5, 0, 1).sum((1, 2))
    expected = np.clip(0.2 * np.repeat(inner, 2, 1) + 0.5, 0, 1)
    np.testing.assert_allclose(load_model(tmp_path / "old.h5")(images, training=False), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"class_name": "Highway", "config": {"name": "h"}}, "layer 'h' is a 'Highway' of Keras 1, which nc_tf does not translate"),
        ({"class_name": "BatchNormalization", "config": {"name": "b", "mode": 1}}, "layer 'b' has mode=1, which Keras 3 cannot express"),
    ],
)
def test_keras_1_layers_that_are_not_translated(layer: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_old_file(tmp_path / "old.h5", keras_1(layer), KERAS_1_WEIGHTS, "1.2.2")
    with pytest.raises(InputError, match=message):
        load_model(tmp_path / "old.h5")


def test_kernels_of_theano_are_refused(tmp_path: Path) -> None:
    write_old_file(tmp_path / "old.h5", network(FLAT, ("Dense", dict(DENSE))), WEIGHTS, "2.2.4")
    assert load_model(tmp_path / "old.h5").output_shape == (None, 2)
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file.attrs["backend"] = b"theano"
    with pytest.raises(InputError, match=r"written by Keras 2\.2\.4 with Theano, whose convolutions turn their kernels around"):
        load_model(tmp_path / "old.h5")


def broken(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    config = network(FLAT, ("Dense", dict(DENSE)))
    change(config)
    return config


@pytest.mark.parametrize(
    "change",
    [
        lambda config: config["config"].pop("layers"),
        lambda config: config["config"].update(layers=7),
        lambda config: config["config"]["layers"].insert(0, None),
        lambda config: config["config"]["layers"][1].update(config=[1]),
        lambda config: config["config"]["layers"][1].update(class_name={"a": 1}),
        lambda config: config["config"]["layers"][1].update(inbound_nodes=[[["image"]]]),
        lambda config: config["config"].update(output_layers=[["out", 10**9, 0]]),
        lambda config: config["config"].update(output_layers=[]),
        lambda config: config["config"]["layers"][2]["config"].update(name=["out"]),
        lambda config: config["config"]["layers"][2]["config"].update(dtype={"config": 1}),
    ],
)
def test_odd_architectures_of_old_files_have_messages(change: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    write_old_file(tmp_path / "old.h5", broken(change), WEIGHTS, "2.9.0")
    with pytest.raises(InputError) as error:
        load_model(tmp_path / "old.h5")
    assert len(str(error.value).splitlines()) == 1


def test_the_published_table_is_that_of_the_results_and_shows_no_difference(benchmark: Any) -> None:
    results = json.loads((ROOT / "benchmarks" / "results" / "compatibility.json").read_text(encoding="utf-8"))
    assert {entry["outcome"] for found in results["files"].values() for entry in found.values()} == {"equal", "refused"}
    assert benchmark.markdown(results) in (ROOT / "docs" / "results" / "old-keras-files.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["cifar10_1.h5", "cifar10_3.h5", "gtsrb_2.h5", "gtsrb_3.h5", "teachable_machine_2_classes.h5"])
def test_strangers_files(name: str, realdata: Path) -> None:
    assert load_model(realdata / "strangers" / name).output_shape[1] >= 2


def test_a_stranger_s_archive_and_h5_are_the_same_network(realdata: Path) -> None:
    one, other = (load_model(realdata / "strangers" / name) for name in ("cifar10_3.h5", "cifar10_3_tf215.keras"))
    for array, same in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(array, same)
