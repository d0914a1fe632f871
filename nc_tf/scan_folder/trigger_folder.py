"""The folder `triggers/` of a scan: one file a finished search, and what can be read from them all."""

import re
from collections.abc import Iterable
from pathlib import Path

from nc_tf.errors import InputError
from nc_tf.results import ChangeResult, FoundTrigger, LabelResult, SourceResult
from nc_tf.scan_folder.label_files import load_label, load_saved_change, load_source, load_untargeted
from nc_tf.scanning.changes import CHANGES
from nc_tf.storage.files import subfolder
from nc_tf.storage.verdict_schema import ScanVerdict

LABEL = re.compile(r"label_(0|[1-9]\d*)\.npz")
SOURCE = re.compile(r"source-(0|[1-9]\d*)\.npz")
CHANGE = re.compile(rf"({'|'.join(CHANGES)})-(0|[1-9]\d*)\.npz")


class TriggerFolder:
    """The files in one folder `triggers/`; files of other names belong to no scan."""

    def __init__(self, scan_folder: Path) -> None:
        """Keep the path of the scan folder; nothing is read yet."""
        self.scan_folder = scan_folder

    @property
    def path(self) -> Path:
        """Return the folder itself.

        Raises:
            InputError: it is a link.
        """
        return subfolder(self.scan_folder, "triggers")

    def label(self, label: int) -> Path:
        """Return the path of a label's smallest trigger."""
        return self.path / f"label_{label}.npz"

    def change(self, detector: str, label: int) -> Path:
        """Return the path of a label's smallest change of the whole image; the detector is one of `CHANGES`."""
        return self.path / f"{detector}-{label}.npz"

    def source(self, source: int) -> Path:
        """Return the path of the smallest trigger of one class alone."""
        return self.path / f"source-{source}.npz"

    @property
    def all_to_all(self) -> Path:
        """Return the path of the trigger that takes every class away from itself."""
        return self.path / "all_to_all.npz"

    @property
    def files(self) -> list[Path]:
        """Return the files of all finished searches."""
        away = [self.all_to_all] if self.all_to_all.exists() else []
        return [*self._named(LABEL), *self._named(CHANGE), *self._named(SOURCE), *away]

    @property
    def label_files(self) -> list[Path]:
        """Return the files of finished labels."""
        return self._named(LABEL)

    def _named(self, name: re.Pattern[str]) -> list[Path]:
        return [path for path in self.path.glob("*.npz") if name.fullmatch(path.name)]

    def labels(self) -> dict[int, tuple[LabelResult, float]]:
        """Return finished labels, and the seconds of the scan at each.

        Raises:
            InputError: a file cannot be read, or holds another label than its name says.
        """
        found = {}
        for file in self.label_files:
            result, seconds = load_label(file)
            if file.name != self.label(result.label).name:
                raise InputError(f"{file} holds a trigger of label {result.label}: expected that of its name; delete it and scan again")
            found[result.label] = result, seconds
        return dict(sorted(found.items()))

    def changes(self) -> list[tuple[ChangeResult, float]]:
        """Return finished searches for a change of the whole image, and the seconds of the scan at each.

        Raises:
            InputError: a file cannot be read, or holds something else than its name says.
        """
        return [load_saved_change(file) for file in self._named(CHANGE)]

    def sources(self) -> list[tuple[SourceResult, float]]:
        """Return finished searches of one class alone, and the seconds of the scan at each.

        Raises:
            InputError: a file cannot be read, or holds something else than its name says.
        """
        return [load_source(file) for file in self._named(SOURCE)]

    def flagged(self, verdict: ScanVerdict) -> tuple[FoundTrigger, ...]:
        """Return the triggers of flagged labels, each by the detector that flags it, and those of flagged pairs.

        Args:
            verdict: the verdict of the scan.

        Raises:
            InputError: a file is missing, or cannot be read.
        """
        flagged_by = [(row.name, label) for row in verdict.detectors for label in row.labels if label in verdict.flagged]
        known = {label for _, label in flagged_by}
        flagged_by += [("", label) for label in verdict.flagged if label not in known]  # a file without the labels of its detectors
        of_changes = {key for key in flagged_by if key[0] in CHANGES}
        labels = {label: result.trigger for label, (result, _) in self.labels().items()} if of_changes < {*flagged_by} else {}
        self._refuse_missing(self.change(*key) for key in of_changes)
        self._refuse_missing(self.label(label) for name, label in flagged_by if name not in CHANGES and label not in labels)
        # Two detectors may flag a label for the same smallest trigger.
        files = dict.fromkeys((key[0] if key in of_changes else "", key[1]) for key in flagged_by)
        found = [load_saved_change(self.change(name, label))[0].trigger if name else labels[label] for name, label in files]
        alone = [row for row in verdict.sources if row.flagged]
        self._refuse_missing(self.source(row.source) for row in alone)
        of_all = [load_untargeted(self.all_to_all)[0].trigger] if len(verdict.pairs) > len(alone) else []
        return (*found, *of_all, *(load_source(self.source(row.source))[0].trigger for row in alone))

    def _refuse_missing(self, files: Iterable[Path]) -> None:
        for file in files:
            if not file.exists():
                raise InputError(f"{file} is missing: expected a trigger for all that is flagged; scan again")
