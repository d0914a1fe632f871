"""A scan on disk: what is written can be read again, goes on after a stop, and what is broken says so."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import jsonschema
import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE, corner_images, corner_network
from PIL import Image
from quick import QUICK, made_up

from nc_tf import __version__
from nc_tf.detection.verdict import judge
from nc_tf.errors import InputError
from nc_tf.inversion.restart import Restart, RestartResult
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import HISTORY_COLUMNS, LabelResult, ScanResult, Status, Trigger, Verdict
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.settings_record import array_hash, model_facts, scan_record, sha256_of
from nc_tf.scanning.presets import PRESETS
from nc_tf.scanning.scan import scan
from nc_tf.storage.scan_log import log_text
from nc_tf.storage.trigger_file import load_trigger, save_trigger
from nc_tf.storage.verdict_file import scan_verdict
from nc_tf.storage.verdict_schema import schema_text

SETTINGS = {"model": "abc", "seed": 0, "starts": None, "settings": "SearchSettings(loss='linear')"}
MODEL = {"path": "suspicious.keras", "sha256": "ab" * 32, "num_classes": 6, "input_shape": [8, 8, 3]}
DATA = {"path": "signs.npz", "num_images": 120}
NORMS = (10.0, 11.0, 12.0, 13.0, 1.0)


def tried(result: LabelResult, start: int = 0) -> RestartResult:
    trigger = result.trigger
    return RestartResult(
        Restart(result.label, start, trigger.mask, trigger.pattern), trigger, trigger.mask, result.status, np.full((3, 7), start)
    )


def begun(path: Path, settings: dict[str, Any] = SETTINGS, name: str = "model", *, fresh: bool = False) -> ScanFolder:
    """A folder in which a scan has just begun, or goes on."""
    folder = ScanFolder(path, name)
    folder.open(settings, fresh=fresh)
    folder.on_begin(cast(FrozenNetwork, None), 1, 1, 1, 1)
    return folder


def saved_scan(path: Path, results: Sequence[LabelResult] | None = None, **options: Any) -> tuple[ScanFolder, ScanResult]:
    """A folder as a finished scan leaves it."""
    folder = begun(path, name="gtsrb")
    results = [made_up(label, norm) for label, norm in enumerate(NORMS)] if results is None else results
    for result in results:
        folder.on_label(result, [tried(result)])
    judged = judge(results, options.pop("settings", {"loss": "linear", "cost": {"patience": 5}}), seconds=1.23456)
    folder.write_verdict(judged, MODEL, DATA, **options)
    return folder, judged


def rewrite_verdict(path: Path, **fields: Any) -> None:
    """Give `verdict.json` other values of these fields."""
    file = path / "verdict.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | fields))


def strictly(text: str) -> Any:
    """Parse JSON as a parser outside of Python would: no NaN, no Infinity."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


# Labels


@pytest.mark.parametrize("status", list(Status))
def test_a_label_result_can_be_read_again(tmp_path: Path, status: Status) -> None:
    folder, result = ScanFolder(tmp_path), replace(made_up(7, 3.3, status), starts=3, rounds=88)
    rng = np.random.default_rng(0)
    pattern = (rng.random(IMAGE_SHAPE) * 255).astype(np.float32)
    result = replace(result, trigger=Trigger(7, rng.random((8, 8)).astype(np.float32), pattern))
    folder.on_label(result, [tried(result)])
    (read,) = folder.label_results().values()
    np.testing.assert_array_equal(read.trigger.mask, result.trigger.mask)
    np.testing.assert_array_equal(read.trigger.pattern, result.trigger.pattern)
    assert (read.trigger.mask.dtype, read.trigger.pattern.dtype) == (np.float32, np.float32)
    for name in ("label", "status", "attack_success_rate", "zero_trigger_rate", "starts", "rounds"):
        assert getattr(read, name) == getattr(result, name), name
    assert np.isnan(read.anomaly_index)


def test_rates_that_do_not_exist_stay_nan(tmp_path: Path) -> None:
    folder, result = ScanFolder(tmp_path), replace(made_up(1, 2.0), zero_trigger_rate=float("nan"))
    folder.on_label(result, [tried(result)])
    assert np.isnan(folder.label_results()[1].zero_trigger_rate)


