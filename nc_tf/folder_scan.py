"""The resumable scan into a folder, with its report."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nc_tf.datasets.checks import check_images
from nc_tf.datasets.labelled import LabelledImages
from nc_tf.datasets.read import read
from nc_tf.errors import InputError
from nc_tf.models.adapting import adapt_to
from nc_tf.models.loading.load import load_model
from nc_tf.models.random_state import random_state_kept
from nc_tf.report.report_file import write_report
from nc_tf.results import ScanResult, Unit
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.settings_record import DEMO, array_hash, model_facts, scan_record, source_record
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.options import ScanOptions
from nc_tf.scanning.plan import make_plan
from nc_tf.scanning.scan import run_plan
from nc_tf.storage.folder_lock import locked
from nc_tf.storage.verdict_schema import NO_DATA_FILE

Around = Callable[[Callable[[], ScanResult]], ScanResult]


def directly(work: Callable[[], ScanResult]) -> ScanResult:
    """Return what `work` returns."""
    return work()


@random_state_kept()
def scan_to_folder(
    out: str | Path,
    model: str | Path | keras.Model,
    data: str | Path | LabelledImages | tuple[np.ndarray, np.ndarray | None],
    *,
    options: ScanOptions | None = None,
    unseen: tuple[np.ndarray, np.ndarray] | None = None,
    fresh: bool = False,
    callbacks: Sequence[ScanCallback] = (),
    model_file: str | Path | None = None,
    data_file: str | Path | None = None,
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
        data: file or folder of clean images (docs/reference/data-files.md), labelled images, or raw images and their classes, which
            may be None, as `nc_tf.scan` takes both.
        options: how to scan; None is `ScanOptions()`.
        unseen: held-out images and their classes, on which triggers are measured; None holds out a part of `data`.
        fresh: start over, whatever the folder holds.
        callbacks: progress, drawing.
        model_file: file that `model` was read from, for the record; a model without a file is identified by its weights.
        data_file: file or folder that `data` was read from, likewise, or words for their source.
        name: beginning of the pictures' file names.
        demo: whether this is the scan of `nc-tf demo`, whose folder holds no other, even with `fresh`.
        around: calls the scan and returns what it returns; a command runs it in a thread, so that Ctrl-C ends it at once.

    Returns:
        The result, as `nc_tf.scan` returns it.

    Raises:
        InputError: as `nc_tf.scan`; `model_file` is missing; the folder lies in the data, holds another scan, or one that runs now, or
            cannot be written.
    """
    began, options = time.perf_counter(), options or ScanOptions()
    _check_sources(out, model_file, data if isinstance(data, str | Path) else data_file)
    if isinstance(model, str | Path):
        model, model_file = load_model(model), model
    if isinstance(data, str | Path):
        data_file, data = data, read(data, seed=options.seed, image_shape=model.input_shape[1:])
    images, labels = data if isinstance(data, tuple) else (data.images, data.labels)
    named, account = None if data_file is None else str(data_file), None if isinstance(data, tuple) else data
    source, folder = _Source(model, model_file, images, labels, named, unseen, account), ScanFolder(out, name)
    with locked(out):
        return around(lambda: _scan(source, folder, options, callbacks, fresh=fresh, demo=demo, began=began))


def _scan(
    source: "_Source", folder: ScanFolder, options: ScanOptions, callbacks: Sequence[ScanCallback], *, fresh: bool, demo: bool, began: float
) -> ScanResult:
    """Plan, search, and write the folder."""
    source = source.checked()
    facts, data_facts = model_facts(source.model_file, source.model), source.data_facts()
    model_hash, data_hash = facts.get("sha256") or array_hash(*source.model.get_weights()), data_facts["sha256"]
    marks = {key: facts[key] for key in ("adapted",) if key in facts} | ({DEMO: True} if demo else {})
    folder.refuse_other(source_record(model_hash, data_hash, options.upsample_size, options.seed) | marks, fresh=fresh)
    plan = make_plan(source.model, source.images, source.labels, options, source.unseen, name=source.data_file)
    of_task = plan.preset, plan.task.preprocess, options.upsample_size, options.seed
    detectors = None if plan.options.detectors is None else plan.detectors
    asked = scan_record(model_hash, data_hash, *of_task, best=options.best, per_frame=options.per_frame, detectors=detectors) | marks
    result = run_plan(plan, folder.open(asked, fresh=fresh, began=began), [folder, *callbacks], began)
    folder.write_samples(source.images, np.asarray(plan.task.labels))  # without given classes the model's own answers
    names = source.account.names_for(plan.task.network.num_classes) if source.account else None
    folder.write_verdict(result, facts, data_facts, names)
    write_report(folder.path)
    return result


def _check_sources(out: str | Path, model_file: str | Path | None, data_file: str | Path | None) -> None:
    """Refuse a model file that is missing, and a scan folder inside the data.

    The folder would be read as a class next time.
    """
    if model_file is not None and not Path(model_file).exists():
        raise InputError(f"{model_file} is missing: expected the file of the model; leave model_file out where there is none")
    if data_file is not None and Path(data_file).is_dir() and Path(out).resolve().is_relative_to(Path(data_file).resolve()):
        raise InputError(f"{out} lies in the data, {data_file}, and would be read as a class: expected a folder outside; choose another")


@dataclass(frozen=True, eq=False)
class _Source:
    """Model and images of a scan, and where they come from.

    Attributes:
        model: the classifier.
        model_file: its file; None where it has none.
        images: (N, H, W, C) or (N, T, H, W, C).
        labels: (N,) their classes; None where they are not given.
        data_file: their file or folder; None where they have none.
        unseen: held-out images and their classes, if they are given apart.
        account: the images with the account of their source; None for arrays.
    """

    model: keras.Model
    model_file: str | Path | None
    images: np.ndarray
    labels: np.ndarray | None
    data_file: str | None
    unseen: tuple[np.ndarray, np.ndarray] | None
    account: LabelledImages | None

    def checked(self) -> "_Source":
        """Return it with the model as it is scanned, and with images and classes in one form.

        Raises:
            InputError: as `make_plan`.
        """
        model = adapt_to(self.model, np.shape(self.images)[1:])
        of_model: dict[str, Any] = {"image_shape": model.input_shape[1:], "num_classes": model.output_shape[-1]}
        images, labels = check_images(self.images, self.labels, name=self.data_file, **of_model)
        held_out = f"held-out {Unit.of(images.shape[1:]).many}"
        unseen = None if self.unseen is None else check_images(*self.unseen, name=held_out, **of_model)
        return replace(self, model=model, images=images, labels=labels, unseen=unseen)

    def data_facts(self) -> dict[str, Any]:
        """Return what `verdict.json` says of the images."""
        arrays = [array for array in (self.images, self.labels, *(self.unseen or ())) if array is not None]
        facts: dict[str, Any] = {"path": self.data_file or NO_DATA_FILE, "sha256": array_hash(*arrays), "num_images": len(self.images)}
        return facts | (_left_out(self.account) if self.account else {})


def _left_out(data: LabelledImages) -> dict[str, Any]:
    """Return what `verdict.json` says of images that were left out, and of the order of classes."""
    facts: dict[str, Any] = {}
    if data.available not in (None, len(data.images)):
        facts["available"] = data.available
    if data.left_out:
        facts["left_out"] = list(data.left_out)
    if data.label_order != "number":
        facts["label_order"] = data.label_order
    return facts
