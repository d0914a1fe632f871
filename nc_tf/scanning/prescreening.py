"""Pre-screening of many labels by short searches (paper section V-C).

It ends when the set of the lowest labels settles.

Median and MAD are those of a random sample, which is drawn before the first search. The lowest labels were chosen for small norms, so
that their own median would be too small. Every decision depends on checkpoints alone, so that a stopped scan can go on elsewhere.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nc_tf.inversion.restart import Checkpoint, Restart, Segment
from nc_tf.inversion.step import SearchSettings
from nc_tf.scanning.halving import Cut, SuccessiveHalving, standing


@dataclass(frozen=True)
class PrescreeningSettings:
    """Settings of pre-screening, which compares all labels at certain rounds, the looks.

    Attributes:
        search: settings of the short searches; pre-screening ends after `max_rounds` at the latest.
        starts: restarts a label.
        cuts: steps of successive halving; from the first look on, a label has one restart.
        lanes: restarts advanced together.
        first: rounds before the first look.
        every: rounds from one look to the next.
        lowest: number of labels that get a full search because their norms are lowest.
        sample: number of labels in the random sample, which get a full search as well.
        settled: share of the lowest labels, [0, 1]; pre-screening ends when this share is the same as at the look before.
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
        """Return whether pre-screening drops some of this number of labels."""
        return num_labels > self.lowest + self.sample

    @property
    def looks(self) -> list[int]:
        """Return the numbers of rounds after which all labels are compared."""
        return [*range(self.first, self.search.max_rounds, self.every), self.search.max_rounds]


@dataclass(frozen=True)
class Shortlist:
    """Outcome of pre-screening.

    Attributes:
        lowest: labels with the lowest norms, the lowest first.
        sample: random sample of all labels, in their order; some may be among the lowest.
        ranked_out: all other labels, in their order.
        rounds: rounds run, over all restarts; a restart that ended before it was dropped counts in full.
    """

    lowest: tuple[int, ...]
    sample: tuple[int, ...]
    ranked_out: tuple[int, ...]
    rounds: int

    @property
    def chosen(self) -> tuple[int, ...]:
        """Return the labels to search in full, each once, the lowest first."""
        return tuple(dict.fromkeys([*self.lowest, *self.sample]))

    def is_of(self, labels: Iterable[int]) -> bool:
        """Return whether these are the labels that were pre-screened."""
        return {*self.chosen, *self.ranked_out} == set(labels)


