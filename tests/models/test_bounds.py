"""Bounds on what an architecture may cost: hidden tensors, calls of layers, chains, classes, layers that nobody uses."""

import inspect
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import pytest
from keras import layers, ops

from nc_tf.errors import InputError
from nc_tf.models.loading import bounds
from nc_tf.models.loading.load import load_model

IMAGE = (8, 8, 3)


def classifier(build: Callable[[Any], Any], shape: tuple[int | None, ...] = IMAGE) -> keras.Model:
    image = keras.Input(shape)
    return keras.Model(image, layers.Dense(2, name="out")(build(image)))


def edited(model: keras.Model, path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    """Save a model, and change its architecture in the file."""
    model.save(path)
    if path.suffix == ".h5":
        with h5py.File(path, "r+") as file:
            config = json.loads(file.attrs["model_config"])
            edit(config)
            file.attrs["model_config"] = json.dumps(config)
        return path
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    config = json.loads(members["config.json"])
    edit(config)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {**members, "config.json": json.dumps(config).encode()}.items():
            archive.writestr(name, content)
    return path


def layer_of(config: dict[str, Any], class_name: str) -> dict[str, Any]:
    return next(entry for entry in config["config"]["layers"] if entry["class_name"] == class_name)


# --- layers that nobody uses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_layer_that_leads_to_no_output(suffix: str, tmp_path: Path) -> None:
    """Keras would build it by its build_config, 12 GiB here, and no weight of the model would tell."""
    ghost: dict[str, Any] = {
        "module": "keras.layers", "class_name": "Dense", "registered_name": None, "name": "ghost", "inbound_nodes": [],
        "config": {"name": "ghost", "units": 1 << 10}, "build_config": {"input_shape": [None, 3 << 20]},
    }  # fmt: skip
    path = edited(classifier(layers.Flatten()), tmp_path / f"bad{suffix}", lambda config: config["config"]["layers"].append(ghost))
    with pytest.raises(InputError, match="layer 'ghost' leads to no output; expected layers that are used"):
        load_model(path)


def test_a_layer_that_is_called_and_leads_to_no_output(tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        extra = json.loads(json.dumps(layer_of(config, "Dense")))
        extra["name"] = extra["config"]["name"] = "ghost"
        config["config"]["layers"].append(extra)

    with pytest.raises(InputError, match="layer 'ghost' leads to no output"):
        load_model(edited(classifier(layers.Flatten()), tmp_path / "bad.keras", edit))


def recurrent(image: Any) -> Any:
    return layers.Bidirectional(layers.LSTM(2), name="both")(layers.Reshape((8, 24))(image))


def test_a_layer_that_a_wrapper_throws_away(tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        layer_of(config, "Bidirectional")["config"]["layer"]["build_config"] = {"input_shape": [None, None, 3 << 20]}

    with pytest.raises(InputError, match=r"layer 'both' is built for .*, the one that it holds for {'input_shape': \[None, None, 3145728"):
        load_model(edited(classifier(recurrent), tmp_path / "bad.keras", edit))


def test_shapes_to_build_by_are_not_used(tmp_path: Path) -> None:
    """Every layer is built by being called, whatever its build_config says."""

    def edit(config: dict[str, Any]) -> None:
        layer_of(config, "Dense")["build_config"] = {"input_shape": [None, 3 << 20]}

    model = load_model(edited(classifier(layers.Flatten()), tmp_path / "odd.keras", edit))
    assert model.get_layer("out").kernel.shape == (192, 2)


# --- values ----------------------------------------------------------------------------------------------------------------------

# In and out stay below 400 values an image, what the layer holds on the way does not.
TOKENS = layers.Reshape((64, 3))
HIDDEN: dict[str, Callable[[Any], Any]] = {
    "Attention": lambda x: layers.Attention(name="grow")([TOKENS(x)] * 2),
    "AdditiveAttention": lambda x: layers.AdditiveAttention(name="grow")([TOKENS(x)] * 2),
    "MultiHeadAttention": lambda x: layers.MultiHeadAttention(2, 1, name="grow")(TOKENS(x), TOKENS(x)),
    "GroupQueryAttention": lambda x: layers.GroupQueryAttention(1, 2, 1, name="grow")(TOKENS(x), TOKENS(x)),
    "DepthwiseConv2D": lambda x: layers.DepthwiseConv2D(2, dilation_rate=7, padding="same", name="grow")(x),
    "ExtractPatches": lambda x: layers.Reshape((192,))(ops.image.extract_patches(x, 8, padding="valid")),
    "Einsum": lambda x: ops.sum(ops.reshape(x, (-1, 192, 1)) * ops.reshape(x, (-1, 1, 192)), axis=2),
    "Outer": lambda x: ops.max(ops.einsum("bhwc,bijc->bhwij", x, x), axis=(3, 4))[:, 0],
    "OneHot": lambda x: ops.sum(ops.one_hot(ops.cast(layers.Flatten()(x), "int32"), 9), axis=2),
    "LSTM": lambda x: layers.LSTM(2, name="grow")(layers.Reshape((96, 2))(x)),
}
VISIBLE: dict[str, Callable[[Any], Any]] = {
    "CategoryEncoding": lambda x: layers.CategoryEncoding(9, "one_hot", name="grow")(layers.Flatten()(x)),
    "UpSampling2D": lambda x: layers.UpSampling2D(4, name="grow")(x),
    "ZeroPadding2D": lambda x: layers.ZeroPadding2D(20, name="grow")(x),
    "RepeatVector": lambda x: layers.RepeatVector(9, name="grow")(layers.Flatten()(x)),
    "Embedding": lambda x: layers.Embedding(256, 9, name="grow")(layers.Flatten()(x)),
    "Dot": lambda x: layers.Dot(2, name="grow")([TOKENS(x)] * 2),
    "Multiply": lambda x: layers.Multiply(name="grow")([layers.Reshape((192, 1))(x), layers.Reshape((1, 192))(x)]),
    "Conv2DTranspose": lambda x: layers.Conv2DTranspose(9, 2, strides=2, name="grow")(x),
}


@pytest.mark.parametrize("kind", HIDDEN)
def test_what_a_layer_holds_on_the_way_to_its_output_counts(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(HIDDEN[kind])
    bounds.refuse_what_never_fits(model, tmp_path)
    monkeypatch.setattr(bounds, "MAX_VALUES", 400)
    with pytest.raises(InputError, match=r"layer '.*' (holds|puts out) \d+ values an image.*; the limit is 400"):
        bounds.refuse_what_never_fits(model, tmp_path)


@pytest.mark.parametrize("kind", VISIBLE)
def test_what_a_layer_puts_out_counts(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(VISIBLE[kind])
    bounds.refuse_what_never_fits(model, tmp_path)
    monkeypatch.setattr(bounds, "MAX_VALUES", 400)
    with pytest.raises(InputError, match=r"layer 'grow' (puts out|holds) \d+ values an image.*; the limit is 400"):
        bounds.refuse_what_never_fits(model, tmp_path)


def test_sides_that_are_left_open_count_at_a_usual_size(tmp_path: Path) -> None:
    pooled = lambda times: lambda x: layers.GlobalAveragePooling2D()(layers.UpSampling2D(times, name="grow")(x))  # noqa: E731
    load = classifier(pooled(2), (None, None, 3))
    load.save(tmp_path / "good.keras")
    assert load_model(tmp_path / "good.keras").input_shape == (None, None, None, 3)

    def edit(config: dict[str, Any]) -> None:
        layer_of(config, "UpSampling2D")["config"]["size"] = [2000, 2000]

    with pytest.raises(InputError, match=f"layer 'grow' puts out {448000**2 * 3} values an image; the limit is 134217728"):
        load_model(edited(load, tmp_path / "bad.keras", edit))


def test_a_network_that_fits_one_usual_size_only(tmp_path: Path) -> None:
    """It needs images of 96x96, and says so nowhere."""
    fixed = classifier(lambda x: layers.Flatten()(ops.reshape(x, (-1, 96 * 96 * 3))), (None, None, 3))
    bounds.refuse_what_never_fits(fixed, tmp_path)


def test_a_network_that_fits_no_usual_size(tmp_path: Path) -> None:
    fixed = classifier(lambda x: layers.Flatten()(layers.Reshape((97, 97, 3))(x)), (None, None, 3))
    with pytest.raises(InputError, match=r"cannot be computed for images of 224x224 or .*512x512 .*; expected a fixed size"):
        bounds.refuse_what_never_fits(fixed, tmp_path)


# --- calls, parts, chains, classes -----------------------------------------------------------------------------------------------


def test_models_that_call_models_multiply_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner: Any = layers.Activation("relu")
    for depth in range(30):  # 2**30 calls out of 60 layers
        image = keras.Input((4,))
        inner = keras.Model(image, inner(inner(image)), name=f"m{depth}")
    model = classifier(lambda x: inner(layers.Dense(4)(layers.Flatten()(x))))
    with pytest.raises(InputError, match=r"at layer 'm\d+' one image takes \d+ calls of layers; the limit is 50000"):
        bounds.refuse_what_never_fits(model, tmp_path)


def test_frames_multiply_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = keras.Sequential([keras.Input(IMAGE), layers.ReLU(), layers.GlobalAveragePooling2D()])
    model = classifier(lambda x: layers.Flatten()(layers.TimeDistributed(frame, name="frames")(x)), (5, *IMAGE))
    monkeypatch.setattr(bounds, "MAX_CALLS", 13)  # 5 frames of 2 layers, TimeDistributed, Flatten, Dense
    bounds.refuse_what_never_fits(model, tmp_path)
    monkeypatch.setattr(bounds, "MAX_CALLS", 12)
    with pytest.raises(InputError, match="one image takes 13 calls of layers; the limit is 12"):
        bounds.refuse_what_never_fits(model, tmp_path)


def test_an_unrolled_loop_counts_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = classifier(lambda x: layers.LSTM(2, unroll=True, name="steps")(layers.Reshape((24, 8))(x)))
    monkeypatch.setattr(bounds, "MAX_CALLS", 30)
    monkeypatch.setattr(bounds.Walk, "trace", lambda *_: pytest.fail("the loop was unrolled"))
    with pytest.raises(InputError, match="at layer 'steps' one image takes 48 calls"):
        bounds.refuse_what_never_fits(model, tmp_path)


@pytest.mark.parametrize("build", [lambda x: ops.split(TOKENS(x), 64, axis=1)[0][:, 0], lambda x: ops.unstack(TOKENS(x), axis=1)[0]])
def test_operations_that_cut_into_many_tensors(build: Callable[[Any], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier(build).save(tmp_path / "model.keras")
    load_model(tmp_path / "model.keras")
    monkeypatch.setattr(bounds, "MAX_PARTS", 63)
    with pytest.raises(InputError, match="cuts its input into 64 tensors; the limit is 63"):
        load_model(tmp_path / "model.keras")


def chain(length: int) -> keras.Model:
    return keras.Sequential([keras.Input(IMAGE), *(layers.Activation("linear") for _ in range(length)), layers.Flatten(), layers.Dense(2)])


def test_a_long_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain(8).save(tmp_path / "model.keras")
    monkeypatch.setattr(bounds, "MAX_CHAIN", 9)
    with pytest.raises(InputError, match="10 layers one behind the other; the limit is 9"):
        load_model(tmp_path / "model.keras")


@pytest.mark.slow
def test_a_chain_that_keras_cannot_connect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain(300).save(tmp_path / "model.keras")
    load_model(tmp_path / "model.keras")
    room, limit = len(inspect.stack()) + 200, sys.getrecursionlimit()
    monkeypatch.setattr(bounds, "SPARE_FRAMES", limit - room)
    with pytest.raises(InputError, match="more layers one behind the other than Keras can connect, about 800"):
        load_model(tmp_path / "model.keras")
    assert sys.getrecursionlimit() == limit


def test_a_sequential_is_connected_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Sequential.from_config` connects it again for every layer."""
    chain(20).save(tmp_path / "model.keras")
    calls: list[str] = []
    compute = layers.Activation.compute_output_shape

    def counted(self: keras.Layer, shape: Any) -> Any:
        calls.append(self.name)
        return compute(self, shape)

    monkeypatch.setattr(layers.Activation, "compute_output_shape", counted)
    before = keras.Layer.symbolic_call, keras.Operation.symbolic_call, keras.Sequential._maybe_rebuild
    load_model(tmp_path / "model.keras")
    assert len(calls) == 20 * 3  # without memory, with it, and for the bounds
    assert (keras.Layer.symbolic_call, keras.Operation.symbolic_call, keras.Sequential._maybe_rebuild) == before


def test_many_classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier(layers.Flatten()).save(tmp_path / "model.keras")
    monkeypatch.setattr(bounds, "MAX_CLASSES", 1)
    for trust_model in (False, True):
        with pytest.raises(InputError, match="the network has 2 classes; the limit is 1; keep the classes that you need"):
            load_model(tmp_path / "model.keras", trust_model=trust_model)


@pytest.mark.parametrize("name", ["a\nb", "\x1b[2J", "\ud800", "..", "n" * 1001])
def test_odd_names(name: str, tmp_path: Path) -> None:
    def edit(config: dict[str, Any]) -> None:
        layer_of(config, "Dense")["config"]["name"] = name

    with pytest.raises(InputError, match=r"a layer is named '.*expected at most 1000 printable characters; rename it") as caught:
        load_model(edited(classifier(layers.Flatten()), tmp_path / "bad.keras", edit))
    assert str(caught.value).isprintable()
