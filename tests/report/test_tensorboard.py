"""Event files: what a scan writes can be read back, round by round, as TensorBoard reads it."""

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from networks import corner_images, corner_network
from PIL import Image
from quick import QUICK, made_up

from nc_tf.errors import InputError
from nc_tf.inversion.cost_schedule import CostSchedule, init
from nc_tf.inversion.restart import Restart
from nc_tf.inversion.step import RoundLog, Run
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.report.tensorboard import TensorBoardLog
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.scan import scan

pytest.importorskip("tensorboard", reason="needs tensorboard: it is in the extra nc_tf[tensorboard]")
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator as PluginEventAccumulator

SCALARS, IMAGES = {"ASR", "norm", "cost", "loss"}, {"mask", "pattern", "trigger"}


def events(run: Path) -> EventAccumulator:
    accumulator = EventAccumulator(str(run), size_guidance={"tensors": 0})
    accumulator.Reload()
    return accumulator


def scalars(run: Path, tag: str) -> list[tuple[int, float]]:
    return [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in events(run).Tensors(tag)]


def images(run: Path, tag: str) -> list[tuple[int, np.ndarray]]:
    found = []
    for event in events(run).Tensors(tag):
        _, _, *pngs = tf.make_ndarray(event.tensor_proto)
        found.append((event.step, np.asarray(Image.open(io.BytesIO(pngs[0])))))
    return found


def a_run(masks: np.ndarray, patterns: np.ndarray, space: TriggerSpace) -> Run:
    """The state of restarts with these masks (A, h, w) and patterns (A, H, W, C)."""
    encoded = [space.encode(*pair) for pair in zip(masks, patterns, strict=True)]
    z_mask, z_pattern = (tf.constant(np.stack(part)) for part in zip(*encoded, strict=True))
    z = (z_mask, z_pattern)
    return Run(z, z, z, tf.zeros([len(masks)], tf.int32), init(len(masks), CostSchedule()), z)


def a_log(count: int, **columns: Any) -> RoundLog:
    """The log of one round of several restarts; columns that are not given are .5."""
    return RoundLog(**{name: np.asarray(columns.get(name, [0.5] * count), np.float32) for name in RoundLog._fields})


def an_arm(label: int, start: int = 0) -> Restart:
    return Restart(label, start, np.zeros((4, 4)), np.zeros((4, 4, 3)))


@pytest.mark.slow
def test_a_scan_leaves_a_run_for_every_search_and_one_for_the_labels(tmp_path: Path) -> None:
    rounds: dict[tuple[int, int], list[tuple[int, float, float]]] = {}

    class Recorder(ScanCallback):
        def on_round(self, restarts: Any, numbers: Any, run: Run, log: RoundLog) -> None:
            for restart, number, success, norm in zip(restarts, numbers, log.success, log.reg, strict=True):
                rounds.setdefault((restart.label, restart.start), []).append((number, float(success), float(norm)))

    watched: list[Any] = [Recorder(), TensorBoardLog(tmp_path, every=4)]
    x, y = corner_images(120)
    result = scan(corner_network(3), x, y, settings=QUICK, starts=2, lanes=3, targets=[1, 3], precision="float32", callbacks=watched)
    assert {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("events*")} == {
        "labels",
        *(f"label_{label}/start_{start}" for label, start in rounds),
    }
    for (label, start), told in rounds.items():
        run = tmp_path / f"label_{label}" / f"start_{start}"
        assert set(events(run).Tags()["tensors"]) == SCALARS | IMAGES
        assert scalars(run, "ASR") == [(number, pytest.approx(success)) for number, success, _ in told]
        assert scalars(run, "norm") == [(number, pytest.approx(norm)) for number, _, norm in told]
        assert [step for step, _ in images(run, "mask")] == [number for number, *_ in told if number % 4 == 0]
    came_to = {tag: dict(scalars(tmp_path / "labels", tag)) for tag in ("norm by label", "held-out ASR by label")}
    masks = dict(images(tmp_path / "labels", "mask by label"))
    assert [entry.label for entry in result.labels] == sorted(masks)
    for entry in result.labels:
        assert came_to["norm by label"][entry.label] == pytest.approx(entry.trigger.l1_norm)
        assert came_to["held-out ASR by label"][entry.label] == pytest.approx(entry.attack_success_rate)
        np.testing.assert_array_equal(masks[entry.label], np.rint(entry.trigger.mask * 255))