def test_the_history_saved_is_that_of_the_start_that_counts(tmp_path: Path) -> None:
    folder, worse, better = ScanFolder(tmp_path), made_up(2, 5.0), made_up(2, 4.0)
    folder.on_label(better, [tried(worse, 0), tried(better, 1)])
    _, more = load_trigger(folder.trigger_file(2))
    np.testing.assert_array_equal(more["history"], np.full((3, 7), 1))
    assert tuple(more["history_columns"]) == HISTORY_COLUMNS
    assert len(HISTORY_COLUMNS) == 7


def test_results_come_in_the_order_of_labels(tmp_path: Path) -> None:
    folder = ScanFolder(tmp_path)
    for result in (made_up(label, 1.0) for label in (10, 2, 33)):
        folder.on_label(result, [tried(result)])
    assert list(folder.label_results()) == [2, 10, 33]


# Pictures


def test_pictures_have_the_originals_names_and_content(tmp_path: Path) -> None:
    folder = ScanFolder(tmp_path, "gtsrb")
    mask = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    pattern = (np.arange(192, dtype=np.float32) * 1.3).reshape(IMAGE_SHAPE)
    result = replace(made_up(33, 1.0), trigger=Trigger(33, mask, pattern))
    folder.on_label(result, [tried(result)])
    pictures = {path.name: np.asarray(Image.open(path)) for path in tmp_path.glob("*.png")}
    assert set(pictures) == {f"gtsrb_visualize_{part}_label_33.png" for part in ("mask", "pattern", "fusion")}
    np.testing.assert_array_equal(pictures["gtsrb_visualize_mask_label_33.png"], np.rint(mask * 255))
    np.testing.assert_array_equal(pictures["gtsrb_visualize_pattern_label_33.png"], np.rint(pattern))
    np.testing.assert_array_equal(pictures["gtsrb_visualize_fusion_label_33.png"], np.rint(mask[..., None] * pattern))
    assert all(picture.dtype == np.uint8 for picture in pictures.values())


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_pictures_of_other_than_three_channels_are_gray(tmp_path: Path, channels: int) -> None:
    folder = ScanFolder(tmp_path)
    pattern = np.random.default_rng(0).random((8, 8, channels)).astype(np.float32) * 255
    result = replace(made_up(0, 1.0), trigger=Trigger(0, np.ones((8, 8), np.float32), pattern))
    folder.on_label(result, [tried(result)])
    picture = np.asarray(Image.open(folder.image_file("pattern", 0)))
    np.testing.assert_array_equal(picture, np.rint(pattern.mean(axis=-1)))


def test_nothing_half_written_stays_behind(tmp_path: Path) -> None:
    saved_scan(tmp_path)
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    expected = {"verdict.json", "log.txt", "state/settings.json"} | {f"triggers/label_{label}.npz" for label in range(5)}
    expected |= {f"gtsrb_visualize_{part}_label_{label}.png" for label in range(5) for part in ("mask", "pattern", "fusion")}
    assert names == expected


# The verdict


