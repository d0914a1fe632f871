"""How far arms have come, on disk: bit for bit what it was, and whatever is broken is as good as none."""

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from networks import corner_images, corner_network

from nc_tf.inversion import Inversion, SearchSettings
from nc_tf.models.network import FrozenNetwork
from nc_tf.preprocessing import Preprocessing
from nc_tf.racing import random_arm
from nc_tf.scan_state import arm_file, forget_progress, load_progress, save_progress
from nc_tf.search import Leg, Progress, ResidentImages, advance
from nc_tf.triggers import TriggerSpace

IMAGES, _ = corner_images(60)
SETTINGS = SearchSettings(batch_size=8, batches_per_round=2, max_rounds=6)
SPACE = TriggerSpace((8, 8, 3), 2)


@pytest.fixture(scope="module")
def inversion() -> Inversion:
    return Inversion(FrozenNetwork(corner_network(3), Preprocessing(), "float32", IMAGES), SPACE, SETTINGS)


def run(inversion: Inversion, *legs: Leg) -> list[Progress]:
    return list(advance(inversion, legs, ResidentImages(IMAGES, SETTINGS, 0)))


@pytest.fixture(scope="module")
def reached(inversion: Inversion) -> list[Progress]:
    """Three arms after two rounds; the last passes for one of label 33, whose files must not be taken for those of label 3."""
    *two, last = run(inversion, *(Leg(random_arm(SPACE, label, start, 0), 2) for label, start in ((3, 0), (3, 1), (5, 0))))
    return [*two, replace(last, label=33)]


def same(one: Progress, other: Progress) -> None:
    for name in ("label", "start", "rounds", "stopped", "finite"):
        assert (getattr(one, name), type(getattr(one, name))) == (getattr(other, name), type(getattr(other, name)))
    tf.nest.assert_same_structure(one.run, other.run)
    parts = [*tf.nest.flatten(one.run), one.history], [*tf.nest.flatten(other.run), other.history]
    for mine, theirs in zip(*parts, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        assert mine.tobytes() == theirs.tobytes()


def test_what_is_read_is_bit_for_bit_what_was_saved(tmp_path: Path, reached: list[Progress]) -> None:
    for number, progress in enumerate(reached):
        save_progress(tmp_path, progress, float(number))
    read, seconds = load_progress(tmp_path)
    assert seconds == 2.0
    for one, other in zip(sorted(read, key=lambda progress: progress.label), reached, strict=True):
        same(one, other)
    assert np.isinf(read[0].run.cost.reg_best).all(), "infinity must survive: it says that no trigger has worked yet"
    assert sorted(os.listdir(tmp_path)) == ["arm_33_0.npz", "arm_3_0.npz", "arm_3_1.npz"]


def test_an_arm_that_has_ended_is_known_to_have(tmp_path: Path, reached: list[Progress]) -> None:
    first = reached[0]
    ended = Progress(0, 7, first.run, first.history, stopped=True, finite=False)
    save_progress(tmp_path, ended, 1.0)
    ((read,), _) = load_progress(tmp_path)
    same(read, ended)
    assert read.ended(SETTINGS)


def test_an_arm_goes_on_from_the_disk_as_if_it_had_never_stopped(tmp_path: Path, inversion: Inversion, reached: list[Progress]) -> None:
    arm = random_arm(SPACE, 3, 0, 0)
    (whole,) = run(inversion, Leg(arm, 5))
    save_progress(tmp_path, reached[0], 0.0)
    (half,), _ = load_progress(tmp_path)
    (continued,) = run(inversion, Leg(arm, 5, half))
    assert continued.rounds == whole.rounds == 5
    np.testing.assert_allclose(continued.history, whole.history, rtol=1e-5)
    for one, other in zip(tf.nest.flatten(continued.run), tf.nest.flatten(whole.run), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_later_leg_takes_the_place_of_the_earlier(tmp_path: Path, inversion: Inversion, reached: list[Progress]) -> None:
    save_progress(tmp_path, reached[0], 1.0)
    (later,) = run(inversion, Leg(random_arm(SPACE, 3, 0, 0), 4, reached[0]))
    save_progress(tmp_path, later, 2.0)
    ((read,), seconds) = load_progress(tmp_path)
    assert (read.rounds, seconds) == (4, 2.0)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def rewritten(**change: Any) -> Callable[[Path], None]:
    """A breaker that saves the file's content again with something changed; None leaves it out."""

    def breaker(path: Path) -> None:
        with np.load(path) as saved:
            content = {key: saved[key] for key in saved.files} | change
        np.savez(path, **{key: value for key, value in content.items() if value is not None})

    return breaker


@pytest.mark.parametrize(
    "breaker",
    [
        cut,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"\x00" * 4096),  # what a power cut may leave
        lambda path: path.write_text("{}"),
        rewritten(state_0=None),
        rewritten(seconds=None),
        rewritten(label="three"),
        rewritten(history=np.array([{}], dtype=object)),
    ],
    ids=["half", "empty", "zeros", "text", "part missing", "no seconds", "label", "pickle"],
)
def test_a_broken_file_is_as_good_as_none(tmp_path: Path, reached: list[Progress], breaker: Callable[[Path], None]) -> None:
    for progress in reached[:2]:
        save_progress(tmp_path, progress, 3.0)
    breaker(arm_file(tmp_path, 3, 0))
    read, seconds = load_progress(tmp_path)
    assert [(progress.label, progress.start) for progress in read] == [(3, 1)]
    assert seconds == 3.0


def test_where_nothing_lies_nothing_is_known(tmp_path: Path) -> None:
    assert load_progress(tmp_path / "none") == ([], 0.0)
    forget_progress(tmp_path / "none")


def test_a_label_is_forgotten_and_no_other(tmp_path: Path, reached: list[Progress]) -> None:
    for progress in reached:
        save_progress(tmp_path, progress, 1.0)
    (tmp_path / "settings.json").write_text("{}")
    forget_progress(tmp_path, 3)
    assert sorted(os.listdir(tmp_path)) == ["arm_33_0.npz", "settings.json"]
    forget_progress(tmp_path)
    assert os.listdir(tmp_path) == ["settings.json"]


def test_a_state_that_was_being_written_when_the_process_was_killed_is_not_read(tmp_path: Path, reached: list[Progress]) -> None:
    save_progress(tmp_path, reached[0], 1.0)
    arm_file(tmp_path, 3, 0).rename(tmp_path / ".arm_3_0.4711.part.npz")
    assert load_progress(tmp_path) == ([], 0.0)
