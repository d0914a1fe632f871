"""`report.html` out of what else lies in a scan folder: the verdict, the triggers, and a few of the images."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from nc_tf.errors import InputError
from nc_tf.report.commands import commands
from nc_tf.report.page import report_html, shown_labels
from nc_tf.results import Status, Verdict
from nc_tf.scan_folder.folder import MOST_BYTES, ScanFolder
from nc_tf.scan_folder.settings_record import DEMO
from nc_tf.storage.files import plain, subfolder, whole_file
from nc_tf.storage.npz_file import npz_arrays
from nc_tf.storage.saved_numbers import history_of
from nc_tf.storage.trigger_file import load_trigger
from nc_tf.storage.verdict_file import SCHEMA, read_verdict

REPORT = "report.html"
MOST_SAMPLES = 64
_NUMBER = (int, float, type(None))
# What the page reads, and of which type it must be; what is newer than the first schema 1 may be missing.
_VERDICT = {
    "verdict": str,
    "reason": str,
    "flagged": list,
    "anomaly_index": _NUMBER,
    "median": _NUMBER,
    "mad": _NUMBER,
    "labels": list,
    "settings": dict,
    "model": dict,
    "data": dict,
    "versions": dict,
    "seconds": _NUMBER,
}
_LATER = {
    "flagging_norm": _NUMBER,
    "chance": _NUMBER,
    "anomaly_index_interval": (list, type(None)),
    "model_accuracy": _NUMBER,
    "warnings": list,
}
_LABEL = {
    "label": int,
    "l1_norm": _NUMBER,
    "anomaly_index": _NUMBER,
    "attack_success_rate": _NUMBER,
    "zero_trigger_rate": _NUMBER,
    "status": str,
    "starts": int,
    "rounds": int,
}
_LABEL_LATER = {"name": str, "log_index": _NUMBER}
_MODEL = {"path": str}
_MODEL_LATER = {"num_classes": int, "input_shape": list, "own_input_shape": list, "adapted": str, "output": str, "weights_of": str}
_DATA = {"path": str}
_SETTINGS_LATER = {"seed": int, "cost": dict, "upsample_size": int, "labels_ranked": int}


def write_report(folder_path: str | Path) -> Path:
    """Write `report.html` into the folder of a finished scan, and return its path.

    Sample images to stamp the triggers on are read from `state/samples.npz`: `images` (n, H, W, C) or clips (n, T, H, W, C) in [0, 255],
    and `labels` (n,). Without that file the page shows the triggers on gray.

    Raises:
        InputError: there is no finished scan, or one of its files is missing or cannot be read.
    """
    folder = ScanFolder(folder_path)
    verdict = _read_verdict(folder.path / "verdict.json")
    triggers, histories = {}, {}
    for label in shown_labels(verdict):
        file = folder.trigger_file(label)
        triggers[label], saved = load_trigger(plain(file))
        if triggers[label].label != label:
            raise InputError(f"{file} holds a trigger of label {triggers[label].label}: expected that of its name; scan again")
        try:
            histories[label] = history_of(saved["history"]) if "history" in saved else np.zeros((0, 7))
        except ValueError as error:
            raise InputError(f"{file} holds {error}; scan again") from error
    image_shape = next((trigger.pattern.shape for trigger in triggers.values()), ())
    state = subfolder(folder.path, "state")
    page = report_html(
        verdict,
        triggers,
        histories=histories,
        samples=_read_samples(state / "samples.npz", image_shape) if triggers else None,
        commands=commands(verdict, str(folder_path), demo=_is_demo(state / "settings.json")),
    )
    path = folder.path / REPORT
    with whole_file(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return path


def _read_verdict(path: Path) -> dict[str, Any]:
    verdict = read_verdict(path)
    wrong = _complaint(verdict)
    if wrong:
        raise InputError(f"{path}: {wrong}; expected what nc-tf scan writes; scan again")
    return verdict


def _complaint(verdict: dict[str, Any]) -> str | None:
    """What is wrong with the content of a `verdict.json`, if anything is."""
    if not isinstance(verdict.get("schema"), int):
        return "it has no schema"
    if not 1 <= verdict["schema"] <= SCHEMA:
        return f"it has schema {verdict['schema']}, and this nc_tf knows those up to {SCHEMA}"
    wrong = _mistyped(verdict, _VERDICT, _LATER) or _mistyped(verdict["settings"], {}, _SETTINGS_LATER)
    wrong = wrong or _mistyped(verdict["settings"].get("cost", {}), {}, {"threshold": _NUMBER})
    wrong = wrong or _mistyped(verdict["model"], _MODEL, _MODEL_LATER, "of the model ")
    wrong = wrong or _mistyped(verdict["data"], _DATA, {}, "of the data ")
    for row in () if wrong else verdict["labels"]:
        wrong = wrong or (_mistyped(row, _LABEL, _LABEL_LATER) if isinstance(row, dict) else "a label is no object")
    if wrong:
        return wrong
    if verdict["verdict"] not in list(Verdict):
        return f"its verdict is {verdict['verdict']!r}"
    labels = [row["label"] for row in verdict["labels"]]
    if not labels or len(set(labels)) < len(labels):
        return "it has no labels, or one of them twice"
    if any(row["status"] not in list(Status) for row in verdict["labels"]):
        return "the status of a label is unknown"
    interval = verdict.get("anomaly_index_interval")
    if interval is not None and (len(interval) != 2 or not all(isinstance(end, _NUMBER) for end in interval)):
        return "its anomaly_index_interval is no pair of numbers"
    unknown = [label for label in verdict["flagged"] if label not in labels]
    return f"it flags {unknown}, which it does not list" if unknown else None


def _mistyped(values: dict[str, Any], required: dict[str, Any], optional: dict[str, Any], what: str = "") -> str | None:
    missing = [key for key in required if key not in values]
    if missing:
        return f"{what}{missing[0]} is missing"
    kinds = {**required, **{key: kind for key, kind in optional.items() if key in values}}
    wrong = [key for key, kind in kinds.items() if not isinstance(values[key], kind) or isinstance(values[key], bool)]
    return f"{what}{wrong[0]} is of the wrong type" if wrong else None


def _read_samples(path: Path, image_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """Images and classes; None where the folder has none."""
    if not path.exists():
        return None
    expected = f"expected images (n, {', '.join(map(str, image_shape))}) or clips of such frames, and labels (n,)"
    plain(path)
    try:
        with npz_arrays(path) as (_, load):
            images, labels = load("images")[:MOST_SAMPLES], load("labels")[:MOST_SAMPLES]
    except Exception as error:  # NumPy and zipfile raise half a dozen kinds for a broken file
        raise InputError(f"{path} cannot be read ({error}): {expected}; delete it for a page without") from error
    numbers = images.dtype.kind in "uif" and labels.dtype.kind in "ui"
    fitting = images.shape[1:][-len(image_shape) :] == image_shape and labels.shape == images.shape[:1] and images.size > 0
    if not numbers or not fitting:
        raise InputError(f"{path} holds images {images.shape} and labels {labels.shape}: {expected}; delete it for a page without")
    low, high = images.min(), images.max()
    if not 0 <= low <= high <= 255:  # also of NaN
        raise InputError(f"{path} holds images from {low:g} to {high:g}: expected raw pixels in [0, 255]; delete it for a page without")
    return images, labels


def _is_demo(path: Path) -> bool:
    """Whether the folder is that of `nc-tf demo`, which leaves this mark."""
    try:
        settings = json.loads(plain(path, MOST_BYTES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(settings, dict) and settings.get(DEMO) is True