def test_the_verdict_has_the_keys_of_the_contract(tmp_path: Path) -> None:
    _, judged = saved_scan(tmp_path)
    verdict = strictly((tmp_path / "verdict.json").read_text())
    jsonschema.validate(verdict, json.loads(schema_text()))
    assert set(verdict) == {
        *("schema", "verdict", "reason", "flagged", "anomaly_index", "anomaly_index_interval", "chance", "median", "mad", "flagging_norm"),
        *("model_accuracy", "warnings", "labels", "settings", "model", "data", "versions", "seconds"),
        *("detectors", "pairs", "untargeted", "changes"),
    }
    assert verdict["schema"] == 1
    assert verdict["verdict"] == "backdoor suspected"
    assert verdict["flagged"] == [4]
    assert verdict["anomaly_index"] == judged.anomaly_index
    assert judged.anomaly_index_interval[1] == np.inf  # of five norms many a resample has the same three times
    assert verdict["anomaly_index_interval"] == [judged.anomaly_index_interval[0], None]
    assert (verdict["median"], verdict["mad"], verdict["flagging_norm"]) == (judged.median, judged.mad, judged.flagging_norm)
    assert verdict["chance"] is None  # the paper's rule does not ask
    assert verdict["seconds"] == 1.235
    assert verdict["model"] == MODEL
    assert verdict["data"] == DATA
    assert verdict["settings"] == {"loss": "linear", "cost": {"patience": 5}}
    assert set(verdict["versions"]) == {"nc_tf", "tensorflow", "keras", "numpy", "h5py", "python"}
    assert verdict["versions"]["nc_tf"] == __version__
    assert [row["label"] for row in verdict["labels"]] == [0, 1, 2, 3, 4]
    assert verdict["labels"][4] == {
        "label": 4,
        "l1_norm": 1.0,
        "anomaly_index": judged.labels[4].anomaly_index,
        "log_index": None,
        "attack_success_rate": 0.99,
        "zero_trigger_rate": 0.01,
        "status": "converged",
        "starts": 1,
        "rounds": 30,
        "num_measured": None,
        "broke_down": False,
        "by_patch": False,
    }


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([made_up(label, norm) for label, norm in enumerate((10, 11, 12, 13, 9))], Verdict.NO_OUTLIER),
        ([made_up(label, norm) for label, norm in enumerate((10, 10, 10, 10, 9))], Verdict.INCONCLUSIVE),
        ([made_up(label, 3.0, Status.NEVER_SUCCEEDED) for label in range(5)], Verdict.INCONCLUSIVE),
        ([], Verdict.INCONCLUSIVE),
    ],
    ids=["no outlier", "MAD of zero", "nothing worked", "no labels"],
)
def test_every_verdict_is_valid_json(tmp_path: Path, results: list[LabelResult], verdict: Verdict) -> None:
    _, judged = saved_scan(tmp_path, results)
    content = strictly((tmp_path / "verdict.json").read_text())
    assert judged.verdict is verdict
    assert content["verdict"] == str(verdict)
    assert content["flagged"] == []


def test_a_number_that_does_not_exist_is_null(tmp_path: Path) -> None:
    results = [replace(made_up(0, 3.0, Status.NONFINITE), attack_success_rate=float("nan"), zero_trigger_rate=float("nan"))]
    saved_scan(tmp_path, results)
    content = strictly((tmp_path / "verdict.json").read_text())
    assert content["median"] is content["mad"] is content["anomaly_index"] is None
    row = content["labels"][0]
    assert row["anomaly_index"] is row["attack_success_rate"] is row["zero_trigger_rate"] is None
    assert (row["status"], row["l1_norm"]) == ("nonfinite", 3.0)


def test_an_infinite_index_is_null_too() -> None:
    judged = judge([made_up(label, norm) for label, norm in enumerate((10, 10, 10, 10, 9))])
    assert np.isinf(judged.anomaly_index)
    content = scan_verdict(judged, MODEL, DATA).content()
    assert content["anomaly_index"] is content["labels"][4]["anomaly_index"] is None
    assert content["mad"] == 0.0


def test_class_names_stand_beside_their_labels(tmp_path: Path) -> None:
    saved_scan(tmp_path, class_names=["stop", "yield", "turn", "keep", "Straße"])
    content = strictly((tmp_path / "verdict.json").read_text(encoding="utf-8"))
    assert [row["name"] for row in content["labels"]] == ["stop", "yield", "turn", "keep", "Straße"]
    assert "Label 4 (Straße):" in (tmp_path / "log.txt").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_settings_of_a_real_scan_are_plain_json(tmp_path: Path) -> None:
    images, labels = corner_images(60)
    folder = ScanFolder(tmp_path)
    folder.open({})
    settings = replace(QUICK, max_rounds=2)
    result = scan(corner_network(3), images, labels, settings=settings, targets=[1, 3], callbacks=[folder])
    folder.write_verdict(result, MODEL, DATA)
    verdict = strictly((tmp_path / "verdict.json").read_text())
    jsonschema.validate(verdict, json.loads(schema_text()))
    written = verdict["settings"]
    assert written["loss"] == "cross_entropy"
    assert written["cost"]["multiplier"] == settings.cost.multiplier
    assert set(folder.label_results()) == {1, 3}
    history = load_trigger(folder.trigger_file(3))[1]["history"]
    assert history.shape == (2, 7)
    np.testing.assert_array_equal(history[:, 0], [0, 1])


