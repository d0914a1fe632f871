"""The files of changes of the whole image, and all that reads them again: folder, repairs, log, report and notebook."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from quick import made_up
from test_scan_folder import DATA, MODEL, SETTINGS, begun, tried

from nc_tf.backdoor import Trigger, Warp
from nc_tf.detection.levels import Level
from nc_tf.detection.verdict import judge
from nc_tf.detection.whole_image import judge_changes
from nc_tf.errors import InputError
from nc_tf.report.changes import shown_changes
from nc_tf.report.norms import flagged_by_norm
from nc_tf.report.notebook import scan_html
from nc_tf.report.report_file import write_report
from nc_tf.results import ChangeResult, ScanResult, Status, Verdict
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.label_files import load_saved_change, save_change
from nc_tf.storage import trigger_file
from nc_tf.storage.trigger_file import load_found, trigger_arrays
from nc_tf.storage.verdict_file import read_verdict

NORMS = (20.0, 21.0, 22.0, 23.0, 24.0, 25.0)


def a_picture(label: int, size: float = 0.15) -> ChangeResult:
    trigger = Trigger(label, np.full((8, 8), size, np.float32), np.full((8, 8, 3), 200.0, np.float32))
    return ChangeResult("picture", trigger, size, Status.MAX_ROUNDS, 0.95, 0.02, 500)


def a_warp(label: int, size: float = 3.0, status: Status = Status.MAX_ROUNDS) -> ChangeResult:
    places = np.moveaxis(np.mgrid[:8, :8], 0, -1).astype(np.float32)
    places[1:-1, 1:-1] += size / 4
    return ChangeResult("warp", Warp(label, places, 3), size, status, 0.95, 0.02, 500)


def result(**small: dict[int, float]) -> ScanResult:
    """Return the result of a scan in which the changes of these labels are small."""
    labels, detections = [made_up(label, norm) for label, norm in enumerate(NORMS)], []
    changes: list[ChangeResult] = []
    for make, usual, few in ((a_picture, 0.15, small.get("pictures", {})), (a_warp, 3.0, small.get("warps", {}))):
        found = [make(label, few.get(label, usual * (1 + label / 50))) for label in range(6)]
        detection, judged = judge_changes(found, Level(0.01, 0.05))
        detections.append(detection)
        changes += judged
    return replace(judge(labels, {"loss": "linear"}, rule="robust", others=detections), changes=tuple(changes))


def finished(path: Path, found: ScanResult) -> ScanFolder:
    folder = begun(path, name="gtsrb")
    for entry in found.labels:
        folder.on_label(entry, [tried(entry)])
    for change in found.changes:
        folder.on_change(change)
    folder.write_verdict(found, MODEL, DATA)
    return folder


@pytest.mark.parametrize("change", [a_picture(3), a_warp(3)])
def test_it_comes_back_as_it_was_written(tmp_path: Path, change: ChangeResult) -> None:
    file = tmp_path / f"{change.detector}-3.npz"
    save_change(file, change, 12.5)
    again, seconds = load_saved_change(file)
    assert seconds == 12.5
    assert (again.size, again.status, again.attack_success_rate) == (change.size, change.status, 0.95)
    assert (again.zero_trigger_rate, again.num_measured) == (0.02, 500)
    images = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(again.trigger(images), change.trigger(images))
    np.testing.assert_allclose(again.trigger(tf.constant(images)), change.trigger(images), atol=1e-3)
    assert type(load_found(file)) is type(change.trigger)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": -1.0}, "-1 does not lie between 0 and 1000"),
        ({"size": 1001.0}, "1001 does not lie between 0 and 1000"),
        ({"status": "gone"}, "expected size, status and rates; delete it and scan again"),
        ({"detector": "picture"}, "a 'picture' of label 3, where another is expected by the file's name"),
        ({"label": 4}, "a 'warp' of label 4, where another is expected by the file's name"),
        ({"places": np.full((8, 8, 2), 9.0)}, r"places to read from of shape \(8, 8, 2\)"),
        ({"places": np.full((8, 8, 2), np.nan)}, "where finite"),
        ({"places": np.zeros((8, 8))}, r"places \(8, 8\), where finite"),
        ({"channels": np.zeros(2)}, "expected an .npz with places, channels and label"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "warp-3.npz"
    save_change(file, a_warp(3), 0.0)
    with np.load(file) as saved:
        arrays = dict(saved)
    np.savez(file, **(arrays | change))
    with pytest.raises(InputError, match=message):
        load_saved_change(file)


def test_a_warp_that_never_worked_may_be_longer_than_the_image(tmp_path: Path) -> None:
    long = replace(a_warp(3), size=24.0, status=Status.NEVER_SUCCEEDED)
    save_change(tmp_path / "warp-3.npz", long, 0.0)
    assert load_saved_change(tmp_path / "warp-3.npz")[0].size == 24.0


@pytest.mark.parametrize(("size", "message"), [(0.3, "an opacity of 0.3, where that of its mask is 0.15"), (1.5, "between 0 and 1")])
def test_the_size_of_a_picture_is_the_opacity_of_its_mask(tmp_path: Path, size: float, message: str) -> None:
    file = tmp_path / "picture-3.npz"
    save_change(file, replace(a_picture(3), size=size), 0.0)
    with pytest.raises(InputError, match=f"{message}.*: expected size, status and rates"):
        load_saved_change(file)


def test_each_file_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / "warp-3.npz", tmp_path / "picture-3.npz"]
    for file, change in zip(files, (a_warp(3), a_picture(3)), strict=True):
        save_change(file, change, 0.0)
    read: list[Path] = []

    def counting(path: str | Path) -> dict[str, np.ndarray]:
        read.append(Path(path))
        return trigger_arrays(path)

    monkeypatch.setattr(trigger_file, "trigger_arrays", counting)
    for file in files:
        load_found(file)
        load_saved_change(file)
    assert read == [file for file in files for _ in range(2)]


def test_a_report_refuses_a_change_of_other_images(tmp_path: Path) -> None:
    folder = finished(tmp_path, result(pictures={2: 0.01}))
    other = Trigger(2, np.full((5, 5), 0.01, np.float32), np.full((5, 5, 3), 200.0, np.float32))
    save_change(folder.triggers.change("picture", 2), replace(a_picture(2), trigger=other, size=0.01), 0.0)
    with pytest.raises(
        InputError, match=r"picture-2.npz is for images \(5, 5, 3\): expected \(8, 8, 3\), those of label_0.npz; scan again"
    ):
        write_report(folder.path)


def test_a_scan_goes_on_with_them_and_a_new_one_deletes_them(tmp_path: Path) -> None:
    folder = finished(tmp_path, result())
    (tmp_path / "triggers" / "warp-x.npz").write_bytes(b"of nobody")
    state = ScanFolder(tmp_path).open(SETTINGS)
    assert sorted((change.detector, change.label) for change in state.changes) == [
        (name, label) for name in ("picture", "warp") for label in range(6)
    ]
    begun(tmp_path, fresh=True)
    assert not folder.triggers.files
    assert (tmp_path / "triggers" / "warp-x.npz").exists()


def test_each_flagged_label_has_the_trigger_of_its_detector(tmp_path: Path) -> None:
    found = result(pictures={2: 0.01}, warps={2: 0.2, 4: 0.2})
    assert found.verdict is Verdict.SUSPECTED
    assert found.flagged == (2, 4)
    kinds = [(type(trigger), trigger.label) for trigger in found.triggers]  # type: ignore[union-attr]
    assert kinds == [(Trigger, 2), (Warp, 2), (Warp, 4)]
    assert [(change.detector, change.label) for change in found.flagged_changes] == [("picture", 2), ("warp", 2), ("warp", 4)]
    again = finished(tmp_path, found).flagged_triggers()
    assert [(type(trigger), trigger.label) for trigger in again] == kinds  # type: ignore[union-attr]
    assert np.ptp(again[0].mask) == 0.0  # type: ignore[union-attr]
    verdict = read_verdict(tmp_path / "verdict.json")
    assert flagged_by_norm(verdict) == []
    assert shown_changes(verdict) == [("picture", 2), ("warp", 2), ("warp", 4)]


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = finished(tmp_path, result(warps={4: 0.2}))
    (tmp_path / "triggers" / "warp-4.npz").unlink()
    with pytest.raises(InputError, match=r"warp-4.npz is missing: expected a trigger for all that is flagged; scan again"):
        folder.flagged_triggers()


def test_log_and_report_show_them(tmp_path: Path) -> None:
    folder = finished(tmp_path, result(pictures={2: 0.01}, warps={4: 0.2}))
    folder.write_samples(np.random.default_rng(0).integers(0, 255, (6, 8, 8, 3)).astype(np.uint8), np.arange(6))
    assert "picture: backdoor suspected (a faint picture over the whole image" in (tmp_path / "log.txt").read_text()
    assert "Label 4: warp of 0.20 pixels, max_rounds, ASR 95.00%, chance 0.00%" in (tmp_path / "log.txt").read_text()
    page = write_report(folder.path).read_text()
    for words in (
        "A picture of 1.0% opacity is enough to send images to label 2. Changes that are flagged: 2.",
        "Faint pictures over the whole image",
        "label 2: opacity 1.00",
        "a warp of 0.20 pixels",
        "label 4: length 0.20",
        "A chequered picture, bent by the warp of label 4",
        "The same, with the trigger of label 4",
        "Unlearn the flagged triggers",
    ):
        assert words in page
    assert "One of the detectors below suspects a backdoor." not in page


def test_a_report_without_flagged_changes_shows_the_smallest(tmp_path: Path) -> None:
    folder = finished(tmp_path, result())
    assert shown_changes(read_verdict(tmp_path / "verdict.json")) == [("picture", 0), ("warp", 0)]
    page = write_report(folder.path).read_text()
    assert "None is flagged; the smallest is shown." in page
    assert "patches that cover much of the image, triggers that act on images of one class alone and triggers that send every" in page


def test_a_notebook_shows_the_change_that_is_flagged() -> None:
    page = scan_html(result(pictures={2: 0.01}, warps={4: 0.2}))
    assert "<strong>Label 2</strong>: a picture of 1.0% opacity, ASR 95.00% on held-out images" in page
    assert "<strong>Label 4</strong>: a warp of 0.20 pixels, ASR 95.00% on held-out images; pixels are read from" in page
