"""Which of many labels are worth a full search: all are ranked by short ones until the set of the lowest settles (paper section V-C).

The labels that median and MAD are taken of are drawn by lot, before anything is known about them: those that rank low were chosen for
being small, and a median of them would be too small. What is decided depends only on how far the arms have come, so a scan can be cut
off, and go on elsewhere.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from nc_tf.inversion import SearchSettings
from nc_tf.racing import standing
from nc_tf.search import Arm, Leg, Progress


@dataclass(frozen=True)
class RankingSettings:
    """How labels are ranked.

    Attributes:
        search: of the short searches; the ranking ends after its `max_rounds` if it has not before.
        starts: short searches a label, of which the best goes on after the first look.
        lanes: arms advanced together.
        first: rounds before the first look at which labels are lowest.
        every: rounds from one look to the next.
        lowest: labels that get a full search because they rank lowest.
        sample: labels that get one because they were drawn by lot among all.
        settled: share of the lowest which, if they were there at the look before, ends the ranking, [0, 1].
    """

    search: SearchSettings
    starts: int
    lanes: int
    first: int
    every: int
    lowest: int
    sample: int
    settled: float

    def saves(self, num_labels: int) -> bool:
        """Whether so many labels are more than would get a full search anyway."""
        return num_labels > self.lowest + self.sample

    @property
    def looks(self) -> list[int]:
        """After how many rounds it is looked at which labels are lowest."""
        return [*range(self.first, self.search.max_rounds, self.every), self.search.max_rounds]


@dataclass(frozen=True)
class Shortlist:
    """What a ranking came to.

    Attributes:
        lowest: labels that rank lowest, the lowest first.
        sample: labels drawn by lot among all, in their order; some may be among the lowest.
        ranked_out: all others, in their order.
        rounds: rounds run, over all arms.
    """

    lowest: tuple[int, ...]
    sample: tuple[int, ...]
    ranked_out: tuple[int, ...]
    rounds: int

    @property
    def chosen(self) -> tuple[int, ...]:
        """The labels to search in full, each once, the most suspicious first."""
        return tuple(dict.fromkeys([*self.lowest, *self.sample]))

    def is_of(self, labels: Iterable[int]) -> bool:
        """Whether these are the labels that were ranked."""
        return {*self.chosen, *self.ranked_out} == set(labels)


class Ranking(Iterator[Leg]):
    """The legs of a ranking: all arms run to one look before any of them runs to the next.

    It runs dry while the last legs before a look are being run, and has more once it has been told what they came to.

    Of each label one state is kept from look to look; for colour images of 32x32 pixels it takes 64 KiB, so 84 MB for 1,283 labels.

    Attributes:
        over: whether nothing is left to run.
        rounds: rounds run, over all arms.
    """

    def __init__(
        self,
        labels: Iterable[int],
        arm: Callable[[int, int], Arm],
        settings: RankingSettings,
        seed: int,
        *,
        known: Iterable[Progress] = (),
    ) -> None:
        """Args:
        labels: to rank; more than `settings.lowest` and `settings.sample` together.
        arm: (label, start) -> where that search begins.
        settings: of the ranking.
        seed: of the lot.
        known: how far arms came before the ranking was cut off; those of other labels do not matter.
        """
        self.labels, self.arm, self.settings = sorted(labels), arm, settings
        drawn = np.random.default_rng([seed, len(self.labels)]).choice(self.labels, settings.sample, replace=False)
        self.sample = tuple(sorted(drawn.tolist()))
        self.over, self.rounds = False, 0
        # Until the first look all starts of a label, and from then on the best one.
        self.racing: dict[int, dict[int, Progress]] = {label: {} for label in self.labels}
        self.best: dict[int, Progress] = {}
        for progress in known:
            if progress.label in self.racing and progress.start < settings.starts:
                self.racing[progress.label][progress.start] = progress
                self.rounds += progress.rounds
        self.lowest: tuple[int, ...] = ()
        self.running: set[tuple[int, int]] = set()
        self.until = settings.looks[0]
        for label in self.labels:
            self._choose(label)
        self.waiting = deque(self._behind())
        self._look()

    @property
    def share(self) -> float:
        """How much is done of what a ranking takes at most, [0, 1]; 1 when it is over."""
        first, last = self.settings.looks[0], self.settings.looks[-1]
        most = len(self.labels) * (self.settings.starts * first + last - first)
        return 1.0 if self.over else self.rounds / most

    @property
    def shortlist(self) -> Shortlist:
        """What it has come to; final when it is over."""
        out = tuple(sorted({*self.labels} - {*self.lowest, *self.sample}))
        return Shortlist(self.lowest, self.sample, out, self.rounds)

    def __next__(self) -> Leg:
        if not self.waiting:
            raise StopIteration
        label, start = self.waiting.popleft()
        self.running.add((label, start))
        return Leg(self.arm(label, start), self.until, self._reached(label, start))

    def take(self, progress: Progress) -> None:
        """Hear what a leg came to."""
        label, start = progress.label, progress.start
        before = self._reached(label, start)
        self.rounds += progress.rounds - (before.rounds if before else 0)
        self.running.discard((label, start))
        if label in self.best:
            self.best[label] = progress
        else:
            self.racing[label][start] = progress
            self._choose(label)
        self._look()

    def _reached(self, label: int, start: int) -> Progress | None:
        return self.best.get(label) or self.racing[label].get(start)

    def _is_there(self, progress: Progress | None) -> bool:
        return progress is not None and (progress.rounds >= self.until or progress.ended(self.settings.search))

    def _choose(self, label: int) -> None:
        """Keep the best start of a label, once all have come to the first look."""
        starts = list(self.racing[label].values())
        if len(starts) == self.settings.starts and all(map(self._is_there, starts)):
            self.best[label] = min(starts, key=lambda progress: (standing(progress, self.until), progress.start))
            del self.racing[label]

    def _behind(self) -> list[tuple[int, int]]:
        """The arms that are not at the coming look yet."""
        arms = [(label, progress.start) for label, progress in self.best.items() if not self._is_there(progress)]
        for label, starts in self.racing.items():
            arms += [(label, start) for start in range(self.settings.starts) if not self._is_there(starts.get(start))]
        return sorted(arms)

    def _look(self) -> None:
        """See which labels are lowest, as often as no arm has to run for that."""
        looks = self.settings.looks
        while not (self.over or self.waiting or self.running):
            stands = {label: standing(progress, self.until) for label, progress in self.best.items()}
            lowest = tuple(sorted(self.labels, key=stands.__getitem__)[: self.settings.lowest])
            stayed, self.lowest = len({*self.lowest} & {*lowest}), lowest
            self.over = stayed >= self.settings.settled * len(lowest) or self.until == looks[-1]
            if not self.over:
                self.until = looks[looks.index(self.until) + 1]
                self.waiting = deque(self._behind())