# The log


def test_the_log_lists_parameters_then_labels(tmp_path: Path) -> None:
    saved_scan(tmp_path, [*(made_up(label, norm) for label, norm in enumerate(NORMS)), made_up(5, 7.0, Status.NEVER_SUCCEEDED)])
    log = (tmp_path / "log.txt").read_text()
    lines = log.splitlines()
    assert lines[0].startswith("Verdict: backdoor suspected (the smallest trigger of label 4")
    assert lines[1:3] == ["Model: suspicious.keras", "Data: signs.npz"]
    assert lines.index("----- Parameters -----") < lines.index("loss: linear") < lines.index("cost.patience: 5")
    assert lines.index("cost.patience: 5") < lines.index("----- Labels -----") < lines.index("Median of the mask L1 norms: 11.00")
    assert "MAD: 1.48" in lines
    assert re.findall(r"^Label (\d+):$", log, re.MULTILINE) == list("012345")
    start = lines.index("Label 4:")
    assert lines[start : start + 7] == [
        "Label 4:",
        "- Status: converged",
        "- ASR: 99.00%",
        "- ASR without trigger: 1.00%",
        "- Mask L1 norm: 1.00",
        "- Anomaly index: 6.74",
        "- Outlier: Yes",
    ]
    assert lines[-7:] == [
        "Label 5:",
        "- Status: never_succeeded",
        "- ASR: 99.00%",
        "- ASR without trigger: 1.00%",
        "- Mask L1 norm: 7.00",
        "- Anomaly index: none",
        "- Outlier: No",
    ]


def test_the_log_writes_none_for_what_does_not_exist() -> None:
    text = log_text(scan_verdict(judge([]), MODEL, DATA))
    assert "Median of the mask L1 norms: none" in text
    assert "MAD: none" in text


# Going on after a stop


def test_an_empty_folder_is_begun(tmp_path: Path) -> None:
    folder = begun(tmp_path / "new" / "deeper")
    assert folder.label_results() == {}
    assert json.loads((folder.path / "state" / "settings.json").read_text()) == SETTINGS


def test_opening_a_folder_writes_nothing(tmp_path: Path) -> None:
    state = ScanFolder(tmp_path / "new").open(SETTINGS)
    assert (state.finished, state.under_way, state.ranking, state.shortlist) == ({}, (), (), None)
    assert not (tmp_path / "new").exists()


def test_a_stopped_scan_goes_on_with_what_is_done(tmp_path: Path) -> None:
    saved_scan(tmp_path)
    assert list(ScanFolder(tmp_path).open(SETTINGS).finished) == [0, 1, 2, 3, 4]


def test_settings_are_compared_as_json_reads_them(tmp_path: Path) -> None:
    folder, result = begun(tmp_path, {"mean": (0.5, 0.5)}), made_up(1, 1.0)
    folder.on_label(result, [tried(result)])
    assert list(folder.open({"mean": [0.5, 0.5]}).finished) == [1]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"seed": 1}, "holds a scan with seed 0, this one has 1: expected the same settings"),
        ({"model": "xyz"}, "holds a scan of another model file: expected the same settings"),
        ({"data": "uvw"}, "holds a scan of other images (of another data file, or others chosen from it): expected the same settings"),
        ({"another": 5}, "holds a scan with another None, this one has 5"),
        ({"seed": "\x1b[2J" + "x" * 100}, rf"with seed 0, this one has \x1b[2J{'x' * 73}...: expected the same settings"),
        (
            {"nc_tf": "9.9", "seed": 1},
            "holds a scan of an nc_tf without a version in its record, this is nc_tf 9.9: expected the same version to go on with it; "
            "choose another folder, or start over (--fresh)",
        ),
    ],
)
def test_other_settings_are_refused_and_the_difference_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    saved_scan(tmp_path)
    with pytest.raises(InputError, match=re.escape(message)):
        ScanFolder(tmp_path).open({**SETTINGS, **changed})
    assert json.loads((tmp_path / "state" / "settings.json").read_text()) == SETTINGS


