"""Which arm to advance next, when a label has several starts: all of them begin, the bad ones are dropped early, the best goes on.

A start that is going to fail shows it early (docs/scan-presets.md), so most of what many starts would cost is saved. What is decided
about a label depends on its own starts alone, and only on how far they have come: a scan can be cut off, and go on elsewhere.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from nc_tf.inversion.loop import Arm, Leg, Progress
from nc_tf.inversion.step import SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.results import HISTORY_COLUMNS

CE, REG_BEST = HISTORY_COLUMNS.index("loss_ce"), HISTORY_COLUMNS.index("reg_best")


@dataclass(frozen=True)
class Cut:
    """After so many rounds only the best starts of a label are kept.

    Attributes:
        rounds: of each start, from its beginning.
        keep: starts that go on.
    """

    rounds: int
    keep: int


def random_arm(space: TriggerSpace, label: int, start: int, seed: int, *, grey: bool = False) -> Arm:
    """An arm whose start depends on seed, label and number alone; see `TriggerSpace.random` and `TriggerSpace.grey`."""
    rng = np.random.default_rng([seed, label, start])
    return Arm(label, start, *(space.grey(rng, start) if grey else space.random(rng)))


def standing(progress: Progress, rounds: int) -> tuple[float, float]:
    """What starts are ranked by after so many rounds, smallest best: the norm of the best working trigger, then the cross-entropy.

    Of one that has gone on since, or ended before, it is where it stood then: a cut comes out the same whenever it is asked about.
    """
    if not progress.finite and progress.rounds <= rounds:
        return float("inf"), float("inf")
    row = progress.history[min(rounds, progress.rounds) - 1]
    return float(row[REG_BEST]), float(row[CE])


class Race(Iterator[Leg]):
    """The legs of a scan, one label after the other; a leg belongs to the earliest label that has one to run.

    It runs dry while all its legs are being run, and has more once it has been told what they came to.
    """

    def __init__(
        self,
        labels: Iterable[int],
        arm: Callable[[int, int], Arm],
        starts: int,
        settings: SearchSettings,
        *,
        cuts: Sequence[Cut] = (),
        leg: int = 8,
        known: Iterable[Progress] = (),
    ) -> None:
        """Args:
        labels: to search, in this order.
        arm: (label, start) -> where that search begins.
        starts: of each label.
        settings: of the search; its `max_rounds` is the end of the race.
        cuts: in the order of their rounds; those at or beyond the end are left out.
        leg: most rounds in one go, so that what is reached can be saved now and then.
        known: how far arms came before the scan was cut off.
        """
        self.arm, self.starts, self.settings, self.leg = arm, starts, settings, leg
        self.stages = [cut for cut in cuts if cut.rounds < settings.max_rounds] + [Cut(settings.max_rounds, 1)]
        self.reached: dict[int, dict[int, Progress]] = defaultdict(dict)
        for progress in known:
            self.reached[progress.label][progress.start] = progress
        labels = list(labels)
        self.open = [label for label in labels if label in self.reached]
        self.waiting = iter([label for label in labels if label not in self.reached])
        self.running: set[tuple[int, int]] = set()

    def __next__(self) -> Leg:
        for label in self._labels():
            for start, until in self._behind(label):
                if (label, start) not in self.running:
                    self.running.add((label, start))
                    return Leg(self.arm(label, start), until, self.reached[label].get(start))
        raise StopIteration

    def _labels(self) -> Iterator[int]:
        """Those begun, then a new one."""
        yield from self.open
        for label in self.waiting:
            self.open.append(label)
            yield label

    def _behind(self, label: int) -> list[tuple[int, int]]:
        """The starts that must run before anything can be decided about the label, and how far; none when it is finished."""
        reached, alive = self.reached[label], list(range(self.starts))
        for stage in self.stages:
            behind = []
            for start in alive:
                rounds = reached[start].rounds if start in reached else 0
                if rounds < stage.rounds and not (start in reached and reached[start].ended(self.settings)):
                    behind.append((start, min(rounds + self.leg, stage.rounds)))
            if behind:
                return behind
            alive = sorted(alive, key=lambda start: standing(reached[start], stage.rounds))[: stage.keep]
        return []

    def take(self, progress: Progress) -> None:
        """Hear what a leg came to."""
        self.running.discard((progress.label, progress.start))
        self.reached[progress.label][progress.start] = progress

    def finished(self) -> Iterator[list[Progress]]:
        """All starts, in their order, of each label about which nothing is left to run; each label once."""
        for label in [label for label in self.open if not self._behind(label)]:
            self.open.remove(label)
            reached = self.reached.pop(label)
            yield [reached[start] for start in range(self.starts)]