def test_tensorboard_knows_curves_and_pictures_as_such(tmp_path: Path) -> None:
    log = TensorBoardLog(tmp_path)
    log.on_label(made_up(3, 5.0), [])
    accumulator = PluginEventAccumulator(str(tmp_path / "labels"))
    accumulator.Reload()
    assert set(accumulator.PluginTagToContent("scalars")) == {"held-out ASR by label", "norm by label"}
    assert set(accumulator.PluginTagToContent("images")) == {f"{tag} by label" for tag in IMAGES}


@pytest.mark.parametrize("upsample_size", [1, 2, 3])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_triggers_are_shown_as_they_form(tmp_path: Path, channels: int, upsample_size: int) -> None:
    space = TriggerSpace((4, 4, channels), upsample_size)
    rng = np.random.default_rng(1)
    masks, patterns = rng.random((2, *space.mask_shape)), rng.random((2, 4, 4, channels)) * 255
    log = TensorBoardLog(tmp_path, every=5, upsample_size=upsample_size)
    log.on_round([an_arm(0), an_arm(1)], [5, 6], a_run(masks, patterns, space), a_log(2))
    log.on_label(made_up(0, 1.0), [])
    log.on_label(made_up(1, 1.0), [])
    fine = np.repeat(np.repeat(masks[0], upsample_size, 0), upsample_size, 1)[:4, :4]
    shown = patterns[0] if channels == 3 else patterns[0].mean(axis=-1)
    trigger = fine[..., None] * patterns[0] if channels == 3 else fine * shown
    for tag, expected in (("mask", fine * 255), ("pattern", shown), ("trigger", trigger)):
        ((step, pixels),) = images(tmp_path / "label_0" / "start_0", tag)
        assert step == 5
        np.testing.assert_allclose(pixels, expected, atol=0.51)
    # Restart 1 has ended round 6, and pictures come every five.
    assert set(events(tmp_path / "label_1" / "start_0").Tags()["tensors"]) == SCALARS


def test_curves_are_those_of_the_log_also_where_they_are_no_numbers(tmp_path: Path) -> None:
    space = TriggerSpace((4, 4, 3))
    run = a_run(np.full((1, 4, 4), 0.5), np.full((1, 4, 4, 3), 9.0), space)
    run = run._replace(z=(run.z[0] * np.nan, run.z[1]))
    log = TensorBoardLog(tmp_path)
    log.on_round([an_arm(7, 2)], [0], run, a_log(1, success=[0.25], reg=[np.nan], cost=[1e-3], loss=[np.inf]))
    log.on_label(made_up(7, 1.0), [])
    folder = tmp_path / "label_7" / "start_2"
    assert scalars(folder, "ASR") == [(0, 0.25)]
    assert np.isnan(scalars(folder, "norm")[0][1])
    assert scalars(folder, "cost") == [(0, pytest.approx(1e-3))]
    assert scalars(folder, "loss") == [(0, np.inf)]
    assert images(folder, "mask")[0][1].max() == 0


def test_only_the_arms_in_flight_keep_a_file_open(tmp_path: Path) -> None:
    space, log = TriggerSpace((4, 4, 3)), TensorBoardLog(tmp_path)
    for number, restarts in enumerate(([an_arm(0), an_arm(1)], [an_arm(1)], [an_arm(0), an_arm(1)])):
        masks, patterns = np.full((len(restarts), 4, 4), 0.5), np.full((len(restarts), 4, 4, 3), 9.0)
        log.on_round(restarts, [number] * len(restarts), a_run(masks, patterns, space), a_log(len(restarts)))
        assert set(log._writers) == {(restart.label, restart.start) for restart in restarts}
    for label in (0, 1):
        log.on_label(made_up(label, 1.0), [])
    assert not log._writers
    assert [step for step, _ in scalars(tmp_path / "label_0" / "start_0", "ASR")] == [0, 2]
    assert [step for step, _ in scalars(tmp_path / "label_1" / "start_0", "ASR")] == [0, 1, 2]


def test_without_tensorboard_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"tensorboard is not installed: expected .*; pip install 'nc_tf\[tensorboard\]'"):
        TensorBoardLog(tmp_path)


@pytest.mark.parametrize("numbers", [{"every": 0}, {"upsample_size": 0}])
def test_numbers_below_1_are_refused(tmp_path: Path, numbers: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expected 1 or more of each"):
        TensorBoardLog(tmp_path, **numbers)


def test_a_place_that_cannot_be_written_is_refused_before_the_scan(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/log cannot be made \(.+\): expected a place for event files; choose another"):
        TensorBoardLog(tmp_path / "file" / "log")
