"""A scan on disk: `verdict.json`, lossless triggers, the original's PNGs, `log.txt`, and what is needed to go on after a stop.

Every file is written whole or not at all. The triggers of finished labels are saved as they come, and the state of the others after every
few rounds, so that a stopped scan repeats next to nothing.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from PIL import Image

from nc_tf.callbacks import ScanCallback
from nc_tf.errors import InputError
from nc_tf.files import clear_leftovers, delete, whole_file
from nc_tf.preprocessing import Preprocessing
from nc_tf.presets import Preset
from nc_tf.ranking import Shortlist
from nc_tf.results import LabelResult, ScanResult, Status, Trigger
from nc_tf.scan_state import forget_progress, load_progress, load_shortlist, save_progress, save_shortlist, shortlist_file
from nc_tf.search import HISTORY_COLUMNS, ArmResult, Progress
from nc_tf.trigger_file import load_trigger, save_trigger
from nc_tf.verdict_file import log_text, verdict_json

WRITTEN_LAST = ("verdict.json", "log.txt", "report.html")
# Images kept for the report, which needs three of other classes than the one it shows.
SAMPLES = 8


def sha256_of(path: str | Path) -> str:
    """Hash of a file; of a folder, the hash of its files' hashes in the order of their names."""
    path = Path(path)
    if path.is_dir():
        return hashlib.sha256("".join(sha256_of(file) for file in sorted(path.rglob("*")) if file.is_file()).encode()).hexdigest()
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def scan_record(
    model_hash: str, data_hash: str, preset: Preset, preprocess: Preprocessing, upsample_size: int, seed: int
) -> dict[str, Any]:
    """All that the outcome of a label depends on, one key each, so that a difference can be named."""
    values = asdict(preset.settings)
    cost = values.pop("cost")
    cuts = [asdict(cut) for cut in preset.cuts]
    search = {"starts": preset.starts, "grey": preset.grey, "cuts": cuts, "precision": preset.precision}
    search |= {"upsample_size": upsample_size, "seed": seed, "held_out": preset.held_out}
    if preset.ranking is not None:
        search["ranking"] = asdict(preset.ranking)
    return {"model": model_hash, "data": data_hash, **search, **values, **cost, "preprocessing": asdict(preprocess)}


def model_facts(path: str | Path, model: keras.Model) -> dict[str, Any]:
    """What `verdict.json` says of a model file."""
    shape = list(model.input_shape[1:])
    return {"path": str(path), "sha256": sha256_of(path), "num_classes": model.output_shape[-1], "input_shape": shape}


