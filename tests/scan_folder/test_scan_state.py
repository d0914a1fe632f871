"""Checkpoints on disk: bit for bit as they were saved, and ignored where they are broken."""

import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from networks import corner_images, corner_network
from quick import made_up

from nc_tf.errors import InputError
from nc_tf.inversion.batches import ResidentImages
from nc_tf.inversion.loop import advance
from nc_tf.inversion.restart import Checkpoint, Segment
from nc_tf.inversion.step import Inversion, SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Trigger
from nc_tf.scan_folder.state_files import (
    arm_file,
    forget_progress,
    load_progress,
    load_shortlist,
    save_progress,
    save_shortlist,
    shortlist_file,
)
from nc_tf.scanning.halving import random_restart
from nc_tf.scanning.prescreening import PrescreeningSettings, Shortlist
from nc_tf.scanning.state import ScanState, fitting

IMAGES, _ = corner_images(60)
SETTINGS = SearchSettings(batch_size=8, batches_per_round=2, max_rounds=6)
SPACE = TriggerSpace((8, 8, 3), 2)


@pytest.fixture(scope="module")
def inversion() -> Inversion:
    return Inversion(FrozenNetwork(corner_network(3), Preprocessing(), "float32", IMAGES), SPACE, SETTINGS)


def run(inversion: Inversion, *segments: Segment) -> list[Checkpoint]:
    return list(advance(inversion, segments, ResidentImages(IMAGES, SETTINGS, 0)))


@pytest.fixture(scope="module")
def reached(inversion: Inversion) -> list[Checkpoint]:
    """Return three restarts after two rounds; the last pretends to be of label 33, whose files are not those of label 3."""
    *two, last = run(inversion, *(Segment(random_restart(SPACE, label, start, 0), 2) for label, start in ((3, 0), (3, 1), (5, 0))))
    return [*two, replace(last, label=33)]


def same(one: Checkpoint, other: Checkpoint) -> None:
    for name in ("label", "start", "rounds", "stopped", "finite"):
        assert (getattr(one, name), type(getattr(one, name))) == (getattr(other, name), type(getattr(other, name)))
    tf.nest.assert_same_structure(one.run, other.run)
    parts = [*tf.nest.flatten(one.run), one.history], [*tf.nest.flatten(other.run), other.history]
    for mine, theirs in zip(*parts, strict=True):
        assert (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
        assert mine.tobytes() == theirs.tobytes()


def test_what_is_read_is_bit_for_bit_what_was_saved(tmp_path: Path, reached: list[Checkpoint]) -> None:
    for number, progress in enumerate(reached):
        save_progress(tmp_path, progress, float(number))
    read, seconds = load_progress(tmp_path)
    assert seconds == 2.0
    for one, other in zip(sorted(read, key=lambda progress: progress.label), reached, strict=True):
        same(one, other)
    assert np.isinf(read[0].run.cost.reg_best).all(), "infinity must survive: it says that no trigger has worked yet"
    assert sorted(os.listdir(tmp_path)) == ["arm_33_0.npz", "arm_3_0.npz", "arm_3_1.npz"]


def test_an_arm_that_has_ended_is_known_to_have(tmp_path: Path, reached: list[Checkpoint]) -> None:
    first = reached[0]
    ended = Checkpoint(0, 7, first.run, first.history, stopped=True, finite=False)
    save_progress(tmp_path, ended, 1.0)
    ((read,), _) = load_progress(tmp_path)
    same(read, ended)
    assert read.ended(SETTINGS)


def test_an_arm_goes_on_from_the_disk_as_if_it_had_never_stopped(tmp_path: Path, inversion: Inversion, reached: list[Checkpoint]) -> None:
    restart = random_restart(SPACE, 3, 0, 0)
    (whole,) = run(inversion, Segment(restart, 5))
    save_progress(tmp_path, reached[0], 0.0)
    (half,), _ = load_progress(tmp_path)
    (continued,) = run(inversion, Segment(restart, 5, half))
    assert continued.rounds == whole.rounds == 5
    np.testing.assert_allclose(continued.history, whole.history, rtol=1e-5)
    for one, other in zip(tf.nest.flatten(continued.run), tf.nest.flatten(whole.run), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_a_later_leg_takes_the_place_of_the_earlier(tmp_path: Path, inversion: Inversion, reached: list[Checkpoint]) -> None:
    save_progress(tmp_path, reached[0], 1.0)
    (later,) = run(inversion, Segment(random_restart(SPACE, 3, 0, 0), 4, reached[0]))
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
        rewritten(history=np.zeros((2, 3))),
        rewritten(seconds=np.inf),
        rewritten(seconds=np.nan),
        rewritten(seconds=np.zeros(2)),
        rewritten(start=-1),
        rewritten(start=1),
        rewritten(label=2**40),
        rewritten(stopped=np.zeros(2, bool)),
    ],
    ids=[
        "half",
        "empty",
        "zeros",
        "text",
        "part missing",
        "no seconds",
        "label",
        "pickle",
        "three columns",
        "seconds inf",
        "seconds nan",
        "two seconds",
        "negative start",
        "the start of another file",
        "huge label",
        "two flags",
    ],
)
def test_a_broken_file_is_as_good_as_none(tmp_path: Path, reached: list[Checkpoint], breaker: Callable[[Path], None]) -> None:
    for progress in reached[:2]:
        save_progress(tmp_path, progress, 3.0)
    breaker(arm_file(tmp_path, 3, 0))
    read, seconds = load_progress(tmp_path)
    assert [(progress.label, progress.start) for progress in read] == [(3, 1)]
    assert seconds == 3.0