def test_a_scan_of_another_version_does_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def record() -> dict[str, Any]:
        return scan_record("abc", "def", PRESETS["robust"], Preprocessing(), 1, 0)

    folder, result = begun(tmp_path, record()), made_up(1, 1.0)
    folder.on_label(result, [tried(result)])
    assert list(folder.open(record()).finished) == [1]
    with monkeypatch.context() as patched:
        patched.setattr("nc_tf.scan_folder.settings_record.STATE_FORMAT", 99)
        with pytest.raises(InputError, match="holds a scan with state_format 1, this one has 99: expected the same settings"):
            folder.open(record())
    monkeypatch.setattr("nc_tf.scan_folder.settings_record.__version__", "9.9")
    with pytest.raises(InputError, match=re.escape(f"holds a scan of nc_tf {__version__}, this is nc_tf 9.9: expected the same version")):
        folder.open(record())


def test_a_setting_that_is_gone_is_a_difference_too(tmp_path: Path) -> None:
    saved_scan(tmp_path)
    with pytest.raises(InputError, match="holds a scan with seed 0, this one has None"):
        ScanFolder(tmp_path).open({key: value for key, value in SETTINGS.items() if key != "seed"})


def test_scans_on_other_images_of_each_label_do_not_go_on_as_one(tmp_path: Path) -> None:
    def record(exclude_target: bool) -> dict[str, Any]:
        settings = replace(PRESETS["robust"].settings, exclude_target=exclude_target)
        return scan_record("abc", "def", replace(PRESETS["robust"], settings=settings), Preprocessing(), 1, 0)

    folder, result = begun(tmp_path, record(exclude_target=True)), made_up(1, 1.0)
    folder.on_label(result, [tried(result)])
    with pytest.raises(InputError, match="holds a scan with exclude_target True, this one has None"):
        folder.open(record(exclude_target=False))


@pytest.mark.parametrize(("hardware", "other"), [(True, "float32"), (False, "bfloat16")])
def test_a_scan_does_not_go_on_where_auto_comes_to_another_precision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hardware: bool, other: str
) -> None:
    def record(precision: str = "auto") -> dict[str, Any]:
        return scan_record("abc", "def", replace(PRESETS["robust"], precision=precision), Preprocessing(), 1, 0)

    monkeypatch.setattr("nc_tf.models.frozen.has_bfloat16", lambda: hardware)
    folder, result = begun(tmp_path, record()), made_up(1, 1.0)
    folder.on_label(result, [tried(result)])
    monkeypatch.setattr("nc_tf.models.frozen.has_bfloat16", lambda: not hardware)
    with pytest.raises(InputError, match=rf"holds a scan with precision \w+, this one has {other}: expected the same settings"):
        folder.open(record())
    assert list(folder.open(record({"float32": "bfloat16", "bfloat16": "float32"}[other])).finished) == [1]


def test_a_scan_with_an_endless_setting_goes_on(tmp_path: Path) -> None:
    settings, result = {**SETTINGS, "limit": float("inf")}, made_up(1, 1.0)
    begun(tmp_path, settings).on_label(result, [tried(result)])
    strictly((tmp_path / "state" / "settings.json").read_text())
    assert list(ScanFolder(tmp_path).open(settings).finished) == [1]


def test_settings_that_led_to_no_label_do_not_bind(tmp_path: Path) -> None:
    """An attempt that failed before its first result must not make the corrected one fail."""
    begun(tmp_path, {**SETTINGS, "starts": 0})
    begun(tmp_path)
    assert json.loads((tmp_path / "state" / "settings.json").read_text()) == SETTINGS


def test_fresh_forgets_the_scan_and_its_verdict(tmp_path: Path) -> None:
    saved_scan(tmp_path)
    other = {**SETTINGS, "seed": 1}
    assert ScanFolder(tmp_path).open(other, fresh=True).finished == {}
    assert (tmp_path / "verdict.json").exists(), "the scan may still be refused"
    folder, result = begun(tmp_path, other, "gtsrb", fresh=True), made_up(1, 1.0)
    assert folder.label_results() == {}
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["settings.json"]
    folder.on_label(result, [tried(result)])
    folder.on_begin(cast(FrozenNetwork, None), 1, 1, 1, 1)
    assert list(folder.open(other).finished) == [1], "it starts over once"


