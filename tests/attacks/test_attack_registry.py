"""An attack in one file and one line of the registry: `nc-tf inject` plants it, and its file is read again."""

from pathlib import Path

import numpy as np
import pytest
from networks import IMAGE_SHAPE
from planted import TEST, TRAIN

from nc_tf.attacks.backdoor_file import load_backdoor
from nc_tf.attacks.poison_types import POISON_TYPES, Attack
from nc_tf.cli.main import main

Captured = pytest.CaptureFixture[str]

NEWCOMER = '''
"""Mirror: an image with its upper rows upside down."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from nc_tf.results import Backdoor, OneTarget


@dataclass(frozen=True, eq=False)
class Mirror(OneTarget):
    """The first `rows` rows in reverse order."""

    rows: int
    size: np.ndarray

    @property
    def image_shape(self):
        return tuple(int(side) for side in self.size)

    def __call__(self, images):
        joined = tf.concat if tf.is_tensor(images) else np.concatenate
        return joined([images[:, : self.rows][:, ::-1], images[:, self.rows :]], 1)


def mirror(image_shape, label, seed):
    return [Mirror(label, 4, np.array(image_shape))]
'''


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Register a toy attack; returns its name."""
    (tmp_path / "mirror_attack.py").write_text(NEWCOMER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(POISON_TYPES, "mirror", Attack("mirror_attack:mirror", rate=0.25))
    return "mirror"


def test_inject_lists_it_with_its_rate(registered: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["inject", "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert f",{registered},benign}}" in printed
    assert f"{registered} 0.25)" in printed


@pytest.mark.slow
def test_inject_plants_it_and_its_file_is_read_again(registered: str, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x_train=TRAIN[0], y_train=TRAIN[1], x_test=TEST[0], y_test=TEST[1])
    training = ["--architecture", "signs", "--epochs", "1", "--target", "2"]
    assert main(["inject", str(tmp_path / "data.npz"), "--out", str(tmp_path / "m.keras"), "--poison-type", registered, *training]) == 0
    again, images = load_backdoor(tmp_path / "m_trigger.npz"), TEST[0][:5].astype(np.float32)
    assert again.image_shape == IMAGE_SHAPE
    assert list(again.wanted(np.arange(6))) == [2] * 6
    np.testing.assert_array_equal(again(images)[:, :4], images[:, 3::-1])
    np.testing.assert_array_equal(again(images)[:, 4:], images[:, 4:])