def test_a_link_or_a_pipe_is_as_good_as_none(tmp_path: Path, reached: list[Checkpoint]) -> None:
    save_progress(tmp_path / "elsewhere", reached[0], 3.0)
    arm_file(tmp_path, 3, 0).symlink_to(arm_file(tmp_path / "elsewhere", 3, 0))
    os.mkfifo(arm_file(tmp_path, 5, 0))
    assert load_progress(tmp_path) == ([], 0.0)


NAN = np.float32(np.nan)


def changed(progress: Checkpoint, **change: Any) -> Checkpoint:
    """The same with fields of it, of its run or of its schedule's state changed; `column` is what to put into one of the history."""
    history = progress.history.copy()
    for number, value in change.pop("column", {}).items():
        history[-1, number] = value
    run, cost = progress.run, progress.run.cost
    cost = cost._replace(**{name: value for name, value in change.items() if name in cost._fields})
    run = run._replace(**{name: value for name, value in change.items() if name in run._fields and name not in cost._fields})
    rest = {name: value for name, value in change.items() if name not in (*run._fields, *cost._fields)}
    return replace(progress, **{"history": history} | rest, run=run._replace(cost=cost))


# Changes of a checkpoint, after which a search with `SETTINGS` and two restarts cannot have reached it.
IMPOSSIBLE: dict[str, Callable[[Checkpoint], Checkpoint]] = {
    "another mask": lambda p: changed(p, z=(np.zeros((1, 7, 7, 1), np.float32), p.run.z[1])),
    "two restarts": lambda p: changed(p, z=tuple(np.repeat(part, 2, 0) for part in p.run.z)),
    "float64": lambda p: changed(p, best=tuple(part.astype(float) for part in p.run.best)),
    "a NaN": lambda p: changed(p, z=(p.run.z[0] * NAN, p.run.z[1])),
    "NaN moments": lambda p: changed(p, first_moment=tuple(part * NAN for part in p.run.first_moment)),
    "a NaN for the best": lambda p: changed(p, best=(p.run.best[0] * NAN, p.run.best[1])),
    "an end in NaN that was none": lambda p: replace(p, finite=False),
    "an end that was none": lambda p: replace(p, stopped=True),
    "a third start": lambda p: replace(p, start=2),
    "too many rounds": lambda p: replace(p, history=np.repeat(p.history, 4, axis=0)),
    "no round": lambda p: replace(p, history=p.history[:0]),
    "rounds that were not run": lambda p: replace(p, history=np.concatenate([p.history, p.history + np.eye(1, 7) * 2])),
    "other updates": lambda p: changed(p, updates=p.run.updates + 1),
    "a step twice": lambda p: changed(p, column={0: 0.0}),
    "a rate of 2": lambda p: changed(p, column={4: 2.0}),
    "a rate of NaN": lambda p: changed(p, column={4: np.nan}),
    "an infinite loss": lambda p: changed(p, column={1: np.inf}),
    "another best norm": lambda p: changed(p, reg_best=np.array([0.5], np.float32)),
    "a negative best norm": lambda p: changed(p, reg_best=np.array([-1.0], np.float32), column={5: -1.0}),
    "a negative cost": lambda p: changed(p, column={6: -1.0}),
    "an infinite cost": lambda p: changed(p, cost=np.array([np.inf], np.float32)),
}


@pytest.mark.parametrize("name", list(IMPOSSIBLE))
def test_an_arm_that_this_scan_cannot_have_come_to_is_as_good_as_none(reached: list[Checkpoint], name: str) -> None:
    good, other = reached[:2]
    state = ScanState(under_way=(IMPOSSIBLE[name](good), other), ranking=(good,))
    found = fitting(state, SPACE, SETTINGS, 2, np.arange(6), None)
    assert [(restart.label, restart.start) for restart in found.under_way] == [(3, 1)]
    assert found.ranking == (), "this scan ranks nothing"


