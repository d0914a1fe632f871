"""Hostile and broken model files: each is refused with its own message, and nothing in it runs."""

import errno
import io
import json
import math
import pickle
import resource
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from keras import layers

from nc_tf.errors import InputError
from nc_tf.models.loading import bounds, containers, inspection
from nc_tf.models.loading.load import load_model

Config = dict[str, Any]


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same small network as model.keras and model.h5."""
    folder = tmp_path_factory.mktemp("honest")
    model = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3, name="conv"), layers.Flatten(), layers.Dense(3, name="out")])
    for name in ("model.keras", "model.h5"):
        model.save(folder / name)
    return folder


def read_members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_members(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def edited_keras(honest: Path, tmp_path: Path, edit: Callable[[Config], None]) -> Path:
    members = read_members(honest / "model.keras")
    config = json.loads(members["config.json"])
    edit(config)
    return write_members(tmp_path / "bad.keras", {**members, "config.json": json.dumps(config).encode()})


def copied_h5(honest: Path, tmp_path: Path) -> Path:
    path = tmp_path / "bad.h5"
    path.write_bytes((honest / "model.h5").read_bytes())
    return path


def edited_h5(honest: Path, tmp_path: Path, edit: Callable[[Config], None]) -> Path:
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)
    return path


def refused(path: Path, message: str, *, trust_model: bool = False) -> str:
    """Check that the file is refused with this message, in one line that starts with its path; return the line."""
    with pytest.raises(InputError, match=message) as caught:
        load_model(path, trust_model=trust_model)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text


def append(item: Config) -> Callable[[Config], None]:
    return lambda config: config["config"]["layers"].insert(2, item)


def layer(class_name: str, module: str | None = "keras.layers", registered: str | None = None, **settings: Any) -> Config:
    item = {"class_name": class_name, "config": {"name": "evil", **settings}, "registered_name": registered}
    return item if module == "" else {"module": module, **item}


# --- architectures that run code or read files ---------------------------------------------------------------------------------


def marker_model(marker: Path, name: str = "evil") -> keras.Model:
    code = f"open({str(marker)!r}, 'w').close()"
    function = eval(f"lambda x: (exec({code!r}), x)[1]")  # noqa: S307 - the attack itself, with a harmless payload
    return keras.Sequential([keras.Input((8, 8, 3)), layers.Lambda(function, name=name), layers.Flatten(), layers.Dense(3)])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_lambda_does_not_run(suffix: str, tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / f"lambda{suffix}"
    marker_model(marker).save(path)
    marker.unlink()  # saving a model builds it, which ran the payload once
    refused(path, "layer 'evil' is a Lambda, which can run any code.*--trust-model")
    assert not marker.exists()
    load_model(path, trust_model=True)
    assert marker.exists(), "the payload works, so the refusal above meant something"


GADGETS = {
    "function": (layer("function", "builtins", config="exec") | {"config": "exec"}, "names the function 'exec'"),
    "marshalled lambda": (layer("__lambda__", "builtins", value="4wA="), "layer 'evil' is a __lambda__"),
    "typespec": (layer("__typespec__", "tensorflow"), "layer 'evil' is a __typespec__"),
    "TFSMLayer": (layer("TFSMLayer", filepath="/x"), "layer 'evil' is a TFSMLayer"),
    "TFSMLayer of a folder that is there": (layer("TFSMLayer", filepath="."), "layer 'evil' is a TFSMLayer"),
    "TorchModuleWrapper": (layer("TorchModuleWrapper", module_="x"), "layer 'evil' is a TorchModuleWrapper"),
    "JaxLayer": (layer("JaxLayer"), "layer 'evil' is a JaxLayer"),
    "FlaxLayer": (layer("FlaxLayer"), "layer 'evil' is a FlaxLayer"),
    "StringLookup": (layer("StringLookup", vocabulary="/etc/passwd"), "is a StringLookup, which can read files"),
    "IntegerLookup": (layer("IntegerLookup", vocabulary="/etc/passwd"), "is an IntegerLookup, which can read files"),
    "TextVectorization": (layer("TextVectorization", vocabulary="/etc/passwd"), "is a TextVectorization, which can read files"),
    "get_file": (layer("get_file", "keras.utils", origin="http://x"), "names 'keras.utils.get_file', which is no layer"),
    "internal tool": (layer("extract_archive", "keras.src.utils.file_utils"), "names 'keras.src.utils.file_utils.extract_archive'"),
    "loader": (layer("load_model", "keras.saving"), "names 'keras.saving.load_model', which is no layer"),
    "unsafe switch": (layer("enable_unsafe_deserialization", "keras.config"), "which is no layer"),
    "callback": (layer("CSVLogger", "keras.callbacks", filename="x"), "names 'keras.callbacks.CSVLogger', which is no layer"),
    "dataset": (layer("TextLineDataset", "tensorflow.data"), "comes from the Python module 'tensorflow.data'"),
    "builtins": (layer("eval", "builtins"), "comes from the Python module 'builtins'"),
    "os": (layer("system", "os"), "comes from the Python module 'os'"),
    "module that looks like keras": (layer("Dense", "keras_evil.layers"), "comes from the Python module 'keras_evil.layers'"),
    "module not loaded": (layer("Dense", "keras.src.evil"), "is a 'Dense', which Keras .* does not have"),
    "custom": (layer("Mine", None, "package>Mine"), "is the custom class 'package>Mine'"),
    "custom under a built-in name": (layer("Dense", registered="package>Mine"), "is the custom class 'package>Mine'"),
    "unknown layer": (layer("Dnese"), "is a 'Dnese', which Keras .* does not have"),
    "operation with a function": (layer("Map", "keras.src.ops.core", "Map"), "is the operation Map, which calls functions"),
    "module is no text": (layer("Dense", 3), "comes from the Python module 3"),  # type: ignore[arg-type]
    "class_name is no text": (layer(["Dense"]), r"has the class_name \['Dense'\]"),  # type: ignore[arg-type]
    "odd constant": (layer("__numpy__", "", value=[0], dtype="O"), "holds a constant of dtype 'O'"),
    "odd constant of a dict": (layer("__numpy__", "", value=[0], dtype={}), "holds a constant of dtype {}"),
    "terminal escape": (layer("\x1b[2J\nclear"), r"is a '\\x1b\[2J\\nclear'"),
}


# The rest fails in Keras's own loader too: no layer for images, no such class, or one that this process would have to register first.
TRUST_HELPS = {"marshalled lambda", "TFSMLayer of a folder that is there"}


@pytest.mark.parametrize("kind", GADGETS)
def test_gadget_in_keras(kind: str, honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item, message = GADGETS[kind]
    monkeypatch.setattr("nc_tf.models.loading.load._build", lambda *_: pytest.fail("Keras saw a refused architecture"))
    text = refused(edited_keras(honest, tmp_path, append(item)), message)
    assert ("--trust-model" in text) == (kind in TRUST_HELPS)


@pytest.mark.parametrize("kind", ["function", "TFSMLayer", "StringLookup", "get_file", "builtins", "custom", "unknown layer"])
def test_gadget_in_h5(kind: str, honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    item, message = GADGETS[kind]
    monkeypatch.setattr("nc_tf.models.loading.load._build", lambda *_: pytest.fail("Keras saw a refused architecture"))
    refused(edited_h5(honest, tmp_path, append(item)), message)


@pytest.mark.parametrize("key", ["kernel_initializer", "activation", "kernel_regularizer", "dtype"])
def test_gadget_inside_a_layer(key: str, honest: Path, tmp_path: Path) -> None:
    def edit(config: Config) -> None:
        config["config"]["layers"][-1]["config"][key] = layer("get_file", "keras.utils", origin="http://x")

    refused(edited_keras(honest, tmp_path, edit), "names 'keras.utils.get_file'")


def test_module_in_a_file_is_not_imported(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "marker"
    package = tmp_path / "keras_evil"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(marker)!r}, 'w').close()")
    monkeypatch.syspath_prepend(tmp_path)
    refused(edited_keras(honest, tmp_path, append(layer("Dense", "keras_evil"))), "comes from the Python module 'keras_evil'")
    assert not marker.exists()


def test_compile_config_is_never_read(honest: Path, tmp_path: Path) -> None:
    def edit(config: Config) -> None:
        config["compile_config"] = {"optimizer": layer("get_file", "keras.utils"), "loss": "mse"}

    assert not load_model(edited_keras(honest, tmp_path, edit)).compiled


def test_custom_objects_of_this_process_are_out_of_reach(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []

    def edit(config: Config) -> None:
        config["config"]["layers"][-1]["config"]["activation"] = "my_activation"

    def my_activation(values: Any) -> Any:
        called.append(1)
        return values

    path = edited_h5(honest, tmp_path, edit)
    objects = keras.saving.get_custom_objects()
    monkeypatch.setitem(objects, "my_activation", my_activation)
    refused(path, "layer 'out' names 'my_activation', a custom object that this process registered")
    assert not called
    load_model(path, trust_model=True)(np.zeros((1, 8, 8, 3), np.float32))
    assert called


def test_custom_class_needs_registration_even_when_trusted(honest: Path, tmp_path: Path) -> None:
    path = edited_keras(honest, tmp_path, append(layer("Mine", None, "package>Mine")))
    refused(path, "cannot load this trusted file .*register them first", trust_model=True)


# --- architectures of absurd size or shape -------------------------------------------------------------------------------------


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


@pytest.mark.parametrize("edit_file", [edited_keras, edited_h5])
@pytest.mark.parametrize(
    ("units", "message"),
    [(10**12, "layer 'out' asks for 'units' = 1000000000000"), (1 << 24, "needs .*the file stores"), (-5, "Keras .* cannot rebuild")],
)
def test_absurd_units(edit_file: Callable[..., Path], units: int, message: str, honest: Path, tmp_path: Path) -> None:
    def edit(config: Config) -> None:
        config["config"]["layers"][-1]["config"]["units"] = units

    path = edit_file(honest, tmp_path, edit)
    before = peak_bytes()
    refused(path, message)
    assert peak_bytes() - before < 500 << 20  # 2**24 units would take 9 GiB


def test_absurd_activations(honest: Path, tmp_path: Path) -> None:
    grow = layer("UpSampling2D", size=[20000, 20000])
    shrink = layer("GlobalAveragePooling2D") | {"config": {"name": "shrink"}}

    def edit(config: Config) -> None:
        config["config"]["layers"][2:3] = [grow, shrink]
        del config["config"]["layers"][-1]["build_config"]

    refused(edited_keras(honest, tmp_path, edit), "layer 'evil' puts out 57600000000 values an image")


@pytest.mark.parametrize("frames", [None, 5])
def test_absurd_activations_further_in(frames: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a nested network, and in one that is repeated for every frame of a clip."""
    values = 90**2 * 3 * (frames or 1)
    monkeypatch.setattr(bounds, "MAX_VALUES", values - 1)
    inner = keras.Sequential([keras.Input((3, 3, 3)), layers.UpSampling2D(30, name="grow"), layers.GlobalAveragePooling2D()])
    body = [keras.Input((frames, 3, 3, 3)), layers.TimeDistributed(inner), layers.Flatten()] if frames else [keras.Input((3, 3, 3)), inner]
    keras.Sequential([*body, layers.Dense(2)]).save(tmp_path / "deep.keras")
    refused(tmp_path / "deep.keras", f"layer 'grow' puts out {values} values an image")


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_absurd_activations_in_wrappers_in_wrappers(depth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """TimeDistributed repeats what it holds, once more for each time that it holds itself."""
    values = 90**2 * 3 * 5**depth
    monkeypatch.setattr(bounds, "MAX_VALUES", values - 1)
    body: keras.Layer = keras.Sequential([keras.Input((3, 3, 3)), layers.UpSampling2D(30, name="grow"), layers.GlobalAveragePooling2D()])
    for _ in range(depth):
        body = layers.TimeDistributed(body)
    model = keras.Sequential([keras.Input((*[5] * depth, 3, 3, 3)), body])
    with pytest.raises(InputError, match=f"layer 'grow' puts out {values} values an image"):
        bounds.refuse_what_never_fits(model, tmp_path)


def test_too_many_layers(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_LAYERS", 3)
    refused(honest / "model.keras", "4 layers; the limit is 3")


@pytest.mark.parametrize("depth", [200, 900, 200_000])
def test_nesting(depth: int, honest: Path, tmp_path: Path) -> None:
    members = read_members(honest / "model.keras")
    text = members["config.json"][:-1] + b', "x": ' + b"[" * depth + b"]" * depth + b"}"
    refused(write_members(tmp_path / "bad.keras", {**members, "config.json": text}), "nested more than 100 deep")


def test_not_a_network(honest: Path, tmp_path: Path) -> None:
    members = read_members(honest / "model.keras")
    for text, message in [(b"{", "no JSON"), (b"[]", "its JSON describes no network"), (b"\xff\xfe", "no JSON")]:
        refused(write_members(tmp_path / "bad.keras", {**members, "config.json": text}), message)
    dense = json.loads(members["config.json"])["config"]["layers"][-1]
    path = write_members(tmp_path / "bad.keras", {**members, "config.json": json.dumps(dense).encode()})
    refused(path, "describes a Dense, not a network")


def test_large_json_in_h5(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inspection, "MAX_CONFIG_BYTES", 100)
    refused(honest / "model.h5", r"has \d+ bytes of JSON; the limit is 100")


def test_network_that_was_never_built(tmp_path: Path) -> None:
    config = {"class_name": "Sequential", "config": {"name": "s", "layers": [{"class_name": "Dense", "config": {"name": "d", "units": 3}}]}}
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(config)
    refused(tmp_path / "bad.h5", "was never built, so its input shape is unknown")


# --- weights that do not belong ------------------------------------------------------------------------------------------------


def edit_weights(honest: Path, tmp_path: Path, edit: Callable[[h5py.File], None]) -> Path:
    members = read_members(honest / "model.keras")
    buffer = io.BytesIO(members["model.weights.h5"])
    with h5py.File(buffer, "r+") as file:
        edit(file)
    return write_members(tmp_path / "bad.keras", {**members, "model.weights.h5": buffer.getvalue()})


def delete(file: h5py.File, key: str) -> None:
    del file[key]


def reshape(file: h5py.File, key: str, shape: tuple[int, ...]) -> None:
    del file[key]
    file[key] = np.zeros(shape, np.float32)


def test_missing_weights_in_h5(honest: Path, tmp_path: Path) -> None:
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        names = [name for name in file["model_weights"].attrs["layer_names"] if name not in ("out", b"out")]
        file["model_weights"].attrs["layer_names"] = names
    refused(path, "stores the weights of 1 layers, its architecture needs 2: wrong weights")


def test_missing_array_in_h5(honest: Path, tmp_path: Path) -> None:
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        group = file["model_weights/out"]
        names = list(group.attrs["weight_names"])
        group.attrs["weight_names"] = names[:1]
    refused(path, "layer 'out' needs 2 weight arrays, the file stores 1: wrong weights")
    with h5py.File(path, "r+") as file:
        file["model_weights/out"].attrs["weight_names"] = [b"nowhere", b"else"]
    refused(path, "layer 'out' lists the weight array 'nowhere', which is not there")


def test_mismatched_shape_in_h5(honest: Path, tmp_path: Path) -> None:
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        key = file["model_weights/out"].attrs["weight_names"][1]
        reshape(file["model_weights/out"], key, (4,))
    refused(path, r"layer 'out' needs bias of shape \(3,\), the file stores \(4,\): architecture and weights do not match")


def test_missing_weights_in_keras(honest: Path, tmp_path: Path) -> None:
    refused(edit_weights(honest, tmp_path, lambda file: delete(file, "layers/dense")), r"needs \d+ weights, the file stores 112")


def test_mismatched_weights_in_keras(honest: Path, tmp_path: Path) -> None:
    edited = edit_weights(honest, tmp_path, lambda file: reshape(file, "layers/dense/vars/1", (9,)))
    refused(edited, "architecture and weights do not match")

    def move(file: h5py.File) -> None:
        file.move("layers/dense", "layers/other")

    refused(edit_weights(honest, tmp_path, move), "architecture and weights do not match")


def test_weights_that_the_loader_skips_are_noticed(honest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.Model, "load_weights", lambda *_: None)
    refused(honest / "model.keras", "layer 'conv' has no stored values for kernel: missing weights")


# --- HDF5 --------------------------------------------------------------------------------------------------------------------


def external_link(file: h5py.File) -> None:
    file["evil"] = h5py.ExternalLink("/etc/hostname", "/x")


def soft_link(file: h5py.File) -> None:
    file["evil"] = h5py.SoftLink("/nowhere")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("evil", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual_dataset(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "u1")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4,))
    file.create_virtual_dataset("evil", layout)


def fill_value_bomb(file: h5py.File) -> None:
    file.create_dataset("evil", (1 << 34,), "f4")


def gzip_bomb(file: h5py.File) -> None:
    file.create_dataset("evil", data=np.zeros(4 << 20, "f4"), compression="gzip", chunks=(1 << 20,))


def chunk_bomb(file: h5py.File) -> None:
    file.create_dataset("evil", (4,), "f4", maxshape=(None,), chunks=(1 << 28,))


def foreign_filter(file: h5py.File) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((4,))
    settings.set_filter(32015, h5py.h5z.FLAG_OPTIONAL)
    h5py.h5d.create(file.id, b"evil", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((4,)), settings)


def references(file: h5py.File) -> None:
    file.create_dataset("evil", data=np.array([file.ref], dtype=h5py.ref_dtype))


def named_type(file: h5py.File) -> None:
    file["evil"] = np.dtype("f8")


HDF5_TRICKS = [
    (external_link, "'/evil' is an external link to '/etc/hostname'"),
    (soft_link, "'/evil' is a soft link to '/nowhere'"),
    (external_storage, "'/evil' keeps its values in the external file '/etc/hostname'"),
    (virtual_dataset, "'/evil' is a virtual dataset"),
    (fill_value_bomb, "'/evil' unpacks 0 stored bytes to 68719476736"),
    (gzip_bomb, r"'/evil' unpacks \d+ stored bytes to 16777216, more than 100 times"),
    (chunk_bomb, "'/evil' unpacks 0 stored bytes to 1073741824"),
    (foreign_filter, "'/evil' needs the HDF5 plug-in filter 32015"),
    (references, "'/evil' holds 'object' values"),
    (named_type, "'/evil' is an HDF5 named type"),
]


@pytest.mark.parametrize(("trick", "message"), HDF5_TRICKS, ids=lambda value: getattr(value, "__name__", ""))
def test_hdf5_trick(trick: Callable[[h5py.File], None], message: str, honest: Path, tmp_path: Path) -> None:
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        trick(file)
    refused(path, message)
    archive = edit_weights(honest, tmp_path, trick)
    assert "(model.weights.h5): " in refused(archive, message)


def test_hard_link_ring_ends(honest: Path, tmp_path: Path) -> None:
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        file["model_weights/ring"] = file["/"]
    assert load_model(path).output_shape == (None, 3)


@pytest.mark.parametrize(
    ("constant", "value", "message"),
    [("MAX_OBJECTS", 5, "more than 5 HDF5 objects"), ("MAX_BYTES", 100, "its arrays need 0 GiB")],
)
def test_hdf5_limits(constant: str, value: int, message: str, honest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, constant, value)
    refused(honest / "model.h5", message)


def test_list_of_texts_that_may_all_be_one_large_text(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bad.h5", "w", libver="latest") as file:
        file.attrs["model_config"] = "x" * (1 << 20)
        file.attrs.create("layer_names", ["y"] * 10_000, dtype=h5py.string_dtype())
    refused(tmp_path / "bad.h5", "a list of 10000 texts may unpack to over 8 GiB")


def write_array_of_texts(file: h5py.File) -> None:
    """One value of an array type, whose texts may all be one large text."""
    kind = np.dtype((h5py.string_dtype(), (50,)))
    file.attrs.create("model_config", np.array(["x"] * 50, dtype=object), shape=(50,), dtype=kind)


def write_sequence(file: h5py.File) -> None:
    lists = np.empty(1, dtype=object)
    lists[0] = np.zeros(3, np.float32)
    file.attrs.create("model_config", lists, dtype=h5py.vlen_dtype(np.float32))


@pytest.mark.parametrize("write", [write_array_of_texts, write_sequence])
def test_attribute_that_is_one_value_of_many(write: Callable[[h5py.File], None], tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        write(file)
    refused(tmp_path / "bad.h5", "the attribute '/@model_config' holds lists or records")


def test_attribute_larger_than_the_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file.attrs.create("model_config", np.zeros(50), dtype="f8")
    content = (tmp_path / "bad.h5").read_bytes()
    space = struct.pack("<QQ", 50, 50) if struct.pack("<QQ", 50, 50) in content else struct.pack("<Q", 50)
    (tmp_path / "bad.h5").write_bytes(content.replace(space, space.replace(struct.pack("<Q", 50), struct.pack("<Q", 1 << 30)), 1))
    refused(tmp_path / "bad.h5", r"the attribute '/@model_config' declares 1073741824 values that \d+ bytes cannot hold|damaged")


def test_groups_in_groups(honest: Path, tmp_path: Path) -> None:
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        file.create_group("/".join("g" * 202))
    refused(path, "HDF5 groups nested more than 200 deep; no network needs that")


def test_links_and_attributes_count_before_they_are_looked_at(honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "MAX_OBJECTS", 60)
    monkeypatch.setattr(containers, "refuse_link", lambda group, *_: pytest.fail("looked at") if len(group) > 60 else None)
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        for number in range(61):
            file[f"links/{number}"] = file["model_weights"]
    refused(path, "more than 60 HDF5 objects")
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        for number in range(61):
            file["model_weights"].attrs[f"a{number}"] = number
    refused(path, "more than 60 HDF5 objects")


def test_attribute_of_compound_lists(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "bad.h5", "w") as file:
        file.attrs["model_config"] = np.zeros(3, dtype=[("a", "f4")])
    refused(tmp_path / "bad.h5", "the attribute '/@model_config' holds lists or records")


def test_weights_without_an_architecture(honest: Path, tmp_path: Path) -> None:
    keras.models.load_model(honest / "model.keras").save_weights(tmp_path / "new.weights.h5")
    with h5py.File(honest / "model.h5") as source, h5py.File(tmp_path / "old.h5", "w") as target:
        target.attrs["layer_names"] = list(source["model_weights"].attrs["layer_names"])
    for name in ("new.weights.h5", "old.h5"):
        for trust_model in (False, True):
            refused(tmp_path / name, r"has weights and no architecture; .*save with model.save\(", trust_model=trust_model)


def test_hdf5_data_set(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["X_test"] = np.zeros((2, 8, 8, 3))
    refused(tmp_path / "data.h5", "an HDF5 file without a model .it holds 'X_test'")


# --- zip ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("../evil.py", "member '../evil.py' points outside the archive"),
        ("/evil.py", "member '/evil.py' points outside the archive"),
        ("assets\\..\\..\\evil", "points outside the archive"),
        ("data.pkl", "holds the pickle 'data.pkl'"),
        ("assets/layer/vocabulary.txt", "holds the asset 'assets/layer/vocabulary.txt'"),
        ("model.weights.npz", "keeps its weights in 'model.weights.npz'"),
        ("run.sh", "unexpected member 'run.sh'"),
    ],
)
def test_zip_member(name: str, message: str, honest: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.parent.iterdir())
    refused(write_members(tmp_path / "bad.keras", {**read_members(honest / "model.keras"), name: b"x"}), message)
    assert sorted(tmp_path.parent.iterdir()) == before


def test_empty_assets_are_fine(honest: Path, tmp_path: Path) -> None:
    load_model(write_members(tmp_path / "good.keras", {**read_members(honest / "model.keras"), "assets/": b""}))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_duplicate_member(honest: Path, tmp_path: Path) -> None:
    path = write_members(tmp_path / "bad.keras", read_members(honest / "model.keras"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    refused(path, "member 'config.json' occurs 2 times")


@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_missing_member(name: str, honest: Path, tmp_path: Path) -> None:
    members = read_members(honest / "model.keras")
    del members[name]
    refused(write_members(tmp_path / "bad.keras", members), f"no member {name}")


def test_zip_bomb(honest: Path, tmp_path: Path) -> None:
    members = {**read_members(honest / "model.keras"), "model.weights.h5": bytes(8 << 20)}
    refused(write_members(tmp_path / "bad.keras", members, zipfile.ZIP_DEFLATED), "more than 100 times as many: a zip bomb")


def test_oversized_member(honest: Path, tmp_path: Path) -> None:
    members = {**read_members(honest / "model.keras"), "metadata.json": bytes((16 << 20) + 1)}
    refused(write_members(tmp_path / "bad.keras", members), "member 'metadata.json' has 16777217 bytes; the limit is 16777216")


def test_odd_packing(honest: Path, tmp_path: Path) -> None:
    path = write_members(tmp_path / "bad.keras", read_members(honest / "model.keras"), zipfile.ZIP_LZMA)
    refused(path, "is packed by method 14; expected stored or deflated")


def patch_central_directory(path: Path, offset: int, layout: str, value: int) -> Path:
    """Overwrite one field of the first central directory record."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, content.index(b"PK\x01\x02") + offset, value)
    path.write_bytes(content)
    return path


def test_encrypted_member(honest: Path, tmp_path: Path) -> None:
    path = write_members(tmp_path / "bad.keras", read_members(honest / "model.keras"))
    refused(patch_central_directory(path, 8, "<H", 1), "member '.*' is encrypted")


def test_overlapping_members(honest: Path, tmp_path: Path) -> None:
    path = write_members(tmp_path / "bad.keras", read_members(honest / "model.keras"))
    refused(patch_central_directory(path, 20, "<L", 1 << 30), "its members claim .* they overlap")


# --- files that are no model ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("trust_model", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.9, 0.999])
@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_truncated(name: str, share: float, trust_model: bool, honest: Path, tmp_path: Path) -> None:
    content = (honest / name).read_bytes()
    (tmp_path / name).write_bytes(content[: math.floor(len(content) * share)])
    refused(tmp_path / name, "cut short or damaged", trust_model=trust_model)


@pytest.mark.parametrize("trust_model", [False, True])
def test_no_room_to_unpack(trust_model: bool, honest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    path = tmp_path / ("model.h5" if trust_model else "model.keras")  # a trusted file is copied where its suffix is wrong
    path.write_bytes((honest / "model.keras").read_bytes())
    monkeypatch.setattr(shutil, "copyfile" if trust_model else "copyfileobj", full)
    text = refused(path, r"cannot be unpacked into .* \(No space left on device\): expected room", trust_model=trust_model)
    assert text.endswith("free some, or name another folder with TMPDIR")
    monkeypatch.setattr(containers.tempfile, "TemporaryDirectory", lambda **_: full())
    refused(path, "cannot be unpacked into the folder for temporary files", trust_model=trust_model)


def test_damaged_in_the_middle(honest: Path, tmp_path: Path) -> None:
    content = bytearray((honest / "model.keras").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "bad.keras").write_bytes(content)
    refused(tmp_path / "bad.keras", "cut short or damaged")


def test_damaged_array(honest: Path, tmp_path: Path) -> None:
    path = copied_h5(honest, tmp_path)
    with h5py.File(path, "r+") as file:
        key = file["model_weights/out"].attrs["weight_names"][0]
        group = file["model_weights/out"]
        values = group[key][()]
        del group[key]
        array = group.create_dataset(key, data=values, chunks=values.shape, compression="gzip", fletcher32=True)
        where = array.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[where + 50] ^= 0xFF
    path.write_bytes(content)
    refused(path, "HDF5 file cut short or damaged")


class Payload:
    """A pickle of this makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("trust_model", [False, True])
@pytest.mark.parametrize("name", ["model.h5", "model.keras", "model.pkl"])
def test_pickle_is_never_read(name: str, trust_model: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(pickle.dumps(Payload(tmp_path / "marker")))
    refused(tmp_path / name, "a pickle, which runs code while it is read; refused always", trust_model=trust_model)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"an empty file \(0 bytes\)"),
        (b"just a text\n", "starts with b'just a t', so it is neither HDF5 nor a .keras archive"),
        (b"\x89PNG\r\n\x1a\n0000", r"starts with b'\\x89PNG\\r\\n\\x1a\\n', so it is neither"),
    ],
)
def test_other_content(content: bytes, message: str, tmp_path: Path) -> None:
    for name in ("model.h5", "model.keras"):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, message)


def test_paths_that_are_no_file(tmp_path: Path) -> None:
    import os

    refused(tmp_path / "nowhere.h5", "no such file")
    refused(tmp_path, "a folder without saved_model.pb")
    os.mkfifo(tmp_path / "pipe.h5")
    refused(tmp_path / "pipe.h5", "not a regular file")


def test_broken_saved_model(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    refused(tmp_path, "a SavedModel is a program")
    refused(tmp_path, "TensorFlow cannot load it", trust_model=True)
