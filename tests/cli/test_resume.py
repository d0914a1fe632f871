"""A scan that is killed, interrupted, or finds no room: what is on disk is whole, and the same command goes on from there."""

import errno
import importlib
import json
import os
import resource
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from networks import corner_images
from quick import eight_classes
from warm_server import WarmServer

from nc_tf.cli import guard
from nc_tf.cli.guard import guarded, interruptible
from nc_tf.cli.main import main
from nc_tf.errors import InputError
from nc_tf.inversion.restart import Checkpoint
from nc_tf.results import Trigger
from nc_tf.scan_folder import folder as scan_folder
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.state_files import load_progress, save_progress
from nc_tf.scanning import presets
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.state import ScanState

ROOT = Path(__file__).resolve().parents[2]
LABEL = 3
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `model.keras`, which hides a backdoor, and `data.npz`."""
    folder = tmp_path_factory.mktemp("files")
    eight_classes(LABEL).save(folder / "model.keras")
    images, labels = corner_images(480, num_classes=8)
    np.savez(folder / "data.npz", x=images, y=labels)
    return folder


def command(files: Path, out: Path, *more: str) -> list[str]:
    return ["scan", str(files / "model.keras"), str(files / "data.npz"), "--out", str(out), "--precision", "float32", *more]


def verdict(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "verdict.json").read_text()))


def triggers(out: Path) -> dict[int, Trigger]:
    return {label: result.trigger for label, result in ScanFolder(out).label_results().items()}


def legs_run(monkeypatch: pytest.MonkeyPatch) -> list[Checkpoint]:
    """A list that every segment which is saved from now on comes into."""
    segments: list[Checkpoint] = []
    saved = ScanFolder.on_leg

    def on_leg(self: ScanFolder, progress: Checkpoint) -> None:
        segments.append(progress)
        saved(self, progress)

    monkeypatch.setattr(ScanFolder, "on_leg", on_leg)
    return segments


# Killed


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark that kills a scan of the demo's network twenty times."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.scan.kills")


@pytest.mark.slow
def test_a_scan_killed_at_random_moments_comes_to_the_same_verdict(
    files: Path, tmp_path: Path, warm_server: WarmServer, kills: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(5)
    code, written = kills.leave_alone(lambda: warm_server.command(command(files, tmp_path / "whole")), tmp_path / "whole")
    assert code == 1
    points = [int(point) for point in rng.choice(np.arange(1, written * 4 // 5), 5, replace=False)]
    out = tmp_path / "killed"
    outcome = kills.kill_at(lambda: warm_server.command(command(files, out)), out, points, rng, jitter=0.05)
    assert len(outcome["kills"]) >= 4, f"killed {outcome['kills']}: nearly every kill must hit, or this proves nothing"
    assert len({part["files_written"] for part in outcome["kills"]}) > 2
    assert outcome["exit_code"] == 1
    assert (outcome["broken_files"], outcome["searched_twice"], outcome["leftovers"]) == ([], [], [])
    same = kills.compare(tmp_path / "whole", out)
    assert same["verdicts"] == ["backdoor suspected"] * 2
    assert same["flagged"] == [[LABEL]] * 2
    assert same["labels_with_other_rounds"] == []
    assert same["largest_difference_of_norms"] < 1e-2


def test_the_check_of_a_folder_finds_what_is_broken(tmp_path: Path, kills: ModuleType) -> None:
    """Guards the test above."""
    (tmp_path / "state").mkdir()
    for name in ("a.npz", "state/b.json", "c.png", ".d.1.part.npz"):
        (tmp_path / name).write_bytes(b"PK")
    assert [line.split(":")[0] for line in kills.broken_files(tmp_path)] == ["a.npz", "c.png", "state/b.json"]
    assert kills.leftovers(tmp_path) == [".d.1.part.npz"]
    watch = kills.Watch(tmp_path)
    (tmp_path / "triggers").mkdir()
    for moment in (1, 2):
        (tmp_path / "triggers" / "label_3.npz").write_bytes(b"x")
        os.utime(tmp_path / "triggers" / "label_3.npz", (moment, moment))
        watch.look()
    assert watch.searched_twice() == ["label_3.npz"]


class Died(BaseException):
    """The end of a process, as far as a scan in this one can tell."""


def die_in_a_scan(monkeypatch: pytest.MonkeyPatch, argv: Sequence[str], name: str, number: int, *, after: bool = True) -> None:
    """Run a scan that ends when `ScanFolder.<name>` is called for the so-many-th time, before or after its work."""
    whole, count = getattr(ScanFolder, name), 0

    def wrapped(self: ScanFolder, *arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == number and not after:
            raise Died
        whole(self, *arguments)
        if count == number:
            raise Died

    with monkeypatch.context() as patched:
        patched.setattr(ScanFolder, name, wrapped)
        with pytest.raises(Died):
            main(argv)


SHORT = ("--labels", "3,4", "--rounds", "12")


@pytest.fixture
def four_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that can be reckoned with: a label takes four segments of 5 rounds, two of 4 and one of 3."""
    robust = presets.PRESETS["robust"]
    monkeypatch.setitem(presets.PRESETS, "robust", replace(robust, starts=4, cuts=(Cut(5, 2), Cut(9, 1))))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number", "after"), [("on_leg", 3, True), ("on_leg", 10, True), ("on_label", 2, False)])