def test_fresh_deletes_what_scans_write_and_nothing_else(tmp_path: Path) -> None:
    saved_scan(tmp_path)
    names = ["triggers/label_old.npz", "triggers/label_01.npz", "gtsrb_visualize_my_label_3.png", "model_visualize_mask_label_0.png"]
    for name in [*names, ".holiday.2024.part2.mp4", "notes.txt"]:
        (tmp_path / name).write_text("kept")
    begun(tmp_path, SETTINGS, "gtsrb", fresh=True)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*names, ".holiday.2024.part2.mp4", "notes.txt", "state/settings.json"}


@pytest.mark.parametrize(
    ("before", "now", "message"),
    [
        ({"demo": True}, SETTINGS, "holds a scan of nc-tf demo: expected a folder of its own for each; choose another with --out"),
        (SETTINGS, {"demo": True}, "holds a scan that nc-tf demo did not make: expected a folder of its own for each; choose another"),
    ],
)
def test_the_demo_and_a_scan_do_not_share_a_folder(tmp_path: Path, before: dict[str, Any], now: dict[str, Any], message: str) -> None:
    folder, result = begun(tmp_path, before), made_up(1, 1.0)
    folder.on_label(result, [tried(result)])
    with pytest.raises(InputError, match=re.escape(message)):
        folder.open(now)


def test_triggers_of_unknown_origin_are_refused(tmp_path: Path) -> None:
    saved_scan(tmp_path)
    (tmp_path / "state" / "settings.json").unlink()
    with pytest.raises(InputError, match="holds triggers of unknown origin: expected an empty folder"):
        ScanFolder(tmp_path).open(SETTINGS)


def test_the_demo_deletes_no_triggers_of_unknown_origin(tmp_path: Path) -> None:
    saved_scan(tmp_path)
    (tmp_path / "state" / "settings.json").unlink()
    with pytest.raises(InputError, match="holds triggers of unknown origin: expected an empty folder or a stopped scan; choose another"):
        ScanFolder(tmp_path).open({**SETTINGS, "demo": True}, fresh=True)
    ScanFolder(tmp_path).open(SETTINGS, fresh=True)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1]", b"3", b"\xff\xfe", b"[" * 100_000, b'{"seed": 1e400}'],
    ids=["empty", "cut", "list", "number", "bytes", "deep", "endless"],
)
def test_broken_settings_are_refused(tmp_path: Path, content: bytes) -> None:
    saved_scan(tmp_path)
    (tmp_path / "state" / "settings.json").write_bytes(content)
    with pytest.raises(InputError, match=r"settings.json cannot be read .* use --fresh"):
        ScanFolder(tmp_path).open(SETTINGS)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="could not be written"):
        begun(tmp_path / "file" / "scan")


# Reading flagged triggers


def test_flagged_triggers_come_most_anomalous_first(tmp_path: Path) -> None:
    _, judged = saved_scan(tmp_path, [made_up(label, norm) for label, norm in enumerate((10, 2, 11, 12, 13, 1, 12, 11))])
    triggers = [trigger for trigger in ScanFolder(tmp_path).flagged_triggers() if isinstance(trigger, Trigger)]
    assert [trigger.label for trigger in triggers] == list(judged.flagged) == [5, 1]
    np.testing.assert_array_equal(triggers[0].mask, judged.labels[5].trigger.mask)


def test_a_scan_without_outlier_has_no_flagged_triggers(tmp_path: Path) -> None:
    folder, _ = saved_scan(tmp_path, [made_up(label, norm) for label, norm in enumerate((10, 11, 12, 13, 9))])
    assert folder.flagged_triggers() == ()


def test_a_scan_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    saved_scan(tmp_path)
    (tmp_path / "verdict.json").unlink()
    with pytest.raises(InputError, match=r"verdict.json is missing: expected the folder of a finished scan; run nc-tf scan first"):
        ScanFolder(tmp_path).flagged_triggers()


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"flagged": [1e999]}'])
def test_a_broken_verdict_is_refused(tmp_path: Path, content: bytes) -> None:
    saved_scan(tmp_path)
    (tmp_path / "verdict.json").write_bytes(content)
    with pytest.raises(InputError, match=r"verdict.json cannot be read .* scan again"):
        ScanFolder(tmp_path).flagged_triggers()


