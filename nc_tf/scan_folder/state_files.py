"""Files of the state of a scan: checkpoints of restarts, and the outcome of pre-screening.

Each restart has one file, which is written at every checkpoint, whole or not at all. It is not forced to the disk, because the rounds
lost in a power cut take seconds. A file that cannot be read, or that this scan cannot have written, is therefore ignored.
The outcome of pre-screening is one small file; the checkpoints of its restarts are then not needed any more.
"""

import json
import operator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nc_tf.inversion.cost_schedule import ScheduleState
from nc_tf.inversion.restart import Checkpoint
from nc_tf.inversion.step import Run
from nc_tf.scanning.prescreening import Shortlist
from nc_tf.storage.files import delete, plain, whole_file, write_text
from nc_tf.storage.json_file import parse_json
from nc_tf.storage.npz_file import npz_arrays
from nc_tf.storage.saved_numbers import MOST_SECONDS, history_of, real_number, whole_number

# Format of the files in `state/`, and of their meaning. A change of either adds one: a scan goes on only with a state of its own format.
STATE_FORMAT = 1
# Structure of a state, with its arrays in the order of `tf.nest.flatten`.
_SHAPE: Any = Run((0, 0), (0, 0), (0, 0), 0, ScheduleState(*range(len(ScheduleState._fields))), (0, 0))
# A shortlist of a million labels takes 8 MB.
MOST_BYTES = 2**24


def arm_file(folder: Path, label: int, start: int) -> Path:
    """Return the path of a restart's checkpoint."""
    return folder / f"arm_{label}_{start}.npz"


def save_progress(folder: Path, progress: Checkpoint, seconds: float) -> None:
    """Write a checkpoint of a restart, and the scan's `seconds` so far."""
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


def load_progress(folder: Path) -> tuple[list[Checkpoint], float]:
    """Return every readable checkpoint, and the scan's seconds so far."""
    found = [saved for path in sorted(folder.glob("arm_*_*.npz")) if (saved := _read(path)) is not None]
    return [progress for progress, _ in found], max((seconds for _, seconds in found), default=0.0)


def _read(path: Path) -> tuple[Checkpoint, float] | None:
    try:
        with npz_arrays(plain(path)) as (_, load):
            state = [load(f"state_{number}") for number in range(len(tf.nest.flatten(_SHAPE)))]
            progress = Checkpoint(
                whole_number(load("label")),
                whole_number(load("start")),
                tf.nest.pack_sequence_as(_SHAPE, state),
                history_of(load("history")),
                bool(whole_number(load("stopped"))),
                bool(whole_number(load("finite"))),
            )
            named_rightly = path.name == arm_file(path.parent, progress.label, progress.start).name
            return (progress, real_number(load("seconds"), most=MOST_SECONDS)) if named_rightly else None
    except Exception:  # NumPy and zipfile raise half a dozen kinds for a broken file
        return None


def forget_progress(folder: Path, label: int | None = None) -> None:
    """Delete the checkpoints of one label, or of all."""
    delete(folder.glob(f"arm_{'*' if label is None else label}_*.npz"))


def shortlist_file(folder: Path) -> Path:
    """Return the path of the outcome of pre-screening."""
    return folder / "shortlist.json"


def save_shortlist(folder: Path, shortlist: Shortlist, seconds: float) -> None:
    """Write the outcome of pre-screening, and the scan's `seconds` so far."""
    write_text(shortlist_file(folder), json.dumps(asdict(shortlist) | {"seconds": seconds}))


def load_shortlist(folder: Path) -> tuple[Shortlist | None, float]:
    """Return the outcome of pre-screening, and the scan's seconds then.

    Without an outcome it is (None, 0).
    """
    try:
        saved = parse_json(plain(shortlist_file(folder), MOST_BYTES).read_text(encoding="utf-8"))
        labels = {part: tuple(operator.index(label) for label in saved[part]) for part in ("lowest", "sample", "ranked_out")}
        shortlist = Shortlist(**labels, rounds=whole_number(np.array(saved["rounds"])))
        seconds = real_number(np.array(saved["seconds"]), most=MOST_SECONDS)
    except (OSError, ValueError, KeyError, TypeError):
        return None, 0.0
    every = [*shortlist.chosen, *shortlist.ranked_out]
    once = all(len({*part}) == len(part) for part in (shortlist.lowest, shortlist.sample, every))
    return (shortlist, seconds) if once else (None, 0.0)
