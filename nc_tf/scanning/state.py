"""State of a scan, as a value, from which a stopped scan goes on."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.inversion.restart import Checkpoint
from nc_tf.inversion.step import Run, SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.results import ChangeResult, LabelResult, SourceResult, UntargetedResult
from nc_tf.scanning.prescreening import PrescreeningSettings, Shortlist


@dataclass(frozen=True, eq=False)
class ScanState:
    """State of a scan; empty for one that begins.

    Attributes:
        finished: results of finished labels, by label.
        under_way: checkpoints of the restarts of other labels.
        ranking: checkpoints of pre-screening, where the preset has one.
        shortlist: outcome of pre-screening, if it is over.
        untargeted: result of the untargeted search, if it is over.
        changes: results of finished searches for a change of the whole image.
        sources: results of finished searches for a trigger of one class alone.
    """

    finished: Mapping[int, LabelResult] = field(default_factory=dict)
    under_way: tuple[Checkpoint, ...] = ()
    ranking: tuple[Checkpoint, ...] = ()
    shortlist: Shortlist | None = None
    untargeted: UntargetedResult | None = None
    changes: tuple[ChangeResult, ...] = ()
    sources: tuple[SourceResult, ...] = ()


def fitting(
    state: ScanState, space: TriggerSpace, settings: SearchSettings, starts: int, classes: np.ndarray, ranking: PrescreeningSettings | None
) -> ScanState:
    """Return the part of a state that this scan can have reached.

    Other checkpoints, and another shortlist, are left out.

    Args:
        state: the state as it was read.
        space: where the scan's triggers live.
        settings: settings of its searches.
        starts: restarts a label.
        classes: (N,) classes of the held-out images.
        ranking: settings of pre-screening; None where the scan has none.

    Raises:
        InputError: a finished label cannot be of this scan.
    """
    for label, result in state.finished.items():
        wrong = _difference(result, space, starts, measured=bool((classes != label).any()))
        if wrong:
            raise InputError(f"the saved trigger of label {label} is {wrong}; delete triggers/label_{label}.npz and scan again")
    away = state.untargeted
    if away is not None and away.trigger.pattern.shape != space.pattern_shape:
        wrong = f"for images {away.trigger.pattern.shape}: expected {space.pattern_shape}"
        raise InputError(f"the saved trigger of all classes is {wrong}; delete triggers/all_to_all.npz and scan again")
    for alone in state.sources:
        if alone.trigger.pattern.shape != space.pattern_shape:
            wrong = f"for images {alone.trigger.pattern.shape}: expected {space.pattern_shape}"
            raise InputError(
                f"the saved trigger of class {alone.source} is {wrong}; delete triggers/source-{alone.source}.npz and scan again"
            )
    for change in state.changes:
        if change.trigger.image_shape != space.pattern_shape:
            what, file = f"{change.detector} of label {change.label}", f"triggers/{change.detector}-{change.label}.npz"
            wrong = f"for images {change.trigger.image_shape}: expected {space.pattern_shape}"
            raise InputError(f"the saved {what} is {wrong}; delete {file} and scan again")
    under_way = tuple(progress for progress in state.under_way if _fits(progress, space, settings, starts))
    if ranking is None:
        return replace(state, under_way=under_way, ranking=(), shortlist=None)
    compared = tuple(progress for progress in state.ranking if _fits(progress, space, ranking.search, ranking.starts))
    shortlist = state.shortlist
    if shortlist and (len(shortlist.lowest), len(shortlist.sample)) != (ranking.lowest, ranking.sample):
        shortlist = None
    return replace(state, under_way=under_way, ranking=compared, shortlist=shortlist)


def _difference(result: LabelResult, space: TriggerSpace, starts: int, *, measured: bool) -> str | None:
    """Return how a saved label differs from those of this scan.

    The words say what it has and what was expected; None if nothing differs.
    """
    shape, rates = result.trigger.pattern.shape, (result.attack_success_rate, result.zero_trigger_rate)
    if shape != space.pattern_shape:
        return f"for images {shape}: expected {space.pattern_shape}"
    if result.starts != starts:
        return f"the best of {result.starts} restarts: expected {starts}"
    if any(np.isnan(rate) == measured for rate in rates):
        return f"one with ASR {rates[0]:g}, and {rates[1]:g} without a trigger: expected {'shares' if measured else 'nan'} for both"
    return None


def _fits(progress: Checkpoint, space: TriggerSpace, settings: SearchSettings, starts: int) -> bool:
    """Return whether a search with these settings can have reached this checkpoint."""
    return _has_shapes(progress.run, space) and progress.start < starts and _is_sound(progress, settings)


def _has_shapes(run: Run, space: TriggerSpace) -> bool:
    z = [((1, *space.mask_shape, 1), np.float32), ((1, *space.pattern_shape), np.float32)]
    schedule = [((1,), kind) for kind in (np.float32, np.int32, np.int32, np.int32, bool, bool, np.float32, np.int32, bool)]
    return [(part.shape, part.dtype) for part in tf.nest.flatten(run)] == [*z, *z, *z, ((1,), np.int32), *schedule, *z]


def _is_sound(progress: Checkpoint, settings: SearchSettings) -> bool:
    """Return whether state and history are consistent and in range."""
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