@pytest.mark.usefixtures("four_starts")
def test_nothing_that_was_saved_is_run_again(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, number: int, after: bool
) -> None:
    """The last case: the last label has been searched to its end, and only its trigger was not saved."""
    die_in_a_scan(monkeypatch, command(files, tmp_path, *SHORT), name, number, after=after)
    known = {(restart.label, restart.start): restart.rounds for restart in load_progress(tmp_path / "state")[0]}
    assert known
    segments = legs_run(monkeypatch)
    assert main(command(files, tmp_path, *SHORT)) == 3
    assert all(segment.rounds > known.get((segment.label, segment.start), 0) for segment in segments)
    assert (not segments) == (name == "on_label")
    rows = verdict(tmp_path)["labels"]
    assert [(row["label"], row["rounds"]) for row in rows] == [(label, 5 + 5 + 9 + 12) for label in (3, 4)]
    assert not list(tmp_path.glob("state/arm_*"))


@pytest.mark.slow
def test_what_a_killed_process_left_is_cleared_when_the_scan_goes_on(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    die_in_a_scan(monkeypatch, command(files, tmp_path, *SHORT), "on_label", 1)
    # As if killed between the saving of that label and the forgetting of its restarts, and while writing each kind of file.
    (done,) = ScanFolder(tmp_path).label_results()
    (restart, *_), _ = load_progress(tmp_path / "state")
    save_progress(tmp_path / "state", replace(restart, label=done), 0.0)
    for folder, suffix in (("triggers", "npz"), (".", "json"), ("state", "npz"), (".", "png")):
        (tmp_path / folder / f".nc_tf-0123456789abcdef.part.{suffix}").write_bytes(b"half")
    (tmp_path / ".holiday.2024.part2.mp4").write_bytes(b"precious")
    assert main(command(files, tmp_path, *SHORT)) == 3
    assert [path.name for path in tmp_path.rglob(".*")] == [".holiday.2024.part2.mp4"]
    assert not list(tmp_path.glob("state/arm_*"))


@pytest.mark.slow
@pytest.mark.usefixtures("four_starts")
def test_the_seconds_are_those_of_all_parts(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(scan_folder.time, "perf_counter", lambda: clock[0])
    saved = ScanFolder.on_leg

    def on_leg(self: ScanFolder, progress: Checkpoint) -> None:
        clock[0] += 10.0  # a segment takes ten seconds
        saved(self, progress)

    monkeypatch.setattr(ScanFolder, "on_leg", on_leg)
    for number in (3, 2):
        die_in_a_scan(monkeypatch, command(files, tmp_path, *SHORT), "on_leg", number)
        clock[0] += 5000.0  # nobody waits for it
    clock[0] = 7.0  # another process, another clock
    assert main(command(files, tmp_path, *SHORT)) == 3
    # Two labels of seven segments.
    assert verdict(tmp_path)["seconds"] == 140.0
    clock[0] += 5.0
    assert main(command(files, tmp_path, *SHORT)) == 3
    assert verdict(tmp_path)["seconds"] == 140.0


# Interrupted


# A call of TensorFlow that takes at least twenty seconds, during which Python hears no signal in that thread.
BUSY = """
import sys, time
import nc_tf.cli.progress
saved, labels = nc_tf.cli.progress.ScanProgress.on_label, []

def on_label(self, result, starts):
    import tensorflow as tf

    saved(self, result, starts)
    labels.append(result.label)
    if len(labels) == 2:
        print("busy", flush=True)
        square = tf.random.normal([400, 400])
        forever = tf.function(lambda: tf.while_loop(lambda step: step < 100_000, lambda step: (step + tf.cast(
            tf.reduce_sum(square @ square) * 0.0, tf.int32) + 1,), [tf.constant(0)]))
        forever()
        print("TensorFlow was not interrupted", flush=True)

nc_tf.cli.progress.ScanProgress.on_label = on_label
"""
NC_TF = "from nc_tf.cli.main import main\n"
# The constants of the classic script, for a network of eight classes.
CLASSIC = f"""
sys.path.insert(0, {str(ROOT)!r})
import gtsrb_visualize_example as script
script.NUM_CLASSES, script.Y_TARGET, script.BATCH_SIZE, script.MINI_BATCH, script.STEPS = 8, 3, 16, 4, 9
main = script.main
"""


@pytest.mark.slow
@pytest.mark.whole_image  # as in the other process
@pytest.mark.parametrize("which", ["nc-tf scan", "gtsrb_visualize_example.py"])
def test_ctrl_c_ends_a_scan_within_two_seconds_though_tensorflow_is_busy(
    files: Path, tmp_path: Path, warm_server: WarmServer, which: str
) -> None:
    classic = which.endswith(".py")
    argv = ["--data", str(files / "data.npz"), "--model", str(files / "model.keras"), "--results", str(tmp_path)]
    argv = argv if classic else command(files, tmp_path, "--rounds", "12")
    process = warm_server.start(f"{BUSY}{CLASSIC if classic else NC_TF}sys.exit(main({argv!r}))")
    try:
        while "busy" not in process.out.read_text().splitlines():
            assert process.poll() is None, "it ended before TensorFlow was busy"
            time.sleep(0.05)
        time.sleep(0.3)
        pressed = time.perf_counter()
        process.send(signal.SIGINT)
        while process.poll() is None and time.perf_counter() - pressed < 20:
            time.sleep(0.01)
        seconds = time.perf_counter() - pressed
    finally:
        process.kill()
    assert process.wait() == 130
    assert seconds < 2.0
    rest, error = process.out.read_text(), process.err.read_text()
    assert "TensorFlow was not interrupted" not in rest
    assert "Traceback" not in error
    *_, so_far, how_to_go_on = error.splitlines()
    found = {label: trigger.l1_norm for label, trigger in triggers(tmp_path).items()}
    assert len(found) == 2
    if classic:  # nine rounds bring no trigger that works: nothing is known but how many
        assert so_far.startswith("2 labels done, 6 to go")
    else:
        smallest = ", ".join(f"{norm:.2f} (label {label})" for label, norm in sorted(found.items(), key=lambda item: item[1]))
        assert so_far == f"2 labels done, 6 to go; smallest norms so far: {smallest}"
    what = "finished labels are kept, and the same command, without --fresh, goes on with the others"
    assert how_to_go_on == f"{which.split()[0]}: stopped; {what}"
    assert {restart.label for restart in load_progress(tmp_path / "state")[0]}.isdisjoint(found)
    if not classic:
        assert main(command(files, tmp_path, "--rounds", "12")) in (0, 1, 3)
        again = {label: trigger.l1_norm for label, trigger in triggers(tmp_path).items()}
        assert len(again) == 8
        assert found.items() <= again.items()


def test_what_work_returns_or_raises_comes_out() -> None:
    assert interruptible(lambda: 7) == 7

    def fails() -> None:
        raise InputError("no such thing: expected another; choose it")

    with pytest.raises(InputError, match="no such thing") as caught:
        interruptible(fails)
    assert caught.traceback[-1].name == "fails", "the traceback must lead to where it happened"
    with pytest.raises(Died):
        interruptible(lambda: (_ for _ in ()).throw(Died()))


def test_ctrl_c_does_not_wait_for_the_work(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    ended: list[int] = []
    monkeypatch.setattr(guard.os, "_exit", ended.append)

    def press() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1.5)
        return 0

    began = time.perf_counter()
    guarded("nc-tf", lambda: interruptible(press), "stopped; go on")
    assert time.perf_counter() - began < 1.0
    assert ended == [130]
    assert capsys.readouterr().err == "nc-tf: stopped; go on\n"


def test_sigterm_ends_a_command_as_ctrl_c_does(monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    ended: list[int] = []
    monkeypatch.setattr(guard.os, "_exit", ended.append)

    def terminated(seconds: float) -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(seconds)
        return 0

    began = time.perf_counter()
    assert guarded("nc-tf", lambda: terminated(1.5), "stopped; go on") == 143
    guarded("nc-tf", lambda: interruptible(lambda: terminated(1.5)), "stopped; go on")
    assert time.perf_counter() - began < 1.0
    assert ended == [143]
    assert capsys.readouterr().err == "nc-tf: stopped; go on\n" * 2
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_whoever_ignores_sigterm_goes_on_doing_so() -> None:
    def terminated() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        return 7

    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        assert guarded("nc-tf", terminated) == 7
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


def test_an_interrupt_of_the_work_itself_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard.os, "_exit", lambda code: pytest.fail("nothing is at work any more"))

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert guarded("nc-tf", lambda: interruptible(interrupted)) == 130


# No room, or no right to write


def refuse(monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
    """Let every file of this name fail at the last moment."""
    real = os.replace

    def replacing(old: Path, new: Path) -> None:
        if Path(new).name == name:
            raise OSError(error, os.strerror(error))
        real(old, new)

    monkeypatch.setattr(os, "replace", replacing)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("settings.json", errno.EROFS),
        ("arm_4_2.npz", errno.ENOSPC),
        ("model_visualize_pattern_label_3.png", errno.ENOSPC),
        ("label_4.npz", errno.ENOSPC),
        ("log.txt", errno.ENOSPC),
        ("verdict.json", errno.ENOSPC),
    ],
)
def test_a_file_that_cannot_be_written_is_one_line_and_the_scan_goes_on_from_what_was_saved(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, kills: ModuleType, name: str, error: int
) -> None:
    with monkeypatch.context() as patched:
        refuse(patched, name, error)
        assert main(command(files, tmp_path, *SHORT)) == 2
    error_lines = capsys.readouterr().err.splitlines()
    assert error_lines[-1].startswith("nc-tf: ")
    assert f"{name} could not be written ({os.strerror(error)}): expected a writable folder with room left" in error_lines[-1]
    assert len([line for line in error_lines if "could not be written" in line]) == 1
    assert "Traceback" not in "".join(error_lines)
    assert kills.broken_files(tmp_path) == kills.leftovers(tmp_path) == []
    assert not (tmp_path / "verdict.json").exists()
    known = {(restart.label, restart.start): restart.rounds for restart in load_progress(tmp_path / "state")[0]}
    done = set(triggers(tmp_path))
    segments = legs_run(monkeypatch)
    assert main(command(files, tmp_path, *SHORT)) == 3
    assert all(segment.rounds > known.get((segment.label, segment.start), 0) and segment.label not in done for segment in segments)
    assert [row["label"] for row in verdict(tmp_path)["labels"]] == [3, 4]
    assert not list(tmp_path.glob("state/arm_*"))


@pytest.mark.slow
def test_a_disk_that_fills_up_while_a_file_is_written_leaves_no_half_of_it(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured, kills: ModuleType
) -> None:
    """No mock of the file: the kernel itself refuses what goes beyond so many bytes of one."""
    before, opened = resource.getrlimit(resource.RLIMIT_FSIZE), ScanFolder.open

    def open_and_fill(self: ScanFolder, settings: Mapping[str, Any], **more: Any) -> ScanState:
        found = opened(self, settings, **more)
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, before[1]))
        return found

    with monkeypatch.context() as patched:
        patched.setattr(ScanFolder, "open", open_and_fill)
        try:
            assert main(command(files, tmp_path, *SHORT)) == 2
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "could not be written (File too large)" in capsys.readouterr().err.splitlines()[-1]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["settings.json"]
    assert kills.broken_files(tmp_path) == []
    assert main(command(files, tmp_path, *SHORT)) == 3


def test_a_folder_that_may_not_be_written_to_is_refused_before_the_search(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    tmp_path.chmod(0o555)
    assert main(command(files, tmp_path, *SHORT)) == 2
    assert "could not be written (Permission denied)" in capsys.readouterr().err


@pytest.mark.slow
def test_starting_over_where_nothing_may_be_deleted_is_refused(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    assert main(command(files, tmp_path, "--labels", "3", "--rounds", "1")) == 3
    capsys.readouterr()

    def refused(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", refused)
        assert main(command(files, tmp_path, "--labels", "3", "--rounds", "1", "--fresh")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "could not be deleted (Read-only file system): expected a writable folder" in line
    assert list(triggers(tmp_path)) == [3]
