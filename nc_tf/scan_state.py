"""How far a scan has come, and how far its arms have, on disk: what a scan that was cut off goes on from.

One file an arm, written after each of its legs: whole or not at all, but not forced to the disk, because after a power cut a lost
leg costs seconds. A file that cannot be read is therefore as good as none.
What a ranking came to is one small file, and then the states of its arms are not needed any more.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nc_tf.files import delete, whole_file
from nc_tf.inversion import Run
from nc_tf.ranking import Shortlist
from nc_tf.results import LabelResult
from nc_tf.schedule import ScheduleState
from nc_tf.search import Progress

# What a state's arrays are packed into again, in the order in which `tf.nest.flatten` takes them out.
_SHAPE: Any = Run((0, 0), (0, 0), (0, 0), 0, ScheduleState(*range(len(ScheduleState._fields))), (0, 0))


@dataclass(frozen=True, eq=False)
class ScanState:
    """How far a scan has come; of one that begins, nothing.

    Attributes:
        finished: results of labels that need no search any more, by label.
        under_way: how far searches of other labels came.
        ranking: how far labels came in the ranking, where the preset ranks them.
        shortlist: what that ranking came to, if it was over.
    """

    finished: Mapping[int, LabelResult] = field(default_factory=dict)
    under_way: tuple[Progress, ...] = ()
    ranking: tuple[Progress, ...] = ()
    shortlist: Shortlist | None = None


def arm_file(folder: Path, label: int, start: int) -> Path:
    """Where an arm's state lies."""
    return folder / f"arm_{label}_{start}.npz"


def save_progress(folder: Path, progress: Progress, seconds: float) -> None:
    """Write one arm's state; `seconds` is what the scan has taken so far."""
    arrays = {f"state_{number}": part for number, part in enumerate(tf.nest.flatten(progress.run))}
    with whole_file(arm_file(folder, progress.label, progress.start), durable=False) as temporary:
        np.savez(
            temporary,
            allow_pickle=False,
            label=progress.label,
            start=progress.start,
            history=progress.history,
            stopped=progress.stopped,
            finite=progress.finite,
            seconds=seconds,
            **arrays,
        )


def load_progress(folder: Path) -> tuple[list[Progress], float]:
    """Every arm that can be read, and the seconds that the scan had taken."""
    arms = [arm for path in sorted(folder.glob("arm_*_*.npz")) if (arm := _read(path)) is not None]
    return [progress for progress, _ in arms], max((seconds for _, seconds in arms), default=0.0)


def _read(path: Path) -> tuple[Progress, float] | None:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as saved:
            state = [saved[f"state_{number}"] for number in range(len(tf.nest.flatten(_SHAPE)))]
            return Progress(
                int(saved["label"]),
                int(saved["start"]),
                tf.nest.pack_sequence_as(_SHAPE, state),
                saved["history"],
                bool(saved["stopped"]),
                bool(saved["finite"]),
            ), float(saved["seconds"])
    except Exception:  # NumPy and zipfile raise half a dozen kinds for a broken file
        return None


def forget_progress(folder: Path, label: int | None = None) -> None:
    """Delete the arms of one label, or of all."""
    delete(folder.glob(f"arm_{'*' if label is None else label}_*.npz"))


def shortlist_file(folder: Path) -> Path:
    """Where the outcome of a ranking lies."""
    return folder / "shortlist.json"


def save_shortlist(folder: Path, shortlist: Shortlist, seconds: float) -> None:
    """Write what a ranking came to; `seconds` is what the scan has taken so far."""
    with whole_file(shortlist_file(folder)) as temporary:
        temporary.write_text(json.dumps(asdict(shortlist) | {"seconds": seconds}), encoding="utf-8")


def load_shortlist(folder: Path) -> tuple[Shortlist | None, float]:
    """What a ranking came to, if it is over, and the seconds that the scan had taken by then."""
    try:
        saved = json.loads(shortlist_file(folder).read_text(encoding="utf-8"))
        labels = {part: tuple(int(label) for label in saved[part]) for part in ("lowest", "sample", "ranked_out")}
        return Shortlist(**labels, rounds=int(saved["rounds"])), float(saved["seconds"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, 0.0
