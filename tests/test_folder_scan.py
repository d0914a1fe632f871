"""`nc_tf.scan_to_folder`: files or arrays in, a finished folder out, and what it refuses."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import corner_images, corner_network
from quick import QUICK, data_file
from recording import Record

import nc_tf
from nc_tf import folder_scan
from nc_tf.cli.main import main
from nc_tf.errors import InputError
from nc_tf.models.saving import save_model
from nc_tf.report.commands import commands
from nc_tf.results import LabelResult, Verdict
from nc_tf.scan_folder.label_files import load_label
from nc_tf.scanning.plan import ScanPlan
from nc_tf.storage.verdict_file import read_verdict

IMAGES, LABELS = corner_images(120)
OPTIONS = nc_tf.ScanOptions(preset="paper", settings=QUICK)


class Stop(nc_tf.ScanCallback):
    """Ends the scan after two labels, as Ctrl-C would."""

    def __init__(self) -> None:
        self.left = 2

    def on_label(self, result: LabelResult, starts: object) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def begin(folder: Path, data: tuple[Any, Any], unseen: tuple[Any, Any] | None = None) -> Record:
    """Scan one label into a folder, or go on with it, and return what happened."""
    record = Record()
    options = nc_tf.ScanOptions(preset="paper", settings=QUICK, targets=[0], intensity_range="raw")
    nc_tf.scan_to_folder(folder, corner_network(3), data, options=options, unseen=unseen, callbacks=[record])
    return record


def test_it_is_the_function_and_not_a_module() -> None:
    assert nc_tf.scan_to_folder is folder_scan.scan_to_folder


def test_files_become_a_finished_folder(tmp_path: Path) -> None:
    save_model(corner_network(3), tmp_path / "model.keras")
    data = data_file(tmp_path / "data.npz")
    result = nc_tf.scan_to_folder(tmp_path / "scan", tmp_path / "model.keras", data, options=OPTIONS)
    assert (result.verdict, result.flagged) == (Verdict.SUSPECTED, (3,))
    verdict = json.loads((tmp_path / "scan" / "verdict.json").read_text())
    assert verdict["flagged"] == [3]
    assert (verdict["model"]["path"], verdict["data"]["path"]) == (str(tmp_path / "model.keras"), str(data))
    assert (tmp_path / "scan" / "report.html").exists()


@pytest.mark.slow
def test_arrays_are_known_by_what_is_in_them_and_a_stopped_scan_goes_on(tmp_path: Path) -> None:
    model = corner_network(3)
    whole = nc_tf.scan(model, IMAGES, LABELS, preset="paper", settings=QUICK)
    with pytest.raises(KeyboardInterrupt):
        nc_tf.scan_to_folder(tmp_path, model, (IMAGES, LABELS), options=OPTIONS, callbacks=[Stop()])
    assert not (tmp_path / "verdict.json").exists()
    record = Record()
    result = nc_tf.scan_to_folder(tmp_path, model, (IMAGES, LABELS), options=OPTIONS, callbacks=[record])
    assert len(record.resumed) == 2
    assert len(record.labels) == 4
    np.testing.assert_array_equal([e.trigger.l1_norm for e in result.labels], [e.trigger.l1_norm for e in whole.labels])
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["model"]["path"], verdict["data"]["path"]) == ("MODEL", "DATA")
    with pytest.raises(InputError, match="holds a scan of another model file: expected the same settings"):
        nc_tf.scan_to_folder(tmp_path, corner_network(2), (IMAGES, LABELS), options=OPTIONS)


@pytest.mark.slow
def test_the_folder_of_a_model_without_a_file_serves_the_repairs_of_one_saved_later(tmp_path: Path) -> None:
    model = corner_network(3)
    options = nc_tf.ScanOptions(preset="paper", settings=QUICK, intensity_range="raw")
    assert nc_tf.scan_to_folder(tmp_path / "scan", model, (IMAGES, LABELS), options=options).flagged == (3,)
    verdict = read_verdict(tmp_path / "scan" / "verdict.json")
    assert verdict.model == {"path": "MODEL", "num_classes": 6, "input_shape": [8, 8, 3]}
    assert [command.line.split()[1] for command in commands(verdict, "scan")] == ["report"]
    save_model(model, tmp_path / "model.keras")
    data = data_file(tmp_path / "data.npz")
    how = ["--scan", tmp_path / "scan", "--out", tmp_path / "repaired.keras", "--intensity-range", "raw"]
    assert main(list(map(str, ["filter", tmp_path / "model.keras", data, *how]))) == 0


@pytest.mark.slow
def test_the_seconds_of_folder_and_result_are_the_same_and_count_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, late, planned = time.perf_counter, [0.0], folder_scan.make_plan

    def slow_plan(*arguments: Any, **more: Any) -> ScanPlan:
        late[0] += 1000.0
        return planned(*arguments, **more)

    monkeypatch.setattr(time, "perf_counter", lambda: clock() + late[0])
    monkeypatch.setattr(folder_scan, "make_plan", slow_plan)
    options = nc_tf.ScanOptions(preset="paper", settings=QUICK, targets=[0], intensity_range="raw")
    result = nc_tf.scan_to_folder(tmp_path, corner_network(3), (IMAGES, LABELS), options=options)
    assert result.seconds > 1000
    assert json.loads((tmp_path / "verdict.json").read_text())["seconds"] == round(result.seconds, 3)
    assert load_label(tmp_path / "triggers" / "label_0.npz")[1] > 1000


@pytest.mark.slow
def test_a_folder_of_another_scan_is_refused_before_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, (IMAGES, LABELS))

    def no_plan(*_: Any, **__: Any) -> None:
        raise InputError("too little memory")

    monkeypatch.setattr(folder_scan, "make_plan", no_plan)
    for other, difference in (
        ({"options": nc_tf.ScanOptions(seed=1)}, "with seed 0, this one has 1"),
        ({"options": nc_tf.ScanOptions(upsample_size=2)}, "with upsample_size 1, this one has 2"),
        ({"model": corner_network(2)}, "of another model file"),
        ({"data": (IMAGES, None)}, "of other images"),
        ({"demo": True, "fresh": True}, "that nc-tf demo did not make"),
    ):
        with pytest.raises(InputError, match=f"holds a scan {difference}"):
            nc_tf.scan_to_folder(tmp_path, **{"model": corner_network(3), "data": (IMAGES, LABELS), **other})
    for same in ({"fresh": True}, {"options": nc_tf.ScanOptions(preset="low-cost")}):
        with pytest.raises(InputError, match="too little memory"):
            nc_tf.scan_to_folder(tmp_path, corner_network(3), (IMAGES, LABELS), **same)


def test_the_folder_lies_outside_of_the_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"lies in the data, .* and would be read as a class: expected a folder outside; choose"):
        nc_tf.scan_to_folder(tmp_path / "scan", corner_network(3), (IMAGES, LABELS), data_file=tmp_path)


def test_a_folder_named_data_is_not_the_data_of_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("DATA").mkdir()
    with pytest.raises(InputError, match=r"^images: largest value 300: expected raw pixels"):
        nc_tf.scan_to_folder("DATA/scan", corner_network(3), (IMAGES + 120.0, LABELS))


def test_a_model_file_that_is_missing_is_refused_first(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere.keras"
    with pytest.raises(InputError, match=r"nowhere.keras is missing: expected the file of the model; leave model_file out"):
        nc_tf.scan_to_folder(tmp_path / "scan", corner_network(3), (IMAGES + 120.0, LABELS), model_file=missing)
    assert not (tmp_path / "scan").exists()


@pytest.mark.slow
def test_labels_of_any_form_are_those_of_the_same_images(tmp_path: Path) -> None:
    begin(tmp_path, (IMAGES, LABELS), (IMAGES, LABELS))
    for labels in (np.eye(6)[LABELS], LABELS[:, None], LABELS.tolist(), LABELS.astype(np.uint8)):
        record = begin(tmp_path, (IMAGES.astype(np.int64), labels), (IMAGES.tolist(), labels))
        assert [result.label for result in record.resumed] == [0]
        with np.load(tmp_path / "state" / "samples.npz") as samples:
            assert (samples["images"].dtype, samples["labels"].tolist()) == (np.uint8, [0, 1, 2, 3, 4, 5])


@pytest.mark.slow
def test_images_without_labels_are_scanned(tmp_path: Path) -> None:
    begin(tmp_path, (IMAGES, None))
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["model_accuracy"] is None
    assert verdict["data"]["num_images"] == 120
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("demo_first", [True, False])
def test_a_demo_and_another_scan_never_share_a_folder(tmp_path: Path, demo_first: bool) -> None:
    for demo, message in ((demo_first, None), (not demo_first, "of nc-tf demo" if demo_first else "that nc-tf demo did not make")):
        how: dict[str, Any] = {"options": nc_tf.ScanOptions(preset="paper", settings=QUICK, targets=[0]), "demo": demo, "fresh": demo}
        if message is None:
            nc_tf.scan_to_folder(tmp_path, corner_network(3), (IMAGES, LABELS), **how)
            continue
        with pytest.raises(InputError, match=f"holds a scan {message}: expected a folder of its own for each"):
            nc_tf.scan_to_folder(tmp_path, corner_network(3), (IMAGES, LABELS), **how)
