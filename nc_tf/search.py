"""The loop over rounds: arms enter free lanes, are advanced together, and leave when they are done.

The one loop of the package. Printing, saving and progress belong to whoever consumes it: results are yielded as they come,
and `on_round` hears of every round.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from typing import Protocol

import numpy as np
import tensorflow as tf

from nc_tf.inversion import Inversion, RoundLog, Run, SearchSettings
from nc_tf.results import Status, Trigger

# One row of an arm's history, the original's log tuple.
HISTORY_COLUMNS = ("step", "loss_ce", "loss_reg", "loss", "attack_acc", "reg_best", "cost")


@dataclass(frozen=True, eq=False)
class Arm:
    """One (label, start) pair to search.

    Attributes:
        label: the target class.
        start: number of the random start, from 0.
        mask: (h, w) in [0, 1], where the search begins, before upsampling.
        pattern: (H, W, C) in [0, 255], likewise.
    """

    label: int
    start: int
    mask: np.ndarray
    pattern: np.ndarray


@dataclass(frozen=True, eq=False)
class ArmResult:
    """What the search of one arm found.

    Attributes:
        arm: which one.
        trigger: the smallest working one, or where none worked the last one; always finite.
        coarse_mask: (h, w) float32 in [0, 1], the trigger's mask before upsampling.
        status: how it ended.
        history: (rounds, 7) float64, one row a round, columns `HISTORY_COLUMNS`.
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


class Minibatches(Protocol):
    """Where a round's images come from."""

    def __call__(self, arms: Sequence[Arm], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        """Raw images (N, H, W, C), and the rows (K, A, B) int32 of each minibatch of each arm's coming round."""


class ResidentImages:
    """All images on the device as uint8 (or float32); every arm draws them in an order of its own, epoch after epoch.

    The order depends on the seed, the arm and its round alone: never on which other arms run, or on what was run before.
    """

    def __init__(self, images: np.ndarray, settings: SearchSettings, seed: int) -> None:
        self.images = tf.constant(images)
        self.settings, self.seed = settings, seed
        self._epoch = lru_cache(maxsize=256)(self._shuffle)

    def _shuffle(self, label: int, start: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, label, start, epoch]).permutation(len(self.images)).astype(np.int32)

    def _rows(self, arm: Arm, round_: int) -> np.ndarray:
        steps, batch = self.settings.batches_per_round, self.settings.batch_size
        needed = steps * batch
        epoch, offset = divmod(round_ * needed, len(self.images))
        last = (round_ * needed + needed - 1) // len(self.images)
        order = np.concatenate([self._epoch(arm.label, arm.start, number) for number in range(epoch, last + 1)])
        return order[offset : offset + needed].reshape(steps, batch)

    def __call__(self, arms: Sequence[Arm], rounds: Sequence[int]) -> tuple[tf.Tensor, np.ndarray]:
        return self.images, np.stack([self._rows(arm, round_) for arm, round_ in zip(arms, rounds, strict=True)], axis=1)


@dataclass
class _Lane:
    arm: Arm
    history: list[tuple[float, ...]] = field(default_factory=list)


def search(
    inversion: Inversion,
    arms: Iterable[Arm],
    minibatches: Minibatches,
    *,
    lanes: int = 8,
    on_round: Callable[[Sequence[Arm], Sequence[int], Run, RoundLog], None] = lambda arms, rounds, run, log: None,
) -> Iterator[ArmResult]:
    """Search every arm, at most `lanes` at a time, and yield each result as soon as it is there.

    Args:
        inversion: the compiled search.
        arms: read lazily, so that memory is bounded by the lanes.
        minibatches: the images of each round.
        lanes: arms advanced together.
        on_round: called after every round with the arms in their lanes, the number of the round each has ended (from 0), state and log.
    """
    waiting = iter(arms)
    active: list[_Lane] = []
    run: Run | None = None
    while True:
        fresh = list(islice(waiting, lanes - len(active)))
        if fresh:
            started = inversion.start([arm.mask for arm in fresh], [arm.pattern for arm in fresh])
            run = started if not active else tf.nest.map_structure(lambda old, new: tf.concat([old, new], axis=0), run, started)
            active += [_Lane(arm) for arm in fresh]
        if not active:
            return
        images, rows = minibatches([lane.arm for lane in active], [len(lane.history) for lane in active])
        targets = tf.constant([lane.arm.label for lane in active], tf.int32)
        run, report = inversion.advance(run, targets, images, tf.constant(rows))
        log = RoundLog(*report.numpy())
        for position, lane in enumerate(active):
            lane.history.append((len(lane.history), *(float(column[position]) for column in log[:6])))
        on_round([lane.arm for lane in active], [len(lane.history) - 1 for lane in active], run, log)
        done = [
            bool(log.stopped[p]) or not log.finite[p] or len(lane.history) >= inversion.settings.max_rounds for p, lane in enumerate(active)
        ]
        if any(done):
            yield from (_finish(inversion, run, log, p, lane) for p, lane in enumerate(active) if done[p])
            kept = [p for p in range(len(active)) if not done[p]]
            active = [active[p] for p in kept]
            rows_kept = tf.constant(kept, tf.int32)
            run = tf.nest.map_structure(lambda part, keep=rows_kept: tf.gather(part, keep), run)


def _finish(inversion: Inversion, run: Run, log: RoundLog, position: int, lane: _Lane) -> ArmResult:
    """Read one lane's result off the state."""
    found = bool(np.isfinite(log.reg_best[position]))
    if not log.finite[position]:
        status = Status.NONFINITE
    elif not found:
        status = Status.NEVER_SUCCEEDED
    else:
        status = Status.CONVERGED if log.stopped[position] else Status.MAX_ROUNDS
    # What has become NaN is no trigger: such an arm hands back its best so far, which before the first success is where it began.
    from_best = status == Status.NONFINITE or (found and not inversion.settings.save_last)
    z_mask, z_pattern = (part[position : position + 1] for part in (run.best if from_best else run.z))
    # Rounding puts either end up to 1e-7 outside of its range.
    mask = np.clip(inversion.space.masks(z_mask)[0, ..., 0].numpy(), 0.0, 1.0)
    pattern = np.clip(inversion.space.patterns(z_pattern)[0].numpy(), 0.0, 255.0)
    step = inversion.space.upsample_size
    return ArmResult(lane.arm, Trigger(lane.arm.label, mask, pattern), mask[::step, ::step], status, np.array(lane.history))
