"""The resumable scan into a folder, with its report."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nc_tf.datasets.labelled import LabelledImages
from nc_tf.datasets.read import read
from nc_tf.errors import InputError
from nc_tf.models.loading.load import load_model
from nc_tf.models.random_state import random_state_kept
from nc_tf.report.report_file import write_report
from nc_tf.results import ScanResult
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.settings_record import DEMO, array_hash, model_facts, scan_record
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.options import ScanOptions
from nc_tf.scanning.plan import make_plan
from nc_tf.scanning.scan import run_plan
from nc_tf.storage.folder_lock import locked

# Names of a source that is no file, in the record and the report; the command line uses the same.
MODEL, DATA = "MODEL", "DATA"

Around = Callable[[Callable[[], ScanResult]], ScanResult]


def directly(search: Callable[[], ScanResult]) -> ScanResult:
    """Return what the search returns."""
    return search()


@random_state_kept()
def scan_to_folder(
    out: str | Path,
    model: str | Path | keras.Model,
    data: str | Path | LabelledImages | tuple[np.ndarray, np.ndarray],
    *,
    options: ScanOptions | None = None,
    unseen: tuple[np.ndarray, np.ndarray] | None = None,
    fresh: bool = False,
    callbacks: Sequence[ScanCallback] = (),
    model_file: str | Path | None = None,
    data_file: str | Path = DATA,
    name: str = "model",
    demo: bool = False,
    around: Around = directly,
) -> ScanResult:
    """Scan a model into a folder, or go on with its scan.

    The folder holds `verdict.json`, `report.html`, `triggers/`, pictures and `log.txt`. Finished labels and checkpoints of the others are
    saved at once, so that the same call after a stop repeats next to nothing.

    Args:
        out: the scan folder; it is made where it is missing.
        model: file of a model, which runs nothing that is in it (`nc_tf.load_model`), or a model.
        data: file or folder of clean images (docs/reference/data-files.md), labelled images, or (N, H, W, C) raw images and (N,) classes.
        options: how to scan; None is `ScanOptions()`.
        unseen: held-out images and their classes, on which triggers are measured; None holds out a part of `data`.
        fresh: start over, whatever the folder holds.
        callbacks: progress, drawing.
        model_file: file that `model` was read from, for the record; a model without a file is identified by its weights.
        data_file: file or folder that `data` was read from, likewise.
        name: beginning of the pictures' file names.
        demo: whether this is the scan of `nc-tf demo`, whose folder holds no other, even with `fresh`.
        around: calls the search and returns what it returns; a command runs it in a thread, so that Ctrl-C ends it at once.

    Returns:
        The result, as `nc_tf.scan` returns it.

    Raises:
        InputError: as `nc_tf.scan`; the folder holds another scan, or one that runs now; or it cannot be written.
    """
    began, options = time.perf_counter(), options or ScanOptions()
    if isinstance(model, str | Path):
        model, model_file = load_model(model), model
    if isinstance(data, str | Path):
        data_file, loaded = data, read(data, seed=options.seed, image_shape=model.input_shape[1:])
    else:
        loaded = LabelledImages(*data) if isinstance(data, tuple) else data
    _check_outside(out, data_file)
    with locked(out):
        plan = make_plan(model, loaded.images, loaded.labels, options, unseen, name=str(data_file))
        facts, data_hash = _facts_of(plan.task.model, model_file), array_hash(loaded.images, loaded.labels, *(unseen or ()))
        of_task = plan.preset, plan.task.preprocess, options.upsample_size, options.seed
        asked = scan_record(facts["sha256"], data_hash, *of_task, best=options.best, per_frame=options.per_frame)
        asked |= {key: facts[key] for key in ("adapted",) if key in facts} | ({DEMO: True} if demo else {})
        folder = ScanFolder(out, name)
        state = folder.open(asked, fresh=fresh)
        result = around(lambda: run_plan(plan, state, [folder, *callbacks], began))
        folder.write_samples(loaded.images, loaded.labels)
        names = loaded.class_names if loaded.class_names and len(loaded.class_names) == plan.task.network.num_classes else None
        folder.write_verdict(result, facts, _data_facts(loaded, data_file, data_hash), names)
        write_report(out)
    return result


def _check_outside(out: str | Path, data_file: str | Path) -> None:
    """Refuse a scan folder inside the data.

    It would be read as a class next time.
    """
    if Path(data_file).is_dir() and Path(out).resolve().is_relative_to(Path(data_file).resolve()):
        raise InputError(f"{out} lies in the data, {data_file}, and would be read as a class: expected a folder outside; choose another")


def _facts_of(model: keras.Model, model_file: str | Path | None) -> dict[str, Any]:
    """Return the facts of the model for `verdict.json`."""
    return model_facts(model_file or MODEL, model, None if model_file else array_hash(*model.get_weights()))


def _data_facts(data: LabelledImages, data_file: str | Path, data_hash: str) -> dict[str, Any]:
    """Return the facts of the data for `verdict.json`."""
    facts: dict[str, Any] = {"path": str(data_file), "sha256": data_hash, "num_images": len(data.images)}
    if data.available not in (None, len(data.images)):
        facts["available"] = data.available
    if data.left_out:
        facts["left_out"] = list(data.left_out)
    if data.label_order != "number":
        facts["label_order"] = data.label_order
    return facts
