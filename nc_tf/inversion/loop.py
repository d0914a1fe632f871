"""The loop over rounds: arms enter free lanes, are advanced together, and leave when their leg is run.

The one loop of the package. Printing, saving and progress belong to whoever consumes it: what is reached is yielded as it comes,
and `on_round` hears of every round.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from typing import Protocol

import numpy as np
import tensorflow as tf

from nc_tf.inversion.step import Inversion, RoundLog, Run, SearchSettings
from nc_tf.results import Status, Trigger


@dataclass(frozen=True, eq=False)
class Arm:
    """One (label, start) pair to search.

    Attributes:
        label: the target class.
        start: number of the start, from 0.
        mask: (h, w) in [0, 1], where the search begins, before upsampling.
        pattern: (H, W, C) in [0, 255], likewise.
    """

    label: int
    start: int
    mask: np.ndarray
    pattern: np.ndarray


@dataclass(frozen=True, eq=False)
class Progress:
    """How far an arm has come: all that is needed to go on from there, on this machine or another.

    Attributes:
        label, start: which arm.
        run: its state, NumPy arrays with an arm axis of one.
        history: (rounds, 7) float64, one row a round, columns `nc_tf.results.HISTORY_COLUMNS`.
        stopped: the schedule has stopped it.
        finite: loss and state are finite.
    """

    label: int
    start: int
    run: Run
    history: np.ndarray
    stopped: bool
    finite: bool

    @property
    def rounds(self) -> int:
        """Rounds run."""
        return len(self.history)

    def ended(self, settings: SearchSettings) -> bool:
        """Whether there is nothing left to search."""
        return self.stopped or not self.finite or self.rounds >= settings.max_rounds


@dataclass(frozen=True, eq=False)
class Leg:
    """Rounds of one arm to run in one go.

    Attributes:
        arm: which one.
        until: number of the rounds that it will have run at the end, from the start of its search.
        progress: where it stands; None at the start.
    """

    arm: Arm
    until: int
    progress: Progress | None = None


@dataclass(frozen=True, eq=False)
class ArmResult:
    """What the search of one arm found.

    Attributes:
        arm: which one.
        trigger: the smallest working one, or where none worked the last one; always finite.
        coarse_mask: (h, w) float32 in [0, 1], the trigger's mask before upsampling.
        status: how it ended.
        history: (rounds, 7) float64, one row a round, columns `nc_tf.results.HISTORY_COLUMNS`.
    """

    arm: Arm
    trigger: Trigger
    coarse_mask: np.ndarray
    status: Status
    history: np.ndarray

    @property
    def rounds(self) -> int:
        """Rounds run."""
        return len(self.history)

    @property
    def succeeded(self) -> bool:
        """See `Status.succeeded`."""
        return self.status.succeeded


OnRound = Callable[[Sequence[Arm], Sequence[int], Run, RoundLog], None]


class Minibatches(Protocol):
    """Where a round's images come from."""

    def __call__(self, arms: Sequence[Arm], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        """Raw images (N, H, W, C) or clips (N, T, H, W, C), and the rows (K, A, B) int32 of each minibatch of each arm's coming round."""


class ResidentImages:
    """Images as uint8 (or float32), which every arm draws in an order of its own, epoch after epoch.

    The order depends on the seed, the arm and its round alone (and on which images are left out): never on which other arms run, or on
    what was run before. On the device lie all images, or, where these are fewer, those of the coming round.
    """

    def __init__(
        self,
        images: np.ndarray,
        settings: SearchSettings,
        seed: int,
        labels: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> None:
        """Args:
        images: (N, H, W, C) raw, clips (N, T, H, W, C); they are not copied as a whole where a round needs fewer.
        settings: of the search.
        seed: of the orders.
        labels: (N,): an arm draws the images of other labels than its own, at least one; without them it draws all images.
        rows: the images to draw from; None for all.
        """
        self.images, self.labels = images, labels
        self.rows = np.arange(len(images)) if rows is None else rows
        self.settings, self.seed = settings, seed
        self._epoch = lru_cache(maxsize=256)(self._shuffle)

    @cached_property
    def _all(self) -> tf.Tensor:
        return tf.constant(self.images)

    def bytes_on_device(self, lanes: int) -> int:
        """Bytes of the images on the device while so many arms run."""
        needed = lanes * self.settings.batches_per_round * self.settings.batch_size
        return min(len(self.images), needed) * self.images[0].nbytes

    def _drawn(self, label: int) -> np.ndarray:
        """Rows of the images that the arms of a label draw."""
        return self.rows if self.labels is None else self.rows[self.labels[self.rows] != label]

    def _shuffle(self, label: int, start: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, label, start, epoch]).permutation(self._drawn(label)).astype(np.int32)

    def _rows(self, arm: Arm, round_: int) -> np.ndarray:
        steps, batch = self.settings.batches_per_round, self.settings.batch_size
        needed, there = steps * batch, len(self._drawn(arm.label))
        epoch, offset = divmod(round_ * needed, there)
        last = (round_ * needed + needed - 1) // there
        order = np.concatenate([self._epoch(arm.label, arm.start, number) for number in range(epoch, last + 1)])
        return order[offset : offset + needed].reshape(steps, batch)

    def __call__(self, arms: Sequence[Arm], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        rows = np.stack([self._rows(arm, round_) for arm, round_ in zip(arms, rounds, strict=True)], axis=1)
        if rows.size >= len(self.images) or "_all" in vars(self):  # there already, when arms were more
            return self._all, rows
        return tf.constant(self.images[rows.ravel()]), np.arange(rows.size, dtype=np.int32).reshape(rows.shape)


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
