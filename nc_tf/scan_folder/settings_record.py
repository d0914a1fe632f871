"""Record of the settings of a scan, as plain JSON values.

A stopped scan goes on only with the same settings.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import numpy as np

from nc_tf._version import __version__
from nc_tf.errors import InputError, printable
from nc_tf.inversion.step import SearchSettings
from nc_tf.models.adapting import what_was_adapted
from nc_tf.models.frozen import resolve_precision
from nc_tf.preprocessing import Preprocessing
from nc_tf.scan_folder.state_files import STATE_FORMAT
from nc_tf.scanning.presets import Preset
from nc_tf.storage.files import plain
from nc_tf.storage.json_file import parse_json
from nc_tf.storage.verdict_schema import NO_MODEL_FILE

# The mark of `nc-tf demo` in the settings of a scan.
DEMO = "demo"
# The key of the version; a difference in it is named first, because other differences may follow from it.
VERSION = "nc_tf"
LONGEST = 80
# Settings have a few dozen keys.
MOST_BYTES = 2**20
# Settings that are hashes, and what a difference means.
HASHES = {"model": "of another model file", "data": "of other images (of another data file, or others chosen from it)"}


def sha256_of(path: str | Path) -> str:
    """Return the hash of a file or a folder.

    For a folder it is the hash of its files' hashes, in the order of their names.
    """
    path = Path(path)
    if path.is_dir():
        return hashlib.sha256("".join(sha256_of(file) for file in sorted(path.rglob("*")) if file.is_file()).encode()).hexdigest()
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def source_record(model_hash: str, data_hash: str, upsample_size: int, seed: int) -> dict[str, Any]:
    """Return the part of `scan_record` that is known before a scan is planned.

    Args:
        model_hash: hash of the model's file, or of its weights where it has none.
        data_hash: hash of images and classes.
        upsample_size: side of the mask's super-pixels, pixels.
        seed: of the scan.
    """
    versions = {VERSION: __version__, "state_format": STATE_FORMAT}
    return {**versions, "model": model_hash, "data": data_hash, "upsample_size": upsample_size, "seed": seed}


def scan_record(
    model_hash: str,
    data_hash: str,
    preset: Preset,
    preprocess: Preprocessing,
    upsample_size: int,
    seed: int,
    *,
    best: str = "norm",
    per_frame: bool = False,
    detectors: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Return all that the outcome of a label depends on.

    Each part has a key of its own, so that a difference can be named.

    The precision is the one used on this machine: "auto" may mean another one on the machine where a stopped scan goes on.

    Args:
        model_hash: hash of the model's file, or of its weights where it has none.
        data_hash: hash of images and classes.
        preset: with the options' settings in it.
        preprocess: from raw pixels to the input that the model expects.
        upsample_size: side of the mask's super-pixels, pixels.
        seed: of the scan.
        best: see `nc_tf.ScanOptions`.
        per_frame: whether every frame of a clip has a trigger of its own.
        detectors: names of the detectors that were asked for; None where preset, classes and inputs decide.
    """
    values = settings_record(preset.settings)
    cost = values.pop("cost")
    cuts = [asdict(cut) for cut in preset.cuts]
    search: dict[str, Any] = {"starts": preset.starts, "grey": preset.grey, "cuts": cuts, "precision": resolve_precision(preset.precision)}
    search |= {"held_out": preset.held_out, "detectors": None if detectors is None else list(detectors)}
    if per_frame:
        search["per_frame"] = True
    if preset.patches:
        search["patches"] = True
    if preset.ranking is not None:
        search["ranking"] = asdict(preset.ranking) | {"search": settings_record(preset.ranking.search)}
    if best != "norm":
        search["best"] = best
    of_source = source_record(model_hash, data_hash, upsample_size, seed)
    return {**of_source, **search, **values, **cost, "preprocessing": asdict(preprocess)}


def settings_record(settings: SearchSettings) -> dict[str, Any]:
    """Return every setting by its name, without `exclude_target` where it is false.

    That setting is younger than the others, and scans begun before it can go on.
    """
    values = asdict(settings)
    if not settings.exclude_target:
        del values["exclude_target"]
    return values


def model_facts(path: str | Path | None, model: keras.Model) -> dict[str, Any]:
    """Return the facts of a model for `verdict.json`.

    They are its shapes in the scan, and what was adapted or named. A model without a file has no hash there, because the repairs compare
    the hash with that of a file.

    Args:
        path: file of the model; None where it has none.
        model: the model, as it was read.
    """
    file = {"path": NO_MODEL_FILE} if path is None else {"path": str(path), "sha256": sha256_of(path)}
    facts = {**file, "num_classes": model.output_shape[-1], "input_shape": list(model.input_shape[1:])}
    weights = {"weights_of": model.nc_tf_weights_of} if hasattr(model, "nc_tf_weights_of") else {}
    return facts | weights | what_was_adapted(model)


def array_hash(*arrays: np.ndarray) -> str:
    """Return the hash of shapes, types and content of arrays."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def refuse_other_scan(record: Path, settings: Mapping[str, Any], *, fresh: bool, keys: Collection[str] | None = None) -> None:
    """Refuse the folder of a scan with other settings.

    With `fresh` it is refused only to the demo, for a scan that the demo did not make.

    Args:
        record: file with the settings of the scan in the folder, `state/settings.json`.
        settings: settings of the scan that is to go on, or to start over.
        fresh: start over.
        keys: keys that are compared; None compares all.

    Raises:
        InputError: a setting is another, or the record is missing or cannot be read.
    """
    if fresh and DEMO not in settings:
        return
    before = _recorded(record)
    if fresh:
        difference = None if DEMO in before else other_kind(before)
    else:
        difference = difference_of({key: value for key, value in before.items() if keys is None or key in keys}, settings)
    if difference:
        raise InputError(f"{record.parents[1]} holds a scan {difference}")


def _recorded(record: Path) -> dict[str, Any]:
    """Return the settings of the scan in a folder.

    Raises:
        InputError: the record is missing or cannot be read.
    """
    if not record.exists():
        folder = record.parents[1]
        raise InputError(f"{folder} holds triggers of unknown origin: expected an empty folder or a stopped scan; choose another")
    record = plain(record, MOST_BYTES)
    try:
        return dict(parse_json(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{record} cannot be read ({error}): expected the settings of a stopped scan; use --fresh") from error


def other_kind(before: Mapping[str, Any]) -> str:
    """Return why the demo and other scans do not share folders.

    The sentence begins as in `difference_of`.
    """
    made = "of nc-tf demo" if DEMO in before else "that nc-tf demo did not make"
    return f"{made}: expected a folder of its own for each; choose another with --out"


def difference_of(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Return why a scan cannot go on with these settings, if so.

    Args:
        before: settings of the scan in the folder.
        now: settings of the scan that is to go on.

    Returns:
        The end of a sentence that begins with "... holds a scan".
    """
    if (DEMO in before) != (DEMO in now):
        return other_kind(before)
    for key in sorted(now.keys() | before.keys(), key=lambda key: (key != VERSION, key)):
        if now.get(key) != before.get(key):
            what, there, here = _shown(key), _shown(before.get(key)), _shown(now.get(key))
            other = HASHES.get(key, f"with {what} {there}, this one has {here}")
            if key == VERSION:
                other = f"of {f'nc_tf {there}' if key in before else 'an nc_tf without a version in its record'}, this is nc_tf {here}"
            same = "version" if key == VERSION else "settings"
            return f"{other}: expected the same {same} to go on with it; choose another folder, or start over (--fresh)"
    return None


def _shown(value: object) -> str:
    text = printable(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
