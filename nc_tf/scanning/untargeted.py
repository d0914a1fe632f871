"""Search for a trigger that takes the images of every class away from it, wherever to.

A backdoor that sends each class to another one leads no single label astray, so that the search of labels passes over it. Here it is the
smallest change that moves everything: a few pixels where it was planted. In a network without one, the smallest such trigger is that of
the label that is easiest to reach, and all classes go there.
"""

from dataclasses import dataclass, replace

import numpy as np

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.evaluation import NO_CLASS, predict_classes
from nc_tf.inversion.restart import RestartResult
from nc_tf.inversion.step import SearchSettings, UntargetedInversion
from nc_tf.results import HISTORY_COLUMNS, UntargetedResult
from nc_tf.scanning.engines.choice import Engine
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.full_search import search_fully
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.measuring import Measuring, recognised_rows


@dataclass(frozen=True)
class UntargetedSettings:
    """Settings of the search, where they differ from those of the labels, whose norms it is compared with.

    Attributes:
        threshold: greatest success threshold, a share of the images that the model recognises.
        starts: number of restarts.
        cuts: steps of successive halving.
    """

    threshold: float
    starts: int
    cuts: tuple[Cut, ...]

    def search(self, labels: SearchSettings) -> SearchSettings:
        """Return the settings of a restart, made of those of the search of labels."""
        threshold = min(self.threshold, labels.cost.threshold)
        return replace(labels, exclude_target=False, cost=replace(labels.cost, threshold=threshold))


def search_untargeted(task: Task, settings: UntargetedSettings, engine: Engine, in_flight: int, measuring: Measuring) -> UntargetedResult:
    """Return the smallest trigger that takes every class away from itself.

    Args:
        task: the search problem of the labels, with the classes of its images.
        settings: settings of the search.
        engine: where searches run.
        in_flight: images in the network at once.
        measuring: measures the trigger on held-out images.
    """
    search = settings.search(task.settings)
    away = task.changed(settings=search, rows=recognised_rows(task, measuring), search=UntargetedInversion)

    no_label = task.network.num_classes  # a number that no class has
    lanes = max(1, in_flight // search.batch_size)
    (tried,) = search_fully(away, [no_label], settings.starts, settings.cuts, engine, lanes=lanes)
    working = [one for one in tried if one.succeeded]
    best = min(working, key=lambda one: one.trigger.l1_norm) if working else max(tried, key=_last_success)
    return _measured(best, tried, measuring, task.network.num_classes)


def _last_success(result: RestartResult) -> float:
    success = result.history[-1][HISTORY_COLUMNS.index("attack_acc")]
    return float(np.nan_to_num(success, nan=-1.0))


def _measured(best: RestartResult, tried: list[RestartResult], measuring: Measuring, num_classes: int) -> UntargetedResult:
    """Return the result, measured on the held-out images that the model recognises."""
    images, own = measuring.images[measuring.recognised], measuring.labels[measuring.recognised]
    answers = predict_classes(measuring.task.model, images, measuring.task.preprocess, best.trigger)
    targets = list(range(num_classes))
    for label in np.unique(own).tolist():
        moved = answers[(own == label) & (answers != label) & (answers != NO_CLASS)]
        # A class that stays, for the most part, is not sent anywhere.
        if 2 * len(moved) > (own == label).sum():
            targets[label] = int(np.bincount(moved).argmax())
    trigger = AllToAllTrigger(best.trigger.mask, best.trigger.pattern, tuple(targets))
    return UntargetedResult(trigger, best.status, own, answers, len(tried), sum(one.rounds for one in tried))
