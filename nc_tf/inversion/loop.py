"""Loop over rounds of several restarts.

Restarts enter free lanes, are advanced together, and leave at the end of their segment.

A segment is some rounds of one restart, run in one go. The package has no other loop of searches. Printing, saving and progress belong to
the caller: each checkpoint is yielded at once, and `on_round` is called after every round.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import tensorflow as tf

from nc_tf.inversion.batches import Minibatches
from nc_tf.inversion.restart import Checkpoint, Restart, RestartResult, Segment
from nc_tf.inversion.step import Inversion, RoundLog, Run, SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.results import Status, Trigger

OnRound = Callable[[Sequence[Restart], Sequence[int], Run, RoundLog], None]


@dataclass
class _Lane:
    segment: Segment
    history: list[tuple[float, ...]]


def search(
    inversion: Inversion,
    restarts: Iterable[Restart],
    minibatches: Minibatches,
    *,
    lanes: int = 8,
    on_round: OnRound = lambda restarts, rounds, run, log: None,
) -> Iterator[RestartResult]:
    """Yield the result of every restart, as soon as it ends.

    Args:
        inversion: the compiled search.
        restarts: restarts; each runs to its end.
        minibatches: images of each round.
        lanes: restarts advanced together.
        on_round: see `advance`.
    """
    under_way: dict[tuple[int, int], Restart] = {}

    def segments() -> Iterator[Segment]:
        for restart in restarts:
            under_way[restart.label, restart.start] = restart
            yield Segment(restart, inversion.settings.max_rounds)

    for progress in advance(inversion, segments(), minibatches, lanes=lanes, on_round=on_round):
        yield result_of(inversion, under_way.pop((progress.label, progress.start)), progress)


def advance(
    inversion: Inversion,
    segments: Iterable[Segment],
    minibatches: Minibatches,
    *,
    lanes: int = 8,
    on_round: OnRound = lambda restarts, rounds, run, log: None,
    own_classes: Callable[[Sequence[Restart], Sequence[int]], tf.Tensor] | None = None,
) -> Iterator[Checkpoint]:
    """Yield the checkpoint at the end of every segment.

    Args:
        inversion: the compiled search.
        segments: what to run. The iterator is asked whenever a lane is free, so that memory is bounded by the lanes. It may raise
            StopIteration while results are pending, and go on when they have come in.
        minibatches: images of each round.
        lanes: restarts advanced together.
        on_round: called after every round with the restarts, the number of the round that each has ended (from 0), state and log.
        own_classes: returns the classes (K, A, B) int32 of the images in the minibatches, for an untargeted search; None for others.
    """
    waiting = iter(segments)
    active: list[_Lane] = []
    run: Run | None = None
    while True:
        entering = list(islice(waiting, lanes - len(active)))
        if entering:
            states = ([run] if active else []) + [_state(inversion, segment) for segment in entering]
            run = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *states)
            active += [
                _Lane(segment, [] if segment.progress is None else [tuple(row) for row in segment.progress.history]) for segment in entering
            ]
        if not active:
            return
        restarts = [lane.segment.restart for lane in active]
        rounds = [len(lane.history) for lane in active]
        labels = tf.constant([restart.label for restart in restarts], tf.int32)
        targets = labels if own_classes is None else own_classes(restarts, rounds)
        # No name holds the round's images, so that they are freed before the next ones come.
        run, report = inversion.advance(run, targets, *minibatches(restarts, rounds))
        log = RoundLog(*report.numpy())
        for position, lane in enumerate(active):
            lane.history.append((len(lane.history), *(float(column[position]) for column in log[:6])))
        on_round(restarts, [len(lane.history) - 1 for lane in active], run, log)
        leaving = {p: _progress(run, log, p, lane) for p, lane in enumerate(active) if _is_done(log, p, lane)}
        if leaving:
            yield from leaving.values()
            kept = [p for p in range(len(active)) if p not in leaving]
            active = [active[p] for p in kept]
            rows_kept = tf.constant(kept, tf.int32)
            run = tf.nest.map_structure(lambda part, keep=rows_kept: tf.gather(part, keep), run)


def _state(inversion: Inversion, segment: Segment) -> Run:
    return inversion.start([segment.restart.mask], [segment.restart.pattern]) if segment.progress is None else segment.progress.run


def _is_done(log: RoundLog, position: int, lane: _Lane) -> bool:
    return bool(log.stopped[position]) or not log.finite[position] or len(lane.history) >= lane.segment.until


def _progress(run: Run, log: RoundLog, position: int, lane: _Lane) -> Checkpoint:
    state = tf.nest.map_structure(lambda part: part[position : position + 1].numpy(), run)
    restart, history = lane.segment.restart, np.array(lane.history)
    return Checkpoint(restart.label, restart.start, state, history, bool(log.stopped[position]), bool(log.finite[position]))


def outcome_of(settings: SearchSettings, progress: Checkpoint) -> tuple[Status, tuple[tf.Tensor, tf.Tensor]]:
    """Return how a restart at a checkpoint has ended, and the z of its trigger: the best, or the last where none worked.

    A trigger of NaN is none: the restart then has its best so far, which is its beginning before the first success.
    """
    found = bool(np.isfinite(progress.run.cost.reg_best[0]))
    if not progress.finite:
        return Status.NONFINITE, progress.run.best
    if not found:
        return Status.NEVER_SUCCEEDED, progress.run.z
    return Status.CONVERGED if progress.stopped else Status.MAX_ROUNDS, progress.run.z if settings.save_last else progress.run.best


def trigger_of(label: int, space: TriggerSpace, z: tuple[tf.Tensor, tf.Tensor]) -> Trigger:
    """Return the trigger of z_mask (1, h, w, 1) and z_pattern (1, H, W, C)."""
    # Rounding puts either end up to 1e-7 outside of its range.
    mask = np.clip(space.masks(z[0])[0, ..., 0].numpy(), 0.0, 1.0)
    return Trigger(label, mask, np.clip(space.patterns(z[1])[0].numpy(), 0.0, 255.0))


def result_of(inversion: Inversion, restart: Restart, progress: Checkpoint) -> RestartResult:
    """Return the result of a restart at a checkpoint."""
    status, z = outcome_of(inversion.settings, progress)
    trigger, step = trigger_of(restart.label, inversion.space, z), inversion.space.upsample_size
    return RestartResult(restart, trigger, trigger.mask[..., ::step, ::step], status, progress.history)
