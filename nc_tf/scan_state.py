"""How far a scan has come, and how far its arms have, on disk: what a scan that was cut off goes on from.

One file an arm, written after each of its legs: whole or not at all, but not forced to the disk, because after a power cut a lost
leg costs seconds. A file that cannot be read, or that this scan cannot have written, is therefore as good as none.
What a ranking came to is one small file, and then the states of its arms are not needed any more.
"""

import json
import operator
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.files import delete, plain, whole_file
from nc_tf.inversion import Run, SearchSettings
from nc_tf.npz_file import npz_arrays
from nc_tf.ranking import RankingSettings, Shortlist
from nc_tf.results import LabelResult
from nc_tf.saved import MOST_SECONDS, history_of, real_number, whole_number
from nc_tf.schedule import ScheduleState
from nc_tf.search import Progress
from nc_tf.triggers import TriggerSpace

# Of what lies in `state/`, and of what it means. Whoever changes either counts on: a scan goes on only with a state of its own format.
STATE_FORMAT = 1
# What a state's arrays are packed into again, in the order in which `tf.nest.flatten` takes them out.
_SHAPE: Any = Run((0, 0), (0, 0), (0, 0), 0, ScheduleState(*range(len(ScheduleState._fields))), (0, 0))
# A shortlist of a million labels takes 8 MB.
MOST_BYTES = 2**24


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
        with npz_arrays(plain(path)) as (_, load):
            state = [load(f"state_{number}") for number in range(len(tf.nest.flatten(_SHAPE)))]
            progress = Progress(
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
        saved = json.loads(plain(shortlist_file(folder), MOST_BYTES).read_text(encoding="utf-8"))
        labels = {part: tuple(operator.index(label) for label in saved[part]) for part in ("lowest", "sample", "ranked_out")}
        shortlist = Shortlist(**labels, rounds=whole_number(np.array(saved["rounds"])))
        seconds = real_number(np.array(saved["seconds"]), most=MOST_SECONDS)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None, 0.0
    everyone = [*shortlist.chosen, *shortlist.ranked_out]
    once = all(len({*part}) == len(part) for part in (shortlist.lowest, shortlist.sample, everyone))
    return (shortlist, seconds) if once else (None, 0.0)


def fitting(
    state: ScanState, space: TriggerSpace, settings: SearchSettings, starts: int, classes: np.ndarray, ranking: RankingSettings | None
) -> ScanState:
    """Return what a scan can go on from: a state without the arms and the shortlist that this scan cannot have come to.

    Args:
        state: as it was read.
        space: where the scan's triggers live.
        settings, starts: of its searches.
        classes: (N,) of the images that its triggers are measured on.
        ranking: how it ranks labels, if it does.

    Raises:
        InputError: a finished label is none of this scan's.
    """
    for label, result in state.finished.items():
        wrong = _difference(result, space, starts, measured=bool((classes != label).any()))
        if wrong:
            raise InputError(f"the saved trigger of label {label} is {wrong}; delete triggers/label_{label}.npz and scan again")
    under_way = tuple(arm for arm in state.under_way if _fits(arm, space, settings, starts))
    if ranking is None:
        return ScanState(state.finished, under_way)
    ranked = tuple(arm for arm in state.ranking if _fits(arm, space, ranking.search, ranking.starts))
    shortlist = state.shortlist
    if shortlist and (len(shortlist.lowest), len(shortlist.sample)) != (ranking.lowest, ranking.sample):
        shortlist = None
    return ScanState(state.finished, under_way, ranked, shortlist)


def _difference(result: LabelResult, space: TriggerSpace, starts: int, *, measured: bool) -> str | None:
    """What a saved label has that one of this scan cannot have, and what was expected; None for nothing."""
    shape, rates = result.trigger.pattern.shape, (result.attack_success_rate, result.zero_trigger_rate)
    if shape != space.pattern_shape:
        return f"for images {shape}: expected {space.pattern_shape}"
    if result.starts != starts:
        return f"the best of {result.starts} starts: expected {starts}"
    if any(np.isnan(rate) == measured for rate in rates):
        return f"one that moves {rates[0]:g} of the images, and nothing {rates[1]:g}: expected {'shares' if measured else 'nan'} of them"
    return None


def _fits(progress: Progress, space: TriggerSpace, settings: SearchSettings, starts: int) -> bool:
    """Whether a search with these settings can have come to this."""
    return _has_shapes(progress.run, space) and progress.start < starts and _is_sound(progress, settings)


def _has_shapes(run: Run, space: TriggerSpace) -> bool:
    z = [((1, *space.mask_shape, 1), np.float32), ((1, *space.pattern_shape), np.float32)]
    schedule = [((1,), kind) for kind in (np.float32, np.int32, np.int32, np.int32, bool, bool, np.float32, np.int32, bool)]
    return [(part.shape, part.dtype) for part in tf.nest.flatten(run)] == [*z, *z, *z, ((1,), np.int32), *schedule, *z]


def _is_sound(progress: Progress, settings: SearchSettings) -> bool:
    """Whether state and history agree with each other, and lie in their ranges."""
    run, rounds = progress.run, progress.rounds
    if not 1 <= rounds <= settings.max_rounds:
        return False
    step, *means, reg_best, cost = progress.history.T
    success = means[-1][np.isfinite(means[-1])]
    finite = [np.isfinite(column) for column in means]
    ends_finite = all(column[-1] for column in finite) and all(np.isfinite(part).all() for part in run.z)
    return bool(
        (step == np.arange(rounds)).all()
        and run.updates[0] == rounds * settings.batches_per_round
        and run.cost.stopped[0] == progress.stopped
        and run.cost.reg_best[0] == reg_best[-1]
        and progress.finite == ends_finite
        and all(column[:-1].all() for column in finite)
        and all(np.isfinite(part).all() for part in run.best)
        and not (ends_finite and any(np.isnan(part).any() for part in (*run.first_moment, *run.second_moment)))
        and ((success >= 0) & (success <= 1)).all()
        and (reg_best >= 0).all()
        and (np.isfinite(cost) & (cost >= 0)).all()
        and 0 <= run.cost.cost[0] < np.inf
    )
