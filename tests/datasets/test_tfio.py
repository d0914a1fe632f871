"""tensorflow-io: a clear message where it is missing; where it is installed, HDF5 files are streamed and videos decoded by it.

With NC_TF_TFIO=1, as `.ci/tfio` sets it, the tests of streams use tensorflow-io itself and fail without it. Elsewhere h5py stands in.
"""

import os
import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import tensorflow as tf
from videos import cut_short, write_video

from nc_tf.datasets.formats import tfio
from nc_tf.datasets.formats.hdf5_stream import stream
from nc_tf.datasets.read import read
from nc_tf.datasets.ucf101.decoding import ClipFormat, check_decoder, decode
from nc_tf.errors import InputError

ITSELF = bool(os.environ.get("NC_TF_TFIO"))
SMALL = ClipFormat(4, 12, 16, decoder="tfio")
IMAGES = np.random.default_rng(0).integers(0, 256, (90, 5, 4, 3), np.uint8)
LABELS = np.arange(90) % 7


def stand_in(path: str, dataset: str) -> tf.data.Dataset:
    with h5py.File(path, "r") as file:
        for name, array in file.items():
            if array.dtype == np.float16:
                raise tf.errors.InvalidArgumentError(None, None, f"unsupported data type size for /{name}: 2")
        return tf.data.Dataset.from_tensor_slices(file[dataset][()])


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `stream` work: with tensorflow-io where it must be there, else with the stand-in."""
    if not ITSELF:
        monkeypatch.setattr(tfio, "load", lambda: SimpleNamespace(IODataset=SimpleNamespace(from_hdf5=stand_in)))


def save(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file.create_dataset(name, data=array, chunks=True, compression="gzip")
    return path


# Streams.


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(
    ("arrays", "subset"),
    [
        ({"X_train": IMAGES, "Y_train": np.eye(7, dtype=np.uint8)[LABELS], "X_test": IMAGES[:9], "Y_test": LABELS[:9]}, "train"),
        ({"X_train": IMAGES, "Y_train": LABELS, "X_test": IMAGES[:9], "Y_test": LABELS[:9]}, "test"),
        ({"x": IMAGES.astype(np.int32), "y": LABELS.astype(np.float64)[:, None]}, "train"),
        ({"x": IMAGES.astype(np.float64), "y": LABELS.astype(np.uint16)}, "train"),
        ({"x": IMAGES[..., 0].repeat(2, axis=2), "y": LABELS.astype(np.int16)}, "train"),
        ({"data": IMAGES.transpose(0, 3, 1, 2), "label": LABELS}, "train"),
    ],
)
def test_a_stream_gives_what_reading_gives(tmp_path: Path, arrays: dict[str, np.ndarray], subset: Any) -> None:
    path = save(tmp_path / "d.h5", **arrays)
    whole = read(path, subset=subset)
    pairs = stream(path, subset=subset)
    assert pairs.cardinality() == len(whole.images)
    images, labels = zip(*pairs.as_numpy_iterator(), strict=True)
    np.testing.assert_array_equal(np.stack(images), whole.images)
    np.testing.assert_array_equal(labels, whole.labels)
    assert pairs.element_spec[0].dtype == whole.images.dtype
    assert pairs.element_spec[0].shape == whole.images.shape[1:]
    assert labels[0].dtype == np.int64


@pytest.mark.usefixtures("package")
def test_a_stream_trains_a_network(tmp_path: Path) -> None:
    import keras

    path = save(tmp_path / "d.h5", x=IMAGES, y=LABELS)
    model = keras.Sequential([keras.Input((5, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(7, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy")
    assert np.isfinite(model.fit(stream(path).batch(30), shuffle=False, verbose=0).history["loss"]).all()


BAD: list[tuple[dict[str, Any], str]] = [
    ({"x": IMAGES.reshape(9, 10, 5, 4, 3), "y": LABELS[:9]}, r"x in .*d.h5 has shape \(9, 10, 5, 4, 3\): expected 1 to 4 axes"),
    ({"images": IMAGES, "y": LABELS}, r"d.h5 holds images, y: expected X_test and Y_test"),
    ({"x": IMAGES, "y": LABELS[:5]}, r"d.h5: 90 images and 5 labels: expected one label an image"),
    ({"x": IMAGES / 255, "y": LABELS}, r"d.h5: largest value 1: expected raw pixels in \[0, 255\]"),
    ({"x": IMAGES.astype("S3"), "y": LABELS}, r"the first rows of x in .* has type \|S3: expected an array of numbers"),
    ({"x": IMAGES, "y": LABELS, "z": LABELS.astype(np.float16)}, r"d.h5 cannot be streamed \(.*unsupported data type.*\): expected"),
]


@pytest.mark.usefixtures("package")
@pytest.mark.parametrize(("arrays", "message"), BAD)
def test_what_cannot_be_streamed_is_refused(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        stream(save(tmp_path / "d.h5", **arrays))


@pytest.mark.usefixtures("package")
def test_rows_that_are_immense_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = save(tmp_path / "d.h5", y=LABELS)
    with h5py.File(path, "a") as file:
        file.create_dataset("x", (90, 30_000, 30_000, 3), np.uint8, chunks=(1, 1000, 1000, 3))
    with pytest.raises(InputError, match=r"the first rows of x in .* declares shape \(64, 30000, 30000, 3\), 161 GiB: expected at most"):
        stream(path)


@pytest.mark.usefixtures("package")
def test_links_and_damage_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "d.h5", y=LABELS, other=IMAGES)
    with h5py.File(path, "a") as file:
        file["x"] = h5py.SoftLink("/other")
    with pytest.raises(InputError, match=r"x in .*d.h5 is a link to another place"):
        stream(path)
    with pytest.raises(InputError, match=r"d.h5 cannot be streamed \(.*\): expected a whole HDF5 file of numbers; copy it again"):
        stream(cut_short(path))
    with pytest.raises(InputError, match=r"none.h5 cannot be streamed"):
        stream(tmp_path / "none.h5")


# The messages where it is missing.


def install(monkeypatch: pytest.MonkeyPatch, **ops: Any) -> None:
    """Put a package in the place of tensorflow-io, with these modules in its `python.ops`; None for one that does not load."""

    class Ops(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            if ops.get(name) is None:
                raise NotImplementedError(f"unable to open file: {name}.so\ncaused by: undefined symbol")
            return ops[name]

    for name in ("tensorflow_io", "tensorflow_io.python"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.setitem(sys.modules, "tensorflow_io.python.ops", Ops("tensorflow_io.python.ops"))


CORE = SimpleNamespace(io_hdf5_readable_info=None)


def test_a_package_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow_io", None)
    message = r"tensorflow-io cannot be loaded \(.*\): expected 0.37.1 beside TensorFlow 2.16; pip install 'nc_tf\[tfio\]'"
    for call in (tfio.load, tfio.load_ffmpeg, lambda: stream(tmp_path / "d.h5"), lambda: check_decoder(SMALL)):
        with pytest.raises(InputError, match=message):
            call()


def test_a_package_that_does_not_load_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, core_ops=None)
    with pytest.raises(InputError, match=r"tensorflow-io cannot be loaded \(unable to open file: core_ops.so\): expected 0.37.1"):
        tfio.load()


def test_without_ffmpeg_its_releases_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, core_ops=CORE, ffmpeg_ops=None)
    assert tfio.load() is sys.modules["tensorflow_io"]
    with pytest.raises(InputError, match=r"tensorflow-io finds no FFmpeg \(unable .*\): expected the shared libraries of FFmpeg 4 .* PyAV"):
        tfio.load_ffmpeg()


# Videos.


def with_ffmpeg(monkeypatch: pytest.MonkeyPatch, answer: Any) -> None:
    def decode_video(content: bytes, index: int) -> Any:
        assert (content[:4], index) == (b"RIFF", 0)
        if isinstance(answer, Exception):
            raise answer
        return tf.constant(answer)

    install(monkeypatch, core_ops=CORE, ffmpeg_ops=SimpleNamespace(io_ffmpeg_decode_video=decode_video))


def test_frames_of_tensorflow_io_make_the_same_clip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", 20)
    frames, total = decode(path, ClipFormat(20, 48, 64))
    with_ffmpeg(monkeypatch, frames)
    clip, seen = decode(path, SMALL)
    assert seen == total == 20
    np.testing.assert_array_equal(clip, decode(path, ClipFormat(4, 12, 16))[0])


def test_what_tensorflow_io_cannot_decode_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi")
    with_ffmpeg(monkeypatch, np.zeros((0, 48, 64, 3), np.uint8))
    with pytest.raises(InputError, match=r"v.avi has no frames: expected a video"):
        decode(path, SMALL)
    with_ffmpeg(monkeypatch, tf.errors.InvalidArgumentError(None, None, "unable to open file: memory"))
    with pytest.raises(InputError, match=r"v.avi cannot be decoded \(unable to open file: memory\): expected a whole AVI video"):
        decode(path, SMALL)


@pytest.mark.skipif(not ITSELF, reason="needs tensorflow-io: .ci/tfio makes the environment for it and sets NC_TF_TFIO")
def test_tensorflow_io_itself_decodes_as_pyav_or_says_why_not(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.avi", 20)
    try:
        check_decoder(SMALL)
    except InputError as error:
        assert "tensorflow-io finds no FFmpeg" in str(error)  # noqa: PT017  # either outcome is right, so there is nothing to expect
        return
    clip, total = decode(path, SMALL)
    assert total == 20
    np.testing.assert_allclose(clip, decode(path, ClipFormat(4, 12, 16))[0], atol=1)


def test_no_other_module_imports_tensorflow_io() -> None:
    package = Path(tfio.__file__).resolve().parents[2]
    named = [path for path in package.rglob("*.py") if re.search(r"\btensorflow_io\b", path.read_text(encoding="utf-8"))]
    assert named == [Path(tfio.__file__).resolve()]