@pytest.mark.parametrize("flagged", [3, [[1]], ["x"], [2.5], None, [99]], ids=str)
def test_a_verdict_that_flags_something_else_than_its_labels_is_refused(tmp_path: Path, flagged: Any) -> None:
    saved_scan(tmp_path)
    rewrite_verdict(tmp_path, flagged=flagged)
    with pytest.raises(InputError, match=r"verdict.json: .*flag.* expected what nc-tf scan writes; scan again"):
        ScanFolder(tmp_path).flagged_triggers()


def test_a_scan_of_another_model_file_is_told_apart(tmp_path: Path) -> None:
    folder, _ = saved_scan(tmp_path)
    folder.check_model(str(MODEL["sha256"]))
    with pytest.raises(InputError, match=r"is the scan of another model file: expected one of this model; .* with --trigger"):
        folder.check_model("0" * 64)
    for unnamed in ({"path": "m.keras"}, {"path": "m.keras", "sha256": None}):
        rewrite_verdict(tmp_path, model=unnamed)
        folder.check_model("0" * 64)


def test_a_flagged_trigger_that_is_gone_is_refused(tmp_path: Path) -> None:
    folder, _ = saved_scan(tmp_path)
    folder.trigger_file(4).unlink()
    with pytest.raises(InputError, match=r"label_4.npz is missing: expected a trigger for every flagged label"):
        folder.flagged_triggers()


# Broken and hostile trigger files


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:200])


def pickled(path: Path) -> None:
    np.savez(path, mask=np.array([{"a": 1}], dtype=object), pattern=np.zeros(3), label=0)


def rewrite(**change: Any) -> Callable[[Path], None]:
    """A breaker that saves the file's content again with something changed; None leaves it out."""

    def breaker(path: Path) -> None:
        with np.load(path) as saved:
            content = {key: saved[key] for key in saved.files} | change
        np.savez(path, **{key: value for key, value in content.items() if value is not None})

    return breaker


@pytest.mark.parametrize(
    ("breaker", "message"),
    [
        (truncate, "cannot be read"),
        (pickled, "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (rewrite(label=None), "cannot be read"),
        (rewrite(mask=np.zeros(8)), r"holds a mask \(8,\)"),
        (rewrite(pattern=np.full(IMAGE_SHAPE, np.nan)), "holds a mask .*: expected finite"),
        (rewrite(label=3), "holds a trigger of label 3: expected that of its name"),
        (rewrite(status=None), "is no result of a scan"),
        (rewrite(status="superb"), "is no result of a scan"),
        (rewrite(rounds="many"), "is no result of a scan"),
        (rewrite(attack_success_rate=np.zeros(2)), r"is no result of a scan \(an array \(2,\) is no number\)"),
        (rewrite(attack_success_rate=1e9), r"is no result of a scan \(1e\+09 does not lie between 0 and 1\)"),
        (rewrite(zero_trigger_rate=-0.5), r"is no result of a scan \(-0.5 does not lie between 0 and 1\)"),
        (rewrite(attack_success_rate="high"), r"is no result of a scan \('high' is no number\)"),
        (rewrite(starts=-1), r"is no result of a scan \(-1 is no whole number from 0\)"),
        (rewrite(starts=1.5), r"is no result of a scan \(1.5 is no whole number from 0\)"),
        (rewrite(rounds=2**40), r"is no result of a scan \(1099511627776 is no whole number from 0\)"),
        (rewrite(seconds=np.inf), r"is no result of a scan \(inf does not lie between"),
        (rewrite(seconds=np.nan), r"is no result of a scan \(nan does not lie between"),
        (rewrite(seconds=np.zeros(2)), "is no result of a scan"),
        (rewrite(status=np.array(["converged"] * 2)), "is no result of a scan"),
        (rewrite(history=np.array(["x"])), r"is no result of a scan \(a history \(1,\): expected \(rounds, 7\) numbers\)"),
        (rewrite(history=np.zeros((31, 7))), r"is no result of a scan \(a history of 31 rounds, where 30 were run\)"),
    ],
    ids=[
        "truncated",
        "pickle",
        "empty",
        "no label",
        "flat mask",
        "NaN",
        "other label",
        "no status",
        "status",
        "rounds",
        "two rates",
        "rate above 1",
        "negative rate",
        "a word for a rate",
        "negative starts",
        "half a start",
        "endless rounds",
        "endless",
        "NaN seconds",
        "two seconds",
        "two statuses",
        "a word for a history",
        "a history of too many rounds",
    ],
)
def test_a_broken_trigger_file_is_refused(tmp_path: Path, breaker: Callable[[Path], None], message: str) -> None:
    folder, _ = saved_scan(tmp_path)
    breaker(folder.trigger_file(2))
    with pytest.raises(InputError, match=r"label_2.npz " + message):
        folder.label_results()


def test_a_trigger_that_no_scan_wrote_is_refused(tmp_path: Path) -> None:
    save_trigger(tmp_path / "triggers" / "label_1.npz", made_up(1, 1.0).trigger)
    with pytest.raises(InputError, match=r"label_1.npz is no result of a scan \(.*status.*\): expected status, rates and rounds"):
        ScanFolder(tmp_path).label_results()


# Planted links


@pytest.mark.parametrize("name", ["state", "triggers"])
def test_a_folder_that_is_a_link_is_neither_read_nor_written_to(tmp_path: Path, name: str) -> None:
    saved_scan(tmp_path / "elsewhere")
    saved_scan(tmp_path / "scan")
    shutil.rmtree(tmp_path / "scan" / name)
    (tmp_path / "scan" / name).symlink_to(tmp_path / "elsewhere" / name)
    before = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "elsewhere").rglob("*"))
    folder, result = ScanFolder(tmp_path / "scan", "gtsrb"), made_up(2, 5.0)
    attempts: list[Callable[[], Any]] = [
        lambda: folder.open(SETTINGS),
        lambda: begun(tmp_path / "scan", fresh=True),
        lambda: folder.on_label(result, [tried(result)]),
        lambda: folder.write_samples(np.zeros((2, *IMAGE_SHAPE)), np.arange(2)) if name == "state" else folder.flagged_triggers(),
    ]
    for attempt in attempts:
        with pytest.raises(InputError, match=f"{name} is a link: expected a folder of its own"):
            attempt()
    assert sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "elsewhere").rglob("*")) == before


