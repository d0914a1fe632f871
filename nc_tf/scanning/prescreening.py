"""Which of many labels are worth a full search: all are ranked by short ones until the set of the lowest settles (paper section V-C).

The labels that median and MAD are taken of are drawn by lot, before anything is known about them: those that rank low were chosen for
being small, and a median of them would be too small. What is decided depends only on how far the arms have come, so a scan can be cut
off, and go on elsewhere.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nc_tf.inversion.restart import Arm, Leg, Progress
from nc_tf.inversion.step import SearchSettings
from nc_tf.scanning.halving import Cut, Race, standing


@dataclass(frozen=True)
class RankingSettings:
    """How labels are ranked.

    Attributes:
        search: of the short searches; the ranking ends after its `max_rounds` if it has not before.
        starts: short searches a label.
        cuts: when which of them are dropped; from the first look on a label has one.
        lanes: arms advanced together.
        first: rounds before the first look at which labels are lowest.
        every: rounds from one look to the next.
        lowest: labels that get a full search because they rank lowest.
        sample: labels that get one because they were drawn by lot among all.
        settled: share of the lowest which, if they were there at the look before, ends the ranking, [0, 1].
    """

    search: SearchSettings
    starts: int
    cuts: tuple[Cut, ...]
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
        rounds: rounds run, over all arms; one that ended before it was cut counts in full.
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
    """The legs of a ranking: the starts of each label race to the first look, and the best ones go on from look to look together.

    It runs dry while the last legs before a look are being run, and has more once it has been told what they came to.

    Of each label one state is kept from look to look; for colour images of 32x32 pixels it takes 64 KiB, so 84 MB for 1,283 labels.

    Attributes:
        over: whether nothing is left to run.
        rounds: rounds of the labels that have come to the first look; an arm that ended before it was cut counts in full.
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
        known: what `take` returned before the ranking was cut off; what it says of other labels does not matter.
        """
        self.labels, self.arm, self.settings = sorted(labels), arm, settings
        drawn = np.random.default_rng([seed, len(self.labels)]).choice(self.labels, settings.sample, replace=False)
        self.sample = tuple(sorted(drawn.tolist()))
        self.over, self.until = False, settings.looks[0]
        self.lowest: tuple[int, ...] = ()
        # The arm of each label that has come to the first look; the others race.
        wanted = set(self.labels)
        self.best = {progress.label: progress for progress in known if progress.label in wanted and self._is_there(progress)}
        self.rounds = sum(self._rounds(progress.rounds) for progress in self.best.values())
        racing = [label for label in self.labels if label not in self.best]
        self.race = Race(racing, arm, settings.starts, replace(settings.search, max_rounds=self.until), cuts=settings.cuts)
        self.waiting: deque[int] = deque()
        self.running: set[int] = set()
        self._look()

    @property
    def share(self) -> float:
        """How much is done of what a ranking takes at most, [0, 1]; 1 when it is over."""
        most = len(self.labels) * self._rounds(self.settings.looks[-1])
        return 1.0 if self.over else self.rounds / most

    @property
    def shortlist(self) -> Shortlist:
        """What it has come to; final when it is over."""
        out = tuple(sorted({*self.labels} - {*self.lowest, *self.sample}))
        return Shortlist(self.lowest, self.sample, out, self.rounds)

    def __next__(self) -> Leg:
        leg = next(self.race, None)
        if leg is not None:
            return leg
        if not self.waiting:
            raise StopIteration
        label = self.waiting.popleft()
        self.running.add(label)
        return Leg(self.arm(label, self.best[label].start), self.until, self.best[label])

    def take(self, progress: Progress) -> Progress | None:
        """Hear what a leg came to, and tell how far its label has come, if it has now come to a look."""
        reached: Progress | None = progress
        if progress.label in self.best:
            self.running.discard(progress.label)
            self.rounds += progress.rounds - self.best[progress.label].rounds
            self.best[progress.label] = progress
        else:
            self.race.take(progress)
            reached = next((self._choose(starts) for starts in self.race.finished()), None)
        self._look()
        return reached

    def _choose(self, starts: list[Progress]) -> Progress:
        best = min(starts, key=lambda progress: (not self._is_there(progress), standing(progress, self.until), progress.start))
        self.best[best.label] = best
        self.rounds += self._rounds(best.rounds)
        return best

    def _is_there(self, progress: Progress) -> bool:
        return progress.rounds >= self.until or progress.ended(self.settings.search)

    def _look(self) -> None:
        """See which labels are lowest, as often as no arm has to run for that."""
        looks = self.settings.looks
        while len(self.best) == len(self.labels) and not (self.over or self.waiting or self.running):
            # A label whose search broke down comes first: a full search is to say that of it, since nothing is known of its trigger.
            stands = {label: (progress.finite, standing(progress, self.until)) for label, progress in self.best.items()}
            lowest = tuple(sorted(self.labels, key=stands.__getitem__)[: self.settings.lowest])
            stayed, self.lowest = len({*self.lowest} & {*lowest}), lowest
            self.over = stayed >= self.settings.settled * len(lowest) or self.until == looks[-1]
            if not self.over:
                self.until = looks[looks.index(self.until) + 1]
                self.waiting.extend(label for label in self.labels if not self._is_there(self.best[label]))

    def _rounds(self, until: int) -> int:
        """Rounds of all starts of a label, of which the best has run so many."""
        rounds, begun, alive = 0, 0, self.settings.starts
        for cut in [*self.settings.cuts, Cut(self.settings.looks[0], 1)]:
            end = min(cut.rounds, self.settings.looks[0])
            rounds, begun, alive = rounds + alive * (end - begun), end, cut.keep
        return rounds + max(0, until - begun)
