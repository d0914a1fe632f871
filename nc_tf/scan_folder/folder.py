"""The folder of a scan: `verdict.json`, lossless triggers, the original's PNGs, `log.txt`, and checkpoints.

Every file is written whole or not at all. Triggers of finished labels are saved at once, and the state of the others every few rounds. A
stopped scan therefore repeats next to nothing.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nc_tf.errors import InputError, quote
from nc_tf.inversion.restart import Checkpoint, RestartResult
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.results import ChangeResult, FoundTrigger, LabelResult, ScanResult, SourceResult, UntargetedResult
from nc_tf.scan_folder.label_files import load_untargeted, save_change, save_label, save_source, save_untargeted
from nc_tf.scan_folder.settings_record import DEMO, refuse_other_scan
from nc_tf.scan_folder.state_files import forget_progress, load_progress, load_shortlist, save_progress, save_shortlist, shortlist_file
from nc_tf.scan_folder.trigger_folder import TriggerFolder
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.prescreening import Shortlist
from nc_tf.scanning.state import ScanState
from nc_tf.storage.files import clear_leftovers, delete, subfolder, whole_file, write_text
from nc_tf.storage.json_file import finite
from nc_tf.storage.pixels import write_picture
from nc_tf.storage.scan_log import log_text
from nc_tf.storage.verdict_file import read_verdict, scan_verdict, verdict_text

WRITTEN_LAST = ("verdict.json", "log.txt", "report.html")
# Images kept for the report, which needs three of other classes than the one it shows.
SAMPLES = 8


class ScanFolder(ScanCallback):
    """One scan folder on disk.

    As a callback of a scan it saves labels and checkpoints.

    Attributes:
        path: the folder.
        name: what the PNGs' names begin with, `<name>_visualize_mask_label_33.png`.
        triggers: the files of finished searches.
    """

    def __init__(self, path: str | Path, name: str = "model") -> None:
        """Keep path and name; nothing is read or written yet."""
        self.path, self.name = Path(path), name
        self.triggers = TriggerFolder(self.path)
        self._began, self._before = time.perf_counter(), 0.0
        # Settings of a scan that begins here, and whether it starts over.
        self._asked: dict[str, Any] | None = None
        self._fresh = False

    @property
    def seconds(self) -> float:
        """Return the time that all parts of the scan have taken."""
        return self._before + time.perf_counter() - self._began

    def trigger_file(self, label: int) -> Path:
        """Return the path of a label's lossless trigger."""
        return self.triggers.label(label)

    @property
    def all_to_all_file(self) -> Path:
        """Return the path of the trigger that takes every class away from itself."""
        return self.triggers.all_to_all

    def image_file(self, part: str, label: int) -> Path:
        """Return the path of a picture; `part` is mask, pattern or fusion."""
        return self.path / f"{self.name}_visualize_{part}_label_{label}.png"

    def refuse_other(self, known: Mapping[str, Any], *, fresh: bool = False) -> None:
        """Refuse a folder with another scan, before this one is planned.

        Args:
            known: those of the settings for `open` that are known so far.
            fresh: start over, whatever lies there.

        Raises:
            InputError: the folder holds a scan in which one of these settings is another.
        """
        checkpoints = (load_progress(folder)[0] for folder in (self._state, self._ranking))
        if self.triggers.label_files or any(checkpoints) or load_shortlist(self._state)[0]:
            refuse_other_scan(self._record, known, fresh=fresh, keys=known.keys() | {DEMO})

    def open(self, settings: Mapping[str, Any], *, fresh: bool = False, began: float | None = None) -> ScanState:
        """Return the state from which a scan with these settings goes on.

        Nothing is written or deleted before `on_begin`: until then the scan may be refused for another reason.

        Args:
            settings: all that the outcome of a label depends on, as plain JSON values.
            fresh: start over, whatever lies there.
            began: `time.perf_counter()` when the scan began; None is now.

        Returns:
            The state of an earlier part; empty where there is none.

        Raises:
            InputError: the folder holds a scan with other settings.
        """
        settings = finite(json.loads(json.dumps(settings)))
        self._began, self._before = time.perf_counter() if began is None else began, 0.0
        self._asked, self._fresh = dict(settings), fresh
        under_way, seconds = load_progress(self._state)
        ranking, ranking_seconds = load_progress(self._ranking)
        shortlist, ranked_seconds = load_shortlist(self._state)
        begun = bool(under_way or ranking or shortlist or self.triggers.files)
        if begun:
            refuse_other_scan(self._record, settings, fresh=fresh)
        if fresh or not begun:
            # An attempt without a result leaves its record, and may have been refused for one of the settings in it.
            return ScanState()
        self._asked = None
        if shortlist and ranking:  # the scan was killed between the saving of one and the deletion of the others
            forget_progress(self._ranking)
            ranking = []
        saved = self.triggers.labels()
        finished = {label: result for label, (result, _) in saved.items()}
        self._before = max([seconds, ranking_seconds, ranked_seconds, *(taken for _, taken in saved.values())])
        for label in {progress.label for progress in under_way} & finished.keys():
            forget_progress(self._state, label)  # killed between saving and deletion
        left = tuple(progress for progress in under_way if progress.label not in finished)
        untargeted = None
        if self.all_to_all_file.exists():
            untargeted, taken = load_untargeted(self.all_to_all_file)
            self._before = max(self._before, taken)
        changes, sources = self.triggers.changes(), self.triggers.sources()
        self._before = max([self._before, *(taken for _, taken in changes), *(taken for _, taken in sources)])
        beside = tuple(change for change, _ in changes), tuple(result for result, _ in sources)
        return ScanState(finished, left, tuple(ranking), shortlist, untargeted, *beside)

    @property
    def _record(self) -> Path:
        return self._state / "settings.json"

    @property
    def _state(self) -> Path:
        return subfolder(self.path, "state")

    @property
    def _ranking(self) -> Path:
        return subfolder(self.path, "state", "ranking")

    def _forget(self) -> None:
        """Delete the files of an earlier scan."""
        picture = re.compile(rf"{re.escape(self.name)}_visualize_(mask|pattern|fusion)_label_\d+\.png")
        pictures = [path for path in self.path.glob("*.png") if picture.fullmatch(path.name)]
        delete([self._record, *(self.path / name for name in WRITTEN_LAST), *self.triggers.files, *pictures])
        delete([shortlist_file(self._state)])
        for folder in (self._state, self._ranking):
            forget_progress(folder)

    def _clear_leftovers(self) -> None:
        for folder in (self.path, self.triggers.path, self._state, self._ranking):
            clear_leftovers(folder)

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int, in_flight: int) -> None:
        """Write the record of the settings.

        An earlier scan is deleted first where this one starts over.
        """
        if self._fresh:
            self._forget()
        self._clear_leftovers()
        if self._asked is not None:
            write_text(self._record, json.dumps(self._asked, indent=1))
        self._asked, self._fresh = None, False

    def on_ranking(self, progress: Checkpoint, share: float) -> None:
        """Save a checkpoint of pre-screening.

        A shortlist in the folder is then of other labels, and is deleted.
        """
        delete([shortlist_file(self._state)])
        save_progress(self._ranking, progress, self.seconds)

    def on_ranked(self, shortlist: Shortlist) -> None:
        """Save the outcome of pre-screening, and delete its checkpoints."""
        save_shortlist(self._state, shortlist, self.seconds)
        forget_progress(self._ranking)

    def on_leg(self, progress: Checkpoint) -> None:
        """Save a checkpoint of a restart."""
        save_progress(self._state, progress, self.seconds)

    def on_label(self, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        """Save a label's trigger, its pictures and its best restart's history."""
        label, trigger = result.label, result.trigger
        history = next((restart.history for restart in starts if restart.trigger is trigger), starts[0].history)
        write_picture(self.image_file("pattern", label), trigger.pattern)
        write_picture(self.image_file("mask", label), trigger.mask[..., None] * 255.0)
        write_picture(self.image_file("fusion", label), trigger.overlay)
        save_label(self.trigger_file(label), result, history, self.seconds)
        forget_progress(self._state, label)

    def on_untargeted(self, result: UntargetedResult) -> None:
        """Save the result of the untargeted search."""
        save_untargeted(self.all_to_all_file, result, self.seconds)

    def on_change(self, result: ChangeResult) -> None:
        """Save a label's smallest change of the whole image."""
        save_change(self.triggers.change(result.detector, result.label), result, self.seconds)

    def on_source(self, result: SourceResult) -> None:
        """Save the smallest trigger of one class alone."""
        save_source(self.triggers.source(result.source), result, self.seconds)

    def write_samples(self, images: np.ndarray, labels: np.ndarray) -> None:
        """Keep some images for the report, of different classes where possible.

        Args:
            images: (N, H, W, C) raw images, or clips (N, T, H, W, C).
            labels: (N,) their classes.
        """
        _, first = np.unique(labels, return_index=True)
        chosen = first[np.linspace(0, len(first) - 1, min(SAMPLES, len(first))).astype(int)]
        with whole_file(self._state / "samples.npz") as temporary:
            np.savez_compressed(temporary, allow_pickle=False, images=images[chosen], labels=labels[chosen])

    def label_results(self) -> dict[int, LabelResult]:
        """Return the results of saved labels, without anomaly indices.

        Raises:
            InputError: a trigger file cannot be read.
        """
        return {label: result for label, (result, _) in self.triggers.labels().items()}

    def flagged_triggers(self) -> tuple[FoundTrigger, ...]:
        """Return the triggers that `verdict.json` flags: of labels, most anomalous first, and of pairs.

        Raises:
            InputError: there is no finished scan, or one of its files cannot be read.
        """
        return self.triggers.flagged(read_verdict(self.path / "verdict.json"))

    def check_model(self, sha256: str, adapted: str | None = None) -> None:
        """Check that the scan is of this model.

        A `verdict.json` that names no model fits all.

        Args:
            sha256: hash of the model file.
            adapted: words for what was adapted in the model; None for nothing.

        Raises:
            InputError: it is of another model, or of another output of it, or cannot be read.
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
        """Write `verdict.json` and `log.txt`, for all parts of the scan.

        Args:
            result: the result of the scan, with the seconds of its last part.
            model: facts of the model, as plain JSON values.
            data: facts of the images, as plain JSON values.
            class_names: one a class.
        """
        verdict = scan_verdict(replace(result, seconds=self._before + result.seconds), model, data, class_names)
        write_text(self.path / "log.txt", log_text(verdict))
        write_text(self.path / "verdict.json", verdict_text(verdict))