def array_hash(*arrays: np.ndarray | None) -> str:
    """Hash of arrays' shapes, types and content."""
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(f"{array.shape}{array.dtype}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_image(path: Path, pixels: np.ndarray) -> None:
    """(H, W), or (H, W, C) in [0, 255]; three channels are a colour picture, any other number its mean."""
    if pixels.ndim == 3 and pixels.shape[-1] != 3:
        pixels = pixels.mean(axis=-1)
    with whole_file(path) as temporary:
        Image.fromarray(np.rint(np.clip(pixels, 0, 255)).astype(np.uint8)).save(temporary, format="PNG")


class ScanFolder(ScanCallback):
    """Reads and writes one scan folder; as a callback of `scan` it saves each label when it is done.

    Attributes:
        path: the folder.
        name: what the PNGs' names begin with, `<name>_visualize_mask_label_33.png`.
        under_way: how far the unfinished labels had come when the folder was opened.
        ranking: how far the labels of a ranking had come by then.
        shortlist: what a ranking had come to, if it was over.
    """

    def __init__(self, path: str | Path, name: str = "model") -> None:
        self.path, self.name = Path(path), name
        self.under_way: list[Progress] = []
        self.ranking: list[Progress] = []
        self.shortlist: Shortlist | None = None
        self._began, self._before = time.perf_counter(), 0.0

    @property
    def seconds(self) -> float:
        """What the scan has taken so far, over all its parts."""
        return self._before + time.perf_counter() - self._began

    def trigger_file(self, label: int) -> Path:
        """Where a label's lossless trigger lies."""
        return self.path / "triggers" / f"label_{label}.npz"

    def image_file(self, part: str, label: int) -> Path:
        """Where a picture lies; part is mask, pattern or fusion."""
        return self.path / f"{self.name}_visualize_{part}_label_{label}.png"

    def open(self, settings: Mapping[str, Any], *, fresh: bool = False) -> dict[int, LabelResult]:
        """Begin a scan with these settings, or go on with one that was stopped.

        Args:
            settings: all that the outcome of a label depends on, as plain JSON values.
            fresh: forget what lies there.

        Returns:
            The labels that are done already.

        Raises:
            InputError: what lies there was made with other settings.
        """
        record = self._state / "settings.json"
        settings = json.loads(json.dumps(settings))
        self._began, self._before, self.under_way = time.perf_counter(), 0.0, []
        if fresh:
            self._forget(record)
        under_way, seconds = load_progress(self._state)
        self.ranking, ranking_seconds = load_progress(self._ranking)
        self.shortlist, ranked_seconds = load_shortlist(self._state)
        if not (under_way or self.ranking or self.shortlist) and not any(self.path.glob("triggers/label_*.npz")):
            # Nothing depends on what an attempt that came to nothing was asked: it may have been refused for that very setting.
            self._clear_leftovers()
            _write_text(record, json.dumps(settings, indent=1))
            return {}
        if not record.exists():
            raise InputError(
                f"{self.path} holds triggers of unknown origin: expected an empty folder or a stopped scan; choose another"
            )
        try:
            before = dict(json.loads(record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{record} cannot be read ({error}): expected the settings of a stopped scan; use --fresh") from error
        for key in sorted(settings.keys() | before.keys()):
            if settings.get(key) != before.get(key):
                raise InputError(
                    f"{self.path} holds a scan with {key} {before.get(key)}, this one has {settings.get(key)}: "
                    "expected the same settings to go on with it; choose another folder, or start over (--fresh)"
                )
        self._clear_leftovers()
        if self.shortlist and self.ranking:  # killed between the saving of the one and the forgetting of the others
            forget_progress(self._ranking)
            self.ranking = []
        finished = self.label_results()
        taken = [float(load_trigger(self.trigger_file(label))[1].get("seconds", 0.0)) for label in finished]
        self._before = max([seconds, ranking_seconds, ranked_seconds, *taken])
        for progress in under_way:
            if progress.label in finished:  # killed between the saving of the one and the forgetting of the other
                forget_progress(self._state, progress.label)
            else:
                self.under_way.append(progress)
        return finished

    @property
    def _state(self) -> Path:
        return self.path / "state"

    @property
    def _ranking(self) -> Path:
        return self._state / "ranking"

    def _forget(self, record: Path) -> None:
        """Delete what an earlier scan left."""
        pictures = self.path.glob(f"{self.name}_visualize_*_label_*.png")
        delete([record, *(self.path / name for name in WRITTEN_LAST), *self.path.glob("triggers/label_*.npz"), *pictures])
        delete([shortlist_file(self._state)])
        for folder in (self._state, self._ranking):
            forget_progress(folder)

    def _clear_leftovers(self) -> None:
        for folder in (self.path, self.path / "triggers", self._state, self._ranking):
            clear_leftovers(folder)

    def on_ranking(self, progress: Progress, share: float) -> None:
        """Save how far a label has come in the ranking."""
        save_progress(self._ranking, progress, self.seconds)

    def on_ranked(self, shortlist: Shortlist) -> None:
        """Save what the ranking came to, and forget its arms."""
        save_shortlist(self._state, shortlist, self.seconds)
        forget_progress(self._ranking)

    def on_leg(self, progress: Progress) -> None:
        """Save how far an arm has come."""
        save_progress(self._state, progress, self.seconds)

    def on_label(self, result: LabelResult, starts: Sequence[ArmResult]) -> None:
        """Save a label's trigger, lossless and as pictures, with the history of its best start."""
        label, trigger = result.label, result.trigger
        history = next(arm.history for arm in starts if arm.trigger is trigger)
        _write_image(self.image_file("pattern", label), trigger.pattern)
        _write_image(self.image_file("mask", label), trigger.mask * 255.0)
        _write_image(self.image_file("fusion", label), trigger.mask[..., None] * trigger.pattern)
        save_trigger(
            self.trigger_file(label),
            trigger,
            status=str(result.status),
            attack_success_rate=result.attack_success_rate,
            zero_trigger_rate=result.zero_trigger_rate,
            starts=result.starts,
            rounds=result.rounds,
            history=history,
            history_columns=HISTORY_COLUMNS,
            seconds=self.seconds,
        )
        forget_progress(self._state, label)

    def write_samples(self, images: np.ndarray, labels: np.ndarray | None) -> None:
        """Keep some images for the report, of as many classes as there are: raw (N, H, W, C) and their classes (N,), if known."""
        labels = np.arange(len(images)) if labels is None else labels
        _, first = np.unique(labels, return_index=True)
        chosen = first[np.linspace(0, len(first) - 1, min(SAMPLES, len(first))).astype(int)]
        with whole_file(self._state / "samples.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, images=images[chosen], labels=labels[chosen])

    def label_results(self) -> dict[int, LabelResult]:
        """The saved labels; without anomaly indices, which belong to a whole scan.

        Raises:
            InputError: a trigger file cannot be read.
        """
        found = {}
        for file in self.path.glob("triggers/label_*.npz"):
            trigger, saved = load_trigger(file)
            if file.name != self.trigger_file(trigger.label).name:
                raise InputError(f"{file} holds a trigger of label {trigger.label}: expected that of its name; delete it and scan again")
            try:
                found[trigger.label] = LabelResult(
                    trigger=trigger,
                    status=Status(str(saved["status"])),
                    attack_success_rate=float(saved["attack_success_rate"]),
                    zero_trigger_rate=float(saved["zero_trigger_rate"]),
                    starts=int(saved["starts"]),
                    rounds=int(saved["rounds"]),
                )
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{file} is no result of a scan ({error}): expected status, rates and rounds; "
                    "delete it and scan again"
                ) from error
        return dict(sorted(found.items()))

    def flagged_triggers(self) -> tuple[Trigger, ...]:
        """The triggers of the labels that `verdict.json` flags, most anomalous first.

        Raises:
            InputError: there is no finished scan, or one of its files cannot be read.
        """
        verdict_file = self.path / "verdict.json"
        try:
            flagged = [int(label) for label in json.loads(verdict_file.read_text(encoding="utf-8"))["flagged"]]
        except FileNotFoundError:
            raise InputError(f"{verdict_file} is missing: expected the folder of a finished scan; run nc-tf scan first") from None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise InputError(f"{verdict_file} cannot be read ({error}): expected what nc-tf scan writes; scan again") from error
        results = self.label_results()
        missing = [label for label in flagged if label not in results]
        if missing:
            raise InputError(f"{self.trigger_file(missing[0])} is missing: expected a trigger for every flagged label; scan again")
        return tuple(results[label].trigger for label in flagged)

    def write_verdict(
        self, result: ScanResult, model: Mapping[str, Any], data: Mapping[str, Any], class_names: Sequence[str] | None = None
    ) -> None:
        """Write `verdict.json` and `log.txt`; `model` and `data` say what was scanned. The seconds are those of all parts of the scan."""
        verdict = verdict_json(replace(result, seconds=self.seconds), model, data, class_names)
        _write_text(self.path / "log.txt", log_text(verdict))
        _write_text(self.path / "verdict.json", json.dumps(verdict, indent=1, allow_nan=False) + "\n")
