"""The file of the trigger that takes every class away from itself, and all that reads it again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick import made_up
from test_scan_folder import DATA, MODEL, SETTINGS, begun, saved_scan, tried

from nc_tf.backdoor import AllToAllTrigger, Trigger
from nc_tf.detection.all_to_all import judge_untargeted
from nc_tf.detection.verdict import judge
from nc_tf.errors import InputError
from nc_tf.report.pairs import matrix_picture
from nc_tf.report.report_file import write_report
from nc_tf.results import Status, UntargetedResult
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.label_files import load_untargeted, save_untargeted
from nc_tf.storage.trigger_file import load_all_to_all, load_found, save_trigger

CYCLE = (1, 2, 3, 4, 5, 0)


def away(norm: float = 2.0) -> UntargetedResult:
    mask = np.zeros((8, 8), np.float32)
    mask[:2, :2] = norm / 4
    trigger = AllToAllTrigger(mask, np.full((8, 8, 3), 200.0, np.float32), CYCLE)
    labels = np.repeat(np.arange(6), 5)
    return UntargetedResult(trigger, Status.MAX_ROUNDS, labels, (labels + 1) % 6, 6, 102)


def finished(path: Path) -> ScanFolder:
    """A folder of a scan that flags pairs alone."""
    folder, found = begun(path, name="gtsrb"), away()
    results = [made_up(label, norm) for label, norm in enumerate((20.0, 21.0, 22.0, 23.0, 24.0, 25.0))]
    for result in results:
        folder.on_label(result, [tried(result)])
    folder.on_untargeted(found)
    judged = judge(results, {"loss": "linear"}, others=[judge_untargeted(found, results)], untargeted=found)
    folder.write_verdict(judged, MODEL, DATA)
    return folder


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    save_untargeted(tmp_path / "all_to_all.npz", away(), 12.5)
    again, seconds = load_untargeted(tmp_path / "all_to_all.npz")
    assert seconds == 12.5
    assert (again.status, again.starts, again.rounds, again.trigger.targets) == (Status.MAX_ROUNDS, 6, 102, CYCLE)
    for one, other in ((again.trigger.mask, away().trigger.mask), (again.labels, away().labels), (again.answers, away().answers)):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": np.array([1, 9])}, r"holds targets \(2,\): expected one label for each class"),
        ({"answers": np.arange(3)}, r"labels \(30,\) and answers \(3,\), where as many classes of the model are expected"),
        ({"answers": np.full(30, 6)}, "where as many classes of the model are expected"),
        ({"labels": np.full(30, -1)}, "where as many classes of the model are expected"),
        ({"status": "gone"}, "expected status, rates and answers; delete it and scan again"),
        ({"mask": np.full((8, 8), 2.0)}, "holds a mask from 2 to 2"),
    ],
)
def test_a_broken_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    file = tmp_path / "all_to_all.npz"
    save_untargeted(file, away(), 0.0)
    with np.load(file) as saved:
        arrays = dict(saved)
    np.savez(file, **(arrays | change))
    with pytest.raises(InputError, match=message):
        load_untargeted(file)


def test_either_kind_of_trigger_is_told_by_its_file(tmp_path: Path) -> None:
    save_untargeted(tmp_path / "all.npz", away(), 0.0)
    save_trigger(tmp_path / "one.npz", made_up(3, 5.0).trigger)
    save_trigger(tmp_path / "pairs.npz", away().trigger)
    assert load_all_to_all(tmp_path / "pairs.npz")[0].targets == CYCLE
    assert isinstance(load_found(tmp_path / "all.npz"), AllToAllTrigger)
    assert isinstance(load_found(tmp_path / "one.npz"), Trigger)


def test_a_scan_goes_on_with_it(tmp_path: Path) -> None:
    finished(tmp_path)
    state = ScanFolder(tmp_path).open(SETTINGS)
    assert state.untargeted is not None
    assert state.untargeted.trigger.targets == CYCLE


def test_repairs_are_given_it_where_pairs_are_flagged(tmp_path: Path) -> None:
    (trigger,) = finished(tmp_path / "pairs").flagged_triggers()
    assert isinstance(trigger, AllToAllTrigger)
    folder, _ = saved_scan(tmp_path / "label")
    folder.on_untargeted(away())
    assert [type(one) for one in folder.flagged_triggers()] == [Trigger]


def test_starting_over_deletes_it(tmp_path: Path) -> None:
    file = finished(tmp_path).all_to_all_file
    assert file.exists()
    begun(tmp_path, fresh=True)
    assert not file.exists()


def test_log_and_report_name_the_pairs(tmp_path: Path) -> None:
    folder = finished(tmp_path)
    log = (tmp_path / "log.txt").read_text()
    assert "all-to-all: backdoor suspected" in log
    assert "Label 5 is sent to label 0: 100.00%" in log
    page = write_report(folder.path).read_text()
    assert "A trigger of 2.00 pixels is enough to send images of 6 classes to other labels, each to its own." in page
    assert "With the trigger most images of a class go: 0 to 1, 1 to 2, 2 to 3, 3 to 4, 4 to 5, 5 to 0" in page
    assert "--scan" in page


def test_a_report_refuses_one_of_other_images(tmp_path: Path) -> None:
    folder, small = finished(tmp_path), AllToAllTrigger(np.zeros((5, 5), np.float32), np.zeros((5, 5, 3), np.float32), CYCLE)
    save_untargeted(folder.all_to_all_file, replace(away(), trigger=small), 0.0)
    with pytest.raises(InputError, match=r"all_to_all.npz is for images \(5, 5, 3\): expected \(8, 8, 3\), those of label_0.npz"):
        write_report(folder.path)


def test_the_matrix_is_dark_where_images_go() -> None:
    shown = matrix_picture([0, 0, 1], [1, 1, 1], 2)
    assert (shown.width, shown.height) == (192, 192)
    assert shown.alt.endswith("go: 0 to 1")
    many = matrix_picture(list(range(12)), [11, *range(11)], 12)
    assert "and 2 more" in many.alt