class Prescreening(Iterator[Segment]):
    """Segments of pre-screening.

    Successive halving leads to the first look. The best restart of every label then goes on from look to look.

    A segment is a part of a restart: some rounds in one go. The iterator raises StopIteration while results are pending, and goes on after
    `take` has received them.

    One checkpoint a label is kept from look to look. For colour images of 32x32 pixels it takes 64 KiB, so 84 MB for 1,283 labels.

    Attributes:
        over: whether nothing is left to run.
        rounds: rounds of the labels that have come to the first look; a restart that ended before it was dropped counts in full.
    """

    def __init__(
        self,
        labels: Iterable[int],
        restart: Callable[[int, int], Restart],
        settings: PrescreeningSettings,
        seed: int,
        *,
        known: Iterable[Checkpoint] = (),
    ) -> None:
        """Draw the random sample, and take the checkpoints of an earlier part.

        Args:
            labels: labels to compare; more than `settings.lowest` and `settings.sample` together.
            restart: function that makes restart number `start` of a label from (label, start).
            settings: settings of pre-screening.
            seed: seed of the random sample.
            known: checkpoints that `take` returned before pre-screening was stopped; those of other labels are ignored.
        """
        self.labels, self.restart, self.settings = sorted(labels), restart, settings
        drawn = np.random.default_rng([seed, len(self.labels)]).choice(self.labels, settings.sample, replace=False)
        self.sample = tuple(sorted(drawn.tolist()))
        self.over, self.until = False, settings.looks[0]
        self.lowest: tuple[int, ...] = ()
        # One checkpoint of each label that has come to the first look; the others are under successive halving.
        asked = set(self.labels)
        self.best = {progress.label: progress for progress in known if progress.label in asked and self._is_there(progress)}
        self.rounds = sum(self._rounds(progress.rounds) for progress in self.best.values())
        others = [label for label in self.labels if label not in self.best]
        self.race = SuccessiveHalving(others, restart, settings.starts, replace(settings.search, max_rounds=self.until), cuts=settings.cuts)
        self.waiting: deque[int] = deque()
        self.running: set[int] = set()
        self._look()

    @property
    def share(self) -> float:
        """Return the share of all rounds that is done, [0, 1].

        It counts the most rounds that pre-screening can take, and is 1 when it is over.
        """
        most = len(self.labels) * self._rounds(self.settings.looks[-1])
        return 1.0 if self.over else self.rounds / most

    @property
    def shortlist(self) -> Shortlist:
        """Return the outcome so far; final when pre-screening is over."""
        out = tuple(sorted({*self.labels} - {*self.lowest, *self.sample}))
        return Shortlist(self.lowest, self.sample, out, self.rounds)

    def __next__(self) -> Segment:
        """Return the next segment.

        Raises:
            StopIteration: nothing is left, or results are pending.
        """
        segment = next(self.race, None)
        if segment is not None:
            return segment
        if not self.waiting:
            raise StopIteration
        label = self.waiting.popleft()
        self.running.add(label)
        return Segment(self.restart(label, self.best[label].start), self.until, self.best[label])

    def take(self, progress: Checkpoint) -> Checkpoint | None:
        """Receive the checkpoint at the end of a segment.

        Args:
            progress: the checkpoint.

        Returns:
            The checkpoint of the label's best restart, if the label has now come to a look; otherwise None.
        """
        reached: Checkpoint | None = progress
        if progress.label in self.best:
            self.running.discard(progress.label)
            self.rounds += progress.rounds - self.best[progress.label].rounds
            self.best[progress.label] = progress
        else:
            self.race.take(progress)
            reached = next((self._choose(starts) for starts in self.race.finished()), None)
        self._look()
        return reached

    def _choose(self, starts: list[Checkpoint]) -> Checkpoint:
        best = min(starts, key=lambda progress: (not self._is_there(progress), standing(progress, self.until), progress.start))
        self.best[best.label] = best
        self.rounds += self._rounds(best.rounds)
        return best

    def _is_there(self, progress: Checkpoint) -> bool:
        return progress.rounds >= self.until or progress.ended(self.settings.search)

    def _look(self) -> None:
        """Compare the labels at every look that all of them have reached."""
        looks = self.settings.looks
        while len(self.best) == len(self.labels) and not (self.over or self.waiting or self.running):
            # A label whose search broke down comes first: its trigger is unknown, and only a full search can report that.
            stands = {label: (progress.finite, standing(progress, self.until)) for label, progress in self.best.items()}
            lowest = tuple(sorted(self.labels, key=stands.__getitem__)[: self.settings.lowest])
            stayed, self.lowest = len({*self.lowest} & {*lowest}), lowest
            self.over = stayed >= self.settings.settled * len(lowest) or self.until == looks[-1]
            if not self.over:
                self.until = looks[looks.index(self.until) + 1]
                self.waiting.extend(label for label in self.labels if not self._is_there(self.best[label]))

    def _rounds(self, until: int) -> int:
        """Return the rounds of all restarts of a label.

        Args:
            until: rounds of its best restart.
        """
        rounds, begun, alive = 0, 0, self.settings.starts
        for cut in [*self.settings.cuts, Cut(self.settings.looks[0], 1)]:
            end = min(cut.rounds, self.settings.looks[0])
            rounds, begun, alive = rounds + alive * (end - begun), end, cut.keep
        return rounds + max(0, until - begun)
