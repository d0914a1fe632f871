"""Successive halving of the restarts of a label.

All restarts begin, the worse ones are dropped early, and the best goes on.

A restart that will fail shows it early (docs/results/restarts.md), so that most of the rounds of several restarts are saved. Decisions
about a label depend only on the checkpoints of its own restarts, so that a stopped scan can go on elsewhere.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nc_tf.inversion.restart import Checkpoint, Restart, Segment
from nc_tf.inversion.step import SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.results import HISTORY_COLUMNS

CE, REG_BEST = HISTORY_COLUMNS.index("loss_ce"), HISTORY_COLUMNS.index("reg_best")


@dataclass(frozen=True)
class Cut:
    """One step of successive halving: after `rounds` rounds only the `keep` best restarts of a label go on.

    Attributes:
        rounds: rounds of each restart, counted from its beginning.
        keep: number of restarts that go on.
    """

    rounds: int
    keep: int


def random_restart(space: TriggerSpace, label: int, start: int, seed: int, *, grey: bool = False) -> Restart:
    """Return a restart that depends on seed, label and number alone.

    Args:
        space: where its trigger lives.
        label: the target class.
        start: number of the restart, from 0.
        seed: of the scan.
        grey: whether it begins at `TriggerSpace.grey` instead of `TriggerSpace.random`.
    """
    rng = np.random.default_rng([seed, label, start])
    return Restart(label, start, *(space.grey(rng, start) if grey else space.random(rng)))


def standing(progress: Checkpoint, rounds: int) -> tuple[float, float]:
    """Return the sort key of a restart; the smallest is the best.

    The key holds for that round, or for the last one of a restart that ended before. A cut therefore comes out the same whenever it is
    computed.

    Args:
        progress: the restart's latest checkpoint.
        rounds: rounds after which restarts are compared.

    Returns:
        The norm of the best working trigger, then the cross-entropy; infinite for a restart that broke down.
    """
    if not progress.finite and progress.rounds <= rounds:
        return float("inf"), float("inf")
    row = progress.history[min(rounds, progress.rounds) - 1]
    return float(row[REG_BEST]), float(row[CE])


class SuccessiveHalving(Iterator[Segment]):
    """Segments of a scan under successive halving.

    Labels follow each other: the next segment is of the earliest label that has one.

    A segment is a part of a restart: some rounds in one go. The iterator raises StopIteration while results are pending, and goes on after
    `take` has received them.
    """

    def __init__(
        self,
        labels: Iterable[int],
        restart: Callable[[int, int], Restart],
        starts: int,
        settings: SearchSettings,
        *,
        cuts: Sequence[Cut] = (),
        segment: int = 8,
        known: Iterable[Checkpoint] = (),
    ) -> None:
        """Take the checkpoints of an earlier part.

        Args:
            labels: labels to search, in this order.
            restart: function that makes restart number `start` of a label from (label, start).
            starts: number of restarts of each label.
            settings: settings of the search; `max_rounds` ends every restart.
            cuts: steps of successive halving, in the order of their rounds; those at or beyond the end are left out.
            segment: most rounds of a segment; a checkpoint is saved after each.
            known: checkpoints of an earlier part that was stopped.
        """
        self.restart, self.starts, self.settings, self.segment = restart, starts, settings, segment
        self.stages = [cut for cut in cuts if cut.rounds < settings.max_rounds] + [Cut(settings.max_rounds, 1)]
        self.reached: dict[int, dict[int, Checkpoint]] = defaultdict(dict)
        for progress in known:
            self.reached[progress.label][progress.start] = progress
        labels = list(labels)
        self.open = [label for label in labels if label in self.reached]
        self.waiting = iter([label for label in labels if label not in self.reached])
        self.running: set[tuple[int, int]] = set()

    def __next__(self) -> Segment:
        """Return the next segment.

        Raises:
            StopIteration: nothing is left, or results are pending.
        """
        for label in self._labels():
            for start, until in self._behind(label):
                if (label, start) not in self.running:
                    self.running.add((label, start))
                    return Segment(self.restart(label, start), until, self.reached[label].get(start))
        raise StopIteration

    def _labels(self) -> Iterator[int]:
        """Yield the labels that have begun, then new ones."""
        yield from self.open
        for label in self.waiting:
            self.open.append(label)
            yield label

    def _behind(self, label: int) -> list[tuple[int, int]]:
        """Return the restarts on which a label waits, and their next rounds.

        Each must run to that round before the next decision.

        The list is empty when the label is finished.
        """
        reached, alive = self.reached[label], list(range(self.starts))
        for stage in self.stages:
            behind = []
            for start in alive:
                rounds = reached[start].rounds if start in reached else 0
                if rounds < stage.rounds and not (start in reached and reached[start].ended(self.settings)):
                    behind.append((start, min(rounds + self.segment, stage.rounds)))
            if behind:
                return behind
            alive = sorted(alive, key=lambda start: standing(reached[start], stage.rounds))[: stage.keep]
        return []

    def take(self, progress: Checkpoint) -> None:
        """Receive the checkpoint at the end of a segment."""
        self.running.discard((progress.label, progress.start))
        self.reached[progress.label][progress.start] = progress

    def finished(self) -> Iterator[list[Checkpoint]]:
        """Yield the checkpoints of all restarts of each finished label.

        Each label comes once, its restarts in the order of their numbers.
        """
        for label in [label for label in self.open if not self._behind(label)]:
            self.open.remove(label)
            reached = self.reached.pop(label)
            yield [reached[start] for start in range(self.starts)]
