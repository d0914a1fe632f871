"""Search, for every class, of the smallest trigger that takes it away from itself, wherever to, and leaves the other classes alone.

A backdoor with a source sends one class, or a few, to its target. The search of labels passes over it, because no trigger works on all
classes. A natural trigger of one class mostly works on others too, so that one which shall not is larger.

Small ones are searched again on a hardened twin, a copy that ignores them: a planted one is not replaced by another of its size.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import keras
import numpy as np

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.detection.rises import lost_accuracy
from nc_tf.detection.source_specific import candidates
from nc_tf.errors import InputError
from nc_tf.evaluation import NO_CLASS, accuracy, predict_classes, share
from nc_tf.inversion.restart import RestartResult
from nc_tf.inversion.step import SearchSettings, SourceInversion
from nc_tf.results import SourceResult, Status
from nc_tf.scanning.engines.choice import Engine
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.full_search import search_fully
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.measuring import Measuring, recognised_rows
from nc_tf.training.hardening import harden

# Images of a class, of those that the model recognises, below which a trigger would be that of a few images.
FEWEST_IMAGES = 5


@dataclass(frozen=True)
class SourceSettings:
    """Settings of the search, where they differ from those of the labels.

    Attributes:
        threshold: success threshold, a share of the images of the source; the share of others that stay may be lower by `MOST_FOLLOWING`.
        starts: number of restarts a source.
        cuts: steps of successive halving.
    """

    threshold: float
    starts: int
    cuts: tuple[Cut, ...]

    def search(self, labels: SearchSettings) -> SearchSettings:
        """Return the settings of a restart, made of those of the search of labels."""
        even = max(2, labels.batch_size // 2 * 2)
        return replace(labels, batch_size=even, exclude_target=False, cost=replace(labels.cost, threshold=self.threshold))


class SourceSearch:
    """The searches for one model.

    Attributes:
        task: the search problem, on images that the model recognises.
        sources: classes with enough such images.
    """

    def __init__(self, task: Task, settings: SourceSettings, engine: Engine, in_flight: int, measuring: Measuring) -> None:
        """Ask the model which images it recognises.

        Args:
            task: the search problem of the labels, with the classes of its images.
            settings: settings of the search.
            engine: where searches run.
            in_flight: images in the network at once.
            measuring: measures triggers on held-out images.
        """
        search, rows = settings.search(task.settings), recognised_rows(task, measuring)
        self.task = task.changed(settings=search, rows=rows, search=SourceInversion)
        self.settings, self.engine, self.measuring = settings, engine, measuring
        self._labels = np.asarray(task.labels)
        self.lanes = max(1, in_flight // search.batch_size)
        classes, counts = np.unique(self._labels[rows], return_counts=True)
        self.sources: list[int] = classes[counts >= FEWEST_IMAGES].tolist() if len(classes) > 1 else []

    def first(self, sources: Sequence[int]) -> Iterator[SourceResult]:
        """Yield the smallest trigger of each source, as soon as its search ends."""
        for tried in self._search(self.task, sources):
            yield self._measured(self._best(tried), tried)

    def again(self, found: Sequence[SourceResult]) -> list[SourceResult]:
        """Return the results, with the norms of small triggers after hardening.

        Args:
            found: results of all sources, some of them `candidates`.

        Raises:
            InputError: the model cannot be hardened, or recognises other images then.
        """
        small = candidates(found)
        task, rows = self.task, self.task.minibatches.rows
        triggers = [result.trigger for result in found if result.source in small]
        twin = harden(task.model, task.images[rows], self._labels[rows], triggers, task.preprocess, seed=task.seed % 2**32)
        self._check_accuracy(twin)
        after = {tried[0].restart.label: tried for tried in self._search(replace(task, model=twin), small)}
        return [self._beside(result, after[result.source], twin) if result.source in after else result for result in found]

    def _check_accuracy(self, twin: keras.Model) -> None:
        """Refuse a twin that is another network."""
        held_out = self.measuring.images, self.measuring.labels
        before, after = (accuracy(model, *held_out, self.task.preprocess) for model in (self.task.model, twin))
        lost = lost_accuracy(before, after)
        if lost:
            raise InputError(lost)

    def _beside(self, result: SourceResult, tried: Sequence[RestartResult], twin: keras.Model) -> SourceResult:
        """Return a result with what its search on the twin has come to."""
        best, norm = self._best(tried), float("nan")
        status = Status.NONFINITE if any(one.status is Status.NONFINITE for one in tried) else best.status
        if status.succeeded:
            norm = best.trigger.l1_norm
        of_source = self.measuring.recognised & (self.measuring.labels == result.source)
        answers = predict_classes(twin, self.measuring.images[of_source], self.task.preprocess, result.trigger)
        return replace(result, again=status, norm_after=norm, left_rate=share(answers == result.target))

    def _search(self, task: Task, sources: Sequence[int]) -> Iterator[list[RestartResult]]:
        return search_fully(task, sources, self.settings.starts, self.settings.cuts, self.engine, lanes=self.lanes)

    @staticmethod
    def _best(tried: Sequence[RestartResult]) -> RestartResult:
        working = [one for one in tried if one.succeeded]
        return min(working, key=lambda one: one.trigger.l1_norm) if working else tried[0]

    def _measured(self, best: RestartResult, tried: Sequence[RestartResult]) -> SourceResult:
        """Return the result, measured on the held-out images that the model recognises."""
        source, measuring, num_classes = best.restart.label, self.measuring, self.task.network.num_classes
        own = measuring.labels[measuring.recognised]
        answers = predict_classes(self.task.model, measuring.images[measuring.recognised], self.task.preprocess, best.trigger)
        of_source, moved = answers[own == source], (own == source) & (answers != source) & (answers != NO_CLASS)
        target = int(np.bincount(answers[moved]).argmax()) if moved.any() else source
        targets = tuple(target if label == source else label for label in range(num_classes))
        broke_down = any(one.status is Status.NONFINITE for one in tried) or (answers == NO_CLASS).any()
        return SourceResult(
            source=source,
            trigger=AllToAllTrigger(best.trigger.mask, best.trigger.pattern, targets),
            status=Status.NONFINITE if broke_down else best.status,
            attack_success_rate=share((of_source == target) & (target != source)),
            kept_rate=share((answers == own)[own != source]),
            num_measured=len(of_source),
            starts=len(tried),
            rounds=sum(one.rounds for one in tried),
        )