def test_what_searches_come_to_fits(inversion: Inversion, reached: list[Checkpoint]) -> None:
    restarts = [*reached, *run(inversion, *(Segment(random_restart(SPACE, label, 0, 0), 6) for label in (1, 2)))]
    nan = changed(reached[0], z=(reached[0].run.z[0] * NAN, reached[0].run.z[1]), column={1: np.nan, 3: np.nan})
    restarts.append(replace(nan, finite=False))
    assert fitting(ScanState(under_way=tuple(restarts)), SPACE, SETTINGS, 2, np.arange(6), None).under_way == tuple(restarts)


RANKING = PrescreeningSettings(SETTINGS, 2, (), 8, first=2, every=2, lowest=2, sample=1, settled=0.8)


def test_a_ranking_has_settings_of_its_own(reached: list[Checkpoint]) -> None:
    shortlist = Shortlist((3, 1), (1,), (0, 2, 4, 5), 12)
    state = ScanState(ranking=(reached[0], replace(reached[1], start=2)), shortlist=shortlist)
    found = fitting(state, SPACE, replace(SETTINGS, max_rounds=1), 1, np.arange(6), RANKING)
    assert (found.ranking, found.shortlist) == ((reached[0],), shortlist)
    for other in (Shortlist((3,), (1,), (0, 2, 4, 5), 12), Shortlist((3, 1), (), (0, 2, 4, 5), 12)):
        assert fitting(ScanState(shortlist=other), SPACE, SETTINGS, 2, np.arange(6), RANKING).shortlist is None


@pytest.mark.parametrize(
    "change",
    [{"lowest": [3, 3]}, {"sample": ["1"]}, {"ranked_out": [3]}, {"lowest": [1.5]}, {"rounds": -1}, {"seconds": 1e999}, {"sample": None}],
    ids=str,
)
def test_a_shortlist_that_no_ranking_came_to_is_as_good_as_none(tmp_path: Path, change: dict[str, Any]) -> None:
    save_shortlist(tmp_path, Shortlist((3, 1), (1,), (0, 2), 12), 4.0)
    assert load_shortlist(tmp_path) == (Shortlist((3, 1), (1,), (0, 2), 12), 4.0)
    shortlist_file(tmp_path).write_text(json.dumps(json.loads(shortlist_file(tmp_path).read_text()) | change))
    assert load_shortlist(tmp_path) == (None, 0.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trigger": Trigger(3, np.zeros((5, 5)), np.zeros((5, 5, 3)))}, "for images (5, 5, 3): expected (8, 8, 3)"),
        ({"starts": 4}, "the best of 4 restarts: expected 1"),
        ({"attack_success_rate": float("nan")}, "one with ASR nan, and 0.01 without a trigger: expected shares for both"),
    ],
)
def test_a_finished_label_that_is_none_of_this_scan_is_refused(change: dict[str, Any], message: str) -> None:
    good = made_up(3, 2.0)
    assert fitting(ScanState({3: good}), SPACE, SETTINGS, 1, np.arange(6), None).finished == {3: good}
    whole = f"the saved trigger of label 3 is {message}; delete triggers/label_3.npz and scan again"
    with pytest.raises(InputError, match=re.escape(whole)):
        fitting(ScanState({3: replace(good, **change)}), SPACE, SETTINGS, 1, np.arange(6), None)


def test_a_rate_that_could_not_be_measured_fits(reached: list[Checkpoint]) -> None:
    unknown = replace(made_up(3, 2.0), attack_success_rate=float("nan"), zero_trigger_rate=float("nan"))
    for classes in (np.array([3, 3]), np.array([], int)):
        assert fitting(ScanState({3: unknown}), SPACE, SETTINGS, 1, classes, None).finished == {3: unknown}


def test_where_nothing_lies_nothing_is_known(tmp_path: Path) -> None:
    assert load_progress(tmp_path / "none") == ([], 0.0)
    forget_progress(tmp_path / "none")


def test_a_label_is_forgotten_and_no_other(tmp_path: Path, reached: list[Checkpoint]) -> None:
    for progress in reached:
        save_progress(tmp_path, progress, 1.0)
    (tmp_path / "settings.json").write_text("{}")
    forget_progress(tmp_path, 3)
    assert sorted(os.listdir(tmp_path)) == ["arm_33_0.npz", "settings.json"]
    forget_progress(tmp_path)
    assert os.listdir(tmp_path) == ["settings.json"]


def test_a_state_that_was_being_written_when_the_process_was_killed_is_not_read(tmp_path: Path, reached: list[Checkpoint]) -> None:
    save_progress(tmp_path, reached[0], 1.0)
    arm_file(tmp_path, 3, 0).rename(tmp_path / ".nc_tf-0123456789abcdef.part.npz")
    assert load_progress(tmp_path) == ([], 0.0)