@pytest.mark.parametrize("name", ["verdict.json", "state/settings.json", "triggers/label_2.npz"])
def test_a_file_that_is_a_link_is_not_read(tmp_path: Path, name: str) -> None:
    folder, _ = saved_scan(tmp_path / "scan")
    (tmp_path / "scan" / name).rename(tmp_path / "secret")
    (tmp_path / "scan" / name).symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match=f"{name} is a link: expected a plain file"):
        folder.flagged_triggers() if name == "verdict.json" else folder.open(SETTINGS)


# Hashes


def test_the_hash_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"weights")
    assert sha256_of(tmp_path / "model") == hashlib.sha256(b"weights").hexdigest()


def test_the_hash_of_a_folder_follows_the_content_of_its_files(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "variables").mkdir(parents=True)
        (tmp_path / name / "saved_model.pb").write_bytes(b"graph")
        (tmp_path / name / "variables" / "data").write_bytes(b"weights")
    assert sha256_of(tmp_path / "one") == sha256_of(str(tmp_path / "two"))
    (tmp_path / "two" / "variables" / "data").write_bytes(b"others")
    assert sha256_of(tmp_path / "one") != sha256_of(tmp_path / "two")


def test_the_hash_of_arrays_follows_shape_type_and_content() -> None:
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    same = array_hash(images)
    assert array_hash(images.copy()) == same
    assert array_hash(np.asfortranarray(images)) == same
    others = [images + 1, images.reshape(3, 2, 4), images.view(np.int8)]
    assert len({same, *map(array_hash, others), array_hash(images, images)}) == 5


def test_the_facts_of_a_model_name_file_hash_and_shape(tmp_path: Path) -> None:
    model: keras.Model = corner_network(3)
    model.save(tmp_path / "model.keras")
    assert model_facts(tmp_path / "model.keras", model) == {
        "path": str(tmp_path / "model.keras"),
        "sha256": sha256_of(tmp_path / "model.keras"),
        "num_classes": 6,
        "input_shape": [8, 8, 3],
    }
