"""CIFAR-10: an archive of JPEGs, and Keras's own."""

import io
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from PIL import Image

from nc_tf.cli.main import main
from nc_tf.datasets import cifar10
from nc_tf.errors import InputError


def archive(path: Path, n: int = 20, side: int = 32, **replaced: Any) -> Path:
    """Grey pictures of the brightness 10 * number; every fourth is of the test set."""
    pictures = []
    for number in range(n):
        stream = io.BytesIO()
        Image.new("RGB", (side, side), (10 * number,) * 3).save(stream, "JPEG", quality=95)
        pictures.append(np.frombuffer(stream.getvalue(), np.uint8))
    arrays = {
        "buf": np.concatenate(pictures),
        "offsets": np.cumsum([0, *map(len, pictures)]),
        "labels": np.arange(n) % 10,
        "is_test": np.arange(n) % 4 == 0,
    }
    np.savez(path, **{**arrays, **replaced})
    return path


def test_an_archive_of_jpegs(tmp_path: Path) -> None:
    (x_train, y_train), (x_test, y_test) = cifar10.load_data(archive(tmp_path / "c.npz"))
    assert x_train.shape == (15, 32, 32, 3)
    assert x_test.shape == (5, 32, 32, 3)
    assert x_train.dtype == x_test.dtype == np.uint8
    np.testing.assert_array_equal(y_test, [0, 4, 8, 2, 6])
    np.testing.assert_allclose(x_test[:, 5, 5, 0], [0, 40, 80, 120, 160], atol=2)
    assert len(y_train) == 15


def test_the_original_comes_from_keras(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = np.zeros((10, 32, 32, 3), np.uint8), np.arange(10)[:, None]
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: ((images, labels), (images, labels)))
    (_, y_train), _ = cifar10.load_data()
    assert y_train.shape == (10,)


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("no route")

    monkeypatch.setattr(keras.datasets.cifar10, "load_data", refuse)
    with pytest.raises(InputError, match=r"CIFAR-10 cannot be downloaded \(no route\): expected a network connection; try later"):
        cifar10.load_data()


def test_pictures_of_another_size_and_no_file_at_all(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"c\.npz: one image has shape \(16, 16, 3\): expected \(32, 32, 3\)"):
        cifar10.load_data(archive(tmp_path / "c.npz", side=16))
    with pytest.raises(InputError, match=r"none\.npz does not exist"):
        cifar10.load_data(tmp_path / "none.npz")


def test_an_archive_without_a_test_set_is_not_measured_on_what_it_trains_on(tmp_path: Path) -> None:
    (_, y_train), (_, y_test) = cifar10.load_data(archive(tmp_path / "c.npz", is_test=np.zeros(20, bool)))
    assert (len(y_train), len(y_test)) == (16, 4)


def test_the_command_writes_what_every_other_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = archive(tmp_path / "c.npz")
    assert main(["data", "cifar10", "--out", str(tmp_path / "data"), "--from", str(source)]) == 0
    assert f"written: {tmp_path / 'data' / 'cifar10.npz'}, 15 training and 5 test images" in capsys.readouterr().out
    with np.load(tmp_path / "data" / "cifar10.npz") as saved:
        assert saved["x_train"].shape == (15, 32, 32, 3)
