"""A scan on disk: `verdict.json`, lossless triggers, the original's PNGs, `log.txt`, and what is needed to go on after a stop.

Every file is written whole or not at all. The triggers of finished labels are saved as they come, and the state of the others after every
few rounds, so that a stopped scan repeats next to nothing.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from nc_tf.errors import InputError, quote
from nc_tf.inversion.loop import ArmResult, Progress
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.results import HISTORY_COLUMNS, LabelResult, ScanResult, Status, Trigger
from nc_tf.scan_folder.settings_record import difference_of
from nc_tf.scan_folder.state_files import forget_progress, load_progress, load_shortlist, save_progress, save_shortlist, shortlist_file
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.prescreening import Shortlist
from nc_tf.scanning.state import ScanState
from nc_tf.storage.files import clear_leftovers, delete, plain, subfolder, whole_file
from nc_tf.storage.pixels import drawable
from nc_tf.storage.saved_numbers import MOST_SECONDS, history_of, real_number, whole_number
from nc_tf.storage.scan_log import log_text
from nc_tf.storage.trigger_file import load_trigger, save_trigger
from nc_tf.storage.verdict_file import read_verdict, scan_verdict, verdict_text

WRITTEN_LAST = ("verdict.json", "log.txt", "report.html")
# Settings have a few dozen keys.
MOST_BYTES = 2**20
# Images kept for the report, which needs three of other classes than the one it shows.
SAMPLES = 8


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_image(path: Path, pixels: np.ndarray) -> None:
    with whole_file(path) as temporary:
        Image.fromarray(drawable(pixels)).save(temporary, format="PNG")


class ScanFolder(ScanCallback):
    """Reads and writes one scan folder; as a callback of `scan` it saves each label when it is done.

    Attributes:
        path: the folder.
        name: what the PNGs' names begin with, `<name>_visualize_mask_label_33.png`.
    """

    def __init__(self, path: str | Path, name: str = "model") -> None:
        self.path, self.name = Path(path), name
        self._began, self._before = time.perf_counter(), 0.0
        # Settings of a scan that begins here, and whether it starts over.
        self._asked: dict[str, Any] | None = None
        self._fresh = False

    @property
    def seconds(self) -> float:
        """What the scan has taken so far, over all its parts."""
        return self._before + time.perf_counter() - self._began

    def trigger_file(self, label: int) -> Path:
        """Where a label's lossless trigger lies."""
        return self._triggers / f"label_{label}.npz"

    def image_file(self, part: str, label: int) -> Path:
        """Where a picture lies; part is mask, pattern or fusion."""
        return self.path / f"{self.name}_visualize_{part}_label_{label}.png"

    def open(self, settings: Mapping[str, Any], *, fresh: bool = False) -> ScanState:
        """Begin a scan with these settings, or go on with one that was stopped.

        No scan is begun or forgotten before `on_begin`: until then this one may be refused for something else.

        Args:
            settings: all that the outcome of a label depends on, as plain JSON values.
            fresh: start over, whatever lies there.

        Returns:
            How far it has come.

        Raises:
            InputError: what lies there was made with other settings.
        """
        settings = json.loads(json.dumps(settings))
        self._began, self._before = time.perf_counter(), 0.0
        self._asked, self._fresh = dict(settings), fresh
        if fresh:
            return ScanState()
        under_way, seconds = load_progress(self._state)
        ranking, ranking_seconds = load_progress(self._ranking)
        shortlist, ranked_seconds = load_shortlist(self._state)
        if not (under_way or ranking or shortlist or self._label_files()):
            # Nothing depends on what an attempt that came to nothing was asked: it may have been refused for that very setting.
            return ScanState()
        if not self._record.exists():
            raise InputError(f"{self.path} holds triggers of unknown origin: expected an empty folder or a stopped scan; choose another")
        record = plain(self._record, MOST_BYTES)
        try:
            before = dict(json.loads(record.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise InputError(f"{self._record} cannot be read ({error}): expected the settings of a stopped scan; use --fresh") from error
        difference = difference_of(before, settings)
        if difference:
            raise InputError(f"{self.path} holds a scan {difference}")
        self._asked = None
        if shortlist and ranking:  # killed between the saving of the one and the forgetting of the others
            forget_progress(self._ranking)
            ranking = []
        saved = self._saved_labels()
        finished = {label: result for label, (result, _) in saved.items()}
        self._before = max([seconds, ranking_seconds, ranked_seconds, *(taken for _, taken in saved.values())])
        for label in {progress.label for progress in under_way} & finished.keys():
            forget_progress(self._state, label)  # killed between the saving of the one and the forgetting of the other
        left = tuple(progress for progress in under_way if progress.label not in finished)
        return ScanState(finished, left, tuple(ranking), shortlist)

    @property
    def _record(self) -> Path:
        return self._state / "settings.json"

    @property
    def _state(self) -> Path:
        return subfolder(self.path, "state")

    @property
    def _ranking(self) -> Path:
        return subfolder(self.path, "state", "ranking")

    @property
    def _triggers(self) -> Path:
        return subfolder(self.path, "triggers")

    def _label_files(self) -> list[Path]:
        """The files that `trigger_file` names; what else lies beside them is not a scan's."""
        return [path for path in self._triggers.glob("label_*.npz") if re.fullmatch(r"label_(0|[1-9]\d*)\.npz", path.name)]

    def _forget(self) -> None:
        """Delete what an earlier scan left."""
        picture = re.compile(rf"{re.escape(self.name)}_visualize_(mask|pattern|fusion)_label_\d+\.png")
        pictures = [path for path in self.path.glob("*.png") if picture.fullmatch(path.name)]
        delete([self._record, *(self.path / name for name in WRITTEN_LAST), *self._label_files(), *pictures])
        delete([shortlist_file(self._state)])
        for folder in (self._state, self._ranking):
            forget_progress(folder)

    def _clear_leftovers(self) -> None:
        for folder in (self.path, self._triggers, self._state, self._ranking):
            clear_leftovers(folder)

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int, in_flight: int) -> None:
        """The scan has been checked and begins: clear the place for it, and write down what was asked."""
        if self._fresh:
            self._forget()
        self._clear_leftovers()
        if self._asked is not None:
            _write_text(self._record, json.dumps(self._asked, indent=1))
        self._asked, self._fresh = None, False

    def on_ranking(self, progress: Progress, share: float) -> None:
        """Save how far a label has come in the ranking; a shortlist that is there was that of other labels."""
        delete([shortlist_file(self._state)])
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
        history = next((arm.history for arm in starts if arm.trigger is trigger), starts[0].history)
        _write_image(self.image_file("pattern", label), trigger.pattern)
        _write_image(self.image_file("mask", label), trigger.mask[..., None] * 255.0)
        _write_image(self.image_file("fusion", label), trigger.overlay)
        save_trigger(
            self.trigger_file(label),
            trigger,
            status=str(result.status),
            attack_success_rate=result.attack_success_rate,
            zero_trigger_rate=result.zero_trigger_rate,
            starts=result.starts,
            rounds=result.rounds,
            **({} if result.num_measured is None else {"num_measured": result.num_measured}),
            broke_down=result.broke_down,
            by_patch=result.by_patch,
            history=history,
            history_columns=HISTORY_COLUMNS,
            seconds=self.seconds,
        )
        forget_progress(self._state, label)

    def write_samples(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Keep some images for the report, of as many classes as there are: raw (N, H, W, C) and their classes (N,)."""
        _, first = np.unique(labels, return_index=True)
        chosen = first[np.linspace(0, len(first) - 1, min(SAMPLES, len(first))).astype(int)]
        with whole_file(self._state / "samples.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, images=images[chosen], labels=labels[chosen])

    def label_results(self) -> dict[int, LabelResult]:
        """The saved labels; without anomaly indices, which belong to a whole scan.

        Raises:
            InputError: a trigger file cannot be read.
        """
        return {label: result for label, (result, _) in self._saved_labels().items()}

    def _saved_labels(self) -> dict[int, tuple[LabelResult, float]]:
        """Each saved label, with the seconds that the scan had taken by then."""
        found = {}
        for file in self._label_files():
            trigger, saved = load_trigger(plain(file))
            if file.name != self.trigger_file(trigger.label).name:
                raise InputError(f"{file} holds a trigger of label {trigger.label}: expected that of its name; delete it and scan again")
            try:
                found[trigger.label] = _result_of(trigger, saved), real_number(saved.get("seconds", np.zeros(())), most=MOST_SECONDS)
            except (ValueError, KeyError) as error:
                raise InputError(
                    f"{file} is no result of a scan ({error}): expected status, rates and rounds; delete it and scan again"
                ) from error
        return dict(sorted(found.items()))

    def flagged_triggers(self) -> tuple[Trigger, ...]:
        """The triggers of the labels that `verdict.json` flags, most anomalous first.

        Raises:
            InputError: there is no finished scan, or one of its files cannot be read.
        """
        flagged = read_verdict(self.path / "verdict.json").flagged
        results = self.label_results()
        missing = [label for label in flagged if label not in results]
        if missing:
            raise InputError(f"{self.trigger_file(missing[0])} is missing: expected a trigger for every flagged label; scan again")
        return tuple(results[label].trigger for label in flagged)

    def check_model(self, sha256: str, adapted: str | None = None) -> None:
        """Whether the scan is of the model file with this hash, adapted so; a `verdict.json` that names no model fits all.

        Raises:
            InputError: it is of another, or of another output of it, or cannot be read.
        """
        model = read_verdict(self.path / "verdict.json").model
        scanned = {"sha256": sha256, "adapted": adapted} if model.get("sha256") is None else model
        if scanned["sha256"] != sha256:
            raise InputError(
                f"{self.path} is the scan of another model file: expected one of this model; scan it, or, if it is the same model saved "
                "anew, give the triggers with --trigger"
            )
        if scanned.get("adapted") != adapted:
            was, now = (quote(words or "a score a class") for words in (scanned.get("adapted"), adapted))
            raise InputError(
                f"{self.path} is the scan of a model with {was}, this one has {now}: expected the same; "
                "give the same --output and --image-shape"
            )

    def write_verdict(
        self, result: ScanResult, model: Mapping[str, Any], data: Mapping[str, Any], class_names: Sequence[str] | None = None
    ) -> None:
        """Write `verdict.json` and `log.txt`; `model` and `data` say what was scanned. The seconds are those of all parts of the scan."""
        verdict = scan_verdict(replace(result, seconds=self.seconds), model, data, class_names)
        _write_text(self.path / "log.txt", log_text(verdict))
        _write_text(self.path / "verdict.json", verdict_text(verdict))


def _result_of(trigger: Trigger, saved: Mapping[str, np.ndarray]) -> LabelResult:
    """What was saved with a trigger; ValueError or KeyError where that is no result of a scan."""
    result = LabelResult(
        trigger=trigger,
        status=Status(str(saved["status"])),
        attack_success_rate=real_number(saved["attack_success_rate"], most=1.0, nan=True),
        zero_trigger_rate=real_number(saved["zero_trigger_rate"], most=1.0, nan=True),
        starts=whole_number(saved["starts"]),
        rounds=whole_number(saved["rounds"]),
        num_measured=whole_number(saved["num_measured"]) if "num_measured" in saved else None,
        **{name: bool(whole_number(saved[name])) for name in ("broke_down", "by_patch") if name in saved},
    )
    if "history" in saved and len(history_of(saved["history"])) > result.rounds:
        raise ValueError(f"a history of {len(saved['history'])} rounds, where {result.rounds} were run")
    return result
