"""The loop over rounds: restarts enter free lanes, are advanced together, and leave when their leg is done.

The one loop of the package. Printing, saving and progress belong to the caller: each checkpoint is yielded as soon as it is reached,
and `on_round` is called after every round.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import tensorflow as tf

from nc_tf.inversion.batches import Minibatches
from nc_tf.inversion.restart import Arm, ArmResult, Leg, Progress
from nc_tf.inversion.step import Inversion, RoundLog, Run
from nc_tf.results import Status, Trigger

OnRound = Callable[[Sequence[Arm], Sequence[int], Run, RoundLog], None]


@dataclass
class _Lane:
    leg: Leg
    history: list[tuple[float, ...]]


def search(
    inversion: Inversion,
    arms: Iterable[Arm],
    minibatches: Minibatches,
    *,
    lanes: int = 8,
    on_round: OnRound = lambda arms, rounds, run, log: None,
) -> Iterator[ArmResult]:
    """Search every arm to its end, at most `lanes` at a time, and yield each result as soon as it is there. See `advance`."""
    known: dict[tuple[int, int], Arm] = {}

    def legs() -> Iterator[Leg]:
        for arm in arms:
            known[arm.label, arm.start] = arm
            yield Leg(arm, inversion.settings.max_rounds)

    for progress in advance(inversion, legs(), minibatches, lanes=lanes, on_round=on_round):
        yield result_of(inversion, known.pop((progress.label, progress.start)), progress)


def advance(
    inversion: Inversion,
    legs: Iterable[Leg],
    minibatches: Minibatches,
    *,
    lanes: int = 8,
    on_round: OnRound = lambda arms, rounds, run, log: None,
) -> Iterator[Progress]:
    """Run every leg, at most `lanes` at a time, and yield where it ended as soon as it has.

    Args:
        inversion: the compiled search.
        legs: asked for more whenever there are free lanes, so that memory is bounded by the lanes; an iterator may run dry and have
            more to give once it has been told what the legs before came to.
        minibatches: the images of each round.
        lanes: arms advanced together.
        on_round: called after every round with the arms in their lanes, the number of the round each has ended (from 0), state and log.
    """
    waiting = iter(legs)
    active: list[_Lane] = []
    run: Run | None = None
    while True:
        fresh = list(islice(waiting, lanes - len(active)))
        if fresh:
            states = ([run] if active else []) + [_state(inversion, leg) for leg in fresh]
            run = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *states)
            active += [_Lane(leg, [] if leg.progress is None else [tuple(row) for row in leg.progress.history]) for leg in fresh]
        if not active:
            return
        arms = [lane.leg.arm for lane in active]
        labels, rounds = tf.constant([arm.label for arm in arms], tf.int32), [len(lane.history) for lane in active]
        run, report = inversion.advance(run, labels, *minibatches(arms, rounds))  # a round's images are gone before the next ones come
        log = RoundLog(*report.numpy())
        for position, lane in enumerate(active):
            lane.history.append((len(lane.history), *(float(column[position]) for column in log[:6])))
        on_round(arms, [len(lane.history) - 1 for lane in active], run, log)
        left = {p: _progress(run, log, p, lane) for p, lane in enumerate(active) if _is_run(log, p, lane)}
        if left:
            yield from left.values()
            kept = [p for p in range(len(active)) if p not in left]
            active = [active[p] for p in kept]
            rows_kept = tf.constant(kept, tf.int32)
            run = tf.nest.map_structure(lambda part, keep=rows_kept: tf.gather(part, keep), run)


def _state(inversion: Inversion, leg: Leg) -> Run:
    return inversion.start([leg.arm.mask], [leg.arm.pattern]) if leg.progress is None else leg.progress.run


def _is_run(log: RoundLog, position: int, lane: _Lane) -> bool:
    return bool(log.stopped[position]) or not log.finite[position] or len(lane.history) >= lane.leg.until


def _progress(run: Run, log: RoundLog, position: int, lane: _Lane) -> Progress:
    state = tf.nest.map_structure(lambda part: part[position : position + 1].numpy(), run)
    arm, history = lane.leg.arm, np.array(lane.history)
    return Progress(arm.label, arm.start, state, history, bool(log.stopped[position]), bool(log.finite[position]))


def result_of(inversion: Inversion, arm: Arm, progress: Progress) -> ArmResult:
    """What an arm has found so far."""
    z, best, reg_best = progress.run.z, progress.run.best, progress.run.cost.reg_best[0]
    found = bool(np.isfinite(reg_best))
    if not progress.finite:
        status = Status.NONFINITE
    elif not found:
        status = Status.NEVER_SUCCEEDED
    else:
        status = Status.CONVERGED if progress.stopped else Status.MAX_ROUNDS
    # What has become NaN is no trigger: such an arm hands back its best so far, which before the first success is where it began.
    from_best = status == Status.NONFINITE or (found and not inversion.settings.save_last)
    z_mask, z_pattern = best if from_best else z
    # Rounding puts either end up to 1e-7 outside of its range.
    mask = np.clip(inversion.space.masks(z_mask)[0, ..., 0].numpy(), 0.0, 1.0)
    pattern = np.clip(inversion.space.patterns(z_pattern)[0].numpy(), 0.0, 255.0)
    step = inversion.space.upsample_size
    return ArmResult(arm, Trigger(arm.label, mask, pattern), mask[..., ::step, ::step], status, progress.history)
