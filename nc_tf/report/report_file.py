"""`report.html`, made from the other files of a scan folder: the verdict, the triggers, and a few images."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nc_tf.errors import InputError
from nc_tf.report.changes import shown_changes
from nc_tf.report.commands import commands
from nc_tf.report.page import report_html, shown_labels
from nc_tf.report.pairs import shown_sources
from nc_tf.results import FoundTrigger
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.label_files import load_saved_change, load_source, load_untargeted
from nc_tf.scan_folder.settings_record import DEMO, MOST_BYTES
from nc_tf.storage.files import plain, subfolder, write_text
from nc_tf.storage.json_file import parse_json
from nc_tf.storage.npz_file import npz_arrays
from nc_tf.storage.saved_numbers import history_of
from nc_tf.storage.trigger_file import load_trigger
from nc_tf.storage.verdict_file import read_verdict

REPORT = "report.html"
MOST_SAMPLES = 64


def write_report(folder_path: str | Path) -> Path:
    """Write `report.html` into the folder of a finished scan, and return its path.

    Sample images to stamp the triggers on are read from `state/samples.npz`: `images` (n, H, W, C) or clips (n, T, H, W, C) in [0, 255],
    and `labels` (n,). Without that file the page shows the triggers on gray.

    Raises:
        InputError: there is no finished scan, or one of its files is missing or cannot be read.
    """
    folder = ScanFolder(folder_path)
    verdict = read_verdict(folder.path / "verdict.json")
    triggers, histories = {}, {}
    for label in shown_labels(verdict):
        file = folder.trigger_file(label)
        triggers[label], saved = load_trigger(plain(file))
        if triggers[label].label != label:
            raise InputError(f"{file} holds a trigger of label {triggers[label].label}: expected that of its name; scan again")
        try:
            if "history" in saved:
                histories[label] = history_of(saved["history"])
        except ValueError as error:
            raise InputError(f"{file} holds {error}; scan again") from error
    image_shape = next((trigger.image_shape for trigger in triggers.values()), ())
    state = subfolder(folder.path, "state")
    file, files = folder.all_to_all_file, folder.triggers
    all_to_all = load_untargeted(file)[0] if verdict.untargeted and file.exists() else None
    sources = {source: load_source(files.source(source))[0].trigger for source in shown_sources(verdict)}
    changes = {key: load_saved_change(files.change(*key))[0].trigger for key in shown_changes(verdict) if files.change(*key).exists()}
    shown: list[tuple[Path, FoundTrigger]] = [(folder.trigger_file(label), trigger) for label, trigger in triggers.items()]
    shown += [(files.change(*key), trigger) for key, trigger in changes.items()]
    shown += [(files.source(source), trigger) for source, trigger in sources.items()]
    shown += [(file, all_to_all.trigger)] if all_to_all else []
    _refuse_other_shapes(shown)
    page = report_html(
        verdict,
        triggers,
        histories=histories,
        samples=_read_samples(state / "samples.npz", image_shape) if triggers else None,
        commands=commands(verdict, str(folder_path), demo=_is_demo(state / "settings.json")),
        all_to_all=all_to_all,
        sources=sources,
        changes=changes,
    )
    path = folder.path / REPORT
    write_text(path, page)
    return path


def _refuse_other_shapes(shown: Sequence[tuple[Path, FoundTrigger]]) -> None:
    """Raise an error where triggers are for images of several shapes."""
    for file, trigger in shown:
        expected = shown[0][1].image_shape
        if trigger.image_shape != expected:
            raise InputError(f"{file} is for images {trigger.image_shape}: expected {expected}, those of {shown[0][0].name}; scan again")


def _read_samples(path: Path, image_shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return sample images and their classes; None where the folder has none."""
    if not path.exists():
        return None
    expected = f"expected images (n, {', '.join(map(str, image_shape))}) or clips of such frames, and labels (n,)"
    plain(path)
    try:
        with npz_arrays(path) as (_, load):
            images, labels = (load(name, lambda number: np.arange(min(number, MOST_SAMPLES))) for name in ("images", "labels"))
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
    """Return whether the folder has the mark of `nc-tf demo`."""
    try:
        settings = parse_json(plain(path, MOST_BYTES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(settings, dict) and settings.get(DEMO) is True
