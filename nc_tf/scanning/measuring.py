"""Measurements of triggers on held-out images."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from nc_tf.evaluation import Attacked, attacked, predict_classes, share
from nc_tf.inversion.restart import RestartResult
from nc_tf.results import LabelResult, Status, Trigger, Warp
from nc_tf.scanning.engines.task import Task

# Images whose classes the model is asked for, to search on those that it recognises; a search sees a few thousand.
MOST_ASKED = 2000


class Measuring:
    """Measurements of the triggers of one scan.

    Attributes:
        task: model and preprocessing.
        images: (M, H, W, C) held-out raw images, or clips (M, T, H, W, C); M may be 0.
        labels: (M,) their classes.
    """

    def __init__(self, task: Task, images: np.ndarray, labels: np.ndarray) -> None:
        """Keep the images without a copy."""
        self.task, self.images, self.labels = task, images, labels

    def answers(self, images: np.ndarray) -> np.ndarray:
        """Return the classes (N,) that the model predicts for raw images."""
        return predict_classes(self.task.model, images, self.task.preprocess)

    @cached_property
    def clean_answers(self) -> np.ndarray:
        """Return the model's classes of the held-out images without any trigger."""
        return self.answers(self.images)

    @cached_property
    def recognised(self) -> np.ndarray:
        """Return which held-out images (M,) the model recognises, bool."""
        return np.asarray(self.clean_answers == self.labels)

    def attacked(self, trigger: Trigger | Warp) -> Attacked:
        """Return the effect of a trigger on the images that it is for."""
        return attacked(self.task.model, self.images, self.labels, trigger, self.task.preprocess)

    def success(self, result: RestartResult) -> float:
        """Return the success rate of a restart's trigger, [0, 1]."""
        return self.attacked(result.trigger).success

    def without(self, trigger: Trigger | Warp) -> float:
        """Return the share of the same images that has the label without a trigger."""
        return share(self.clean_answers[self._victims(trigger)] == trigger.label)

    def count(self, trigger: Trigger | Warp) -> int:
        """Return the number of these images."""
        return int(self._victims(trigger).sum())

    def _victims(self, trigger: Trigger | Warp) -> np.ndarray:
        return np.asarray(trigger.wanted(self.labels) != self.labels)

    def result(self, tried: Sequence[RestartResult], chosen: RestartResult, patch: tuple[Trigger, Attacked] | None = None) -> LabelResult:
        """Return the result of a label, or a pair.

        Args:
            tried: all its restarts.
            chosen: the one whose trigger counts.
            patch: an opaque patch that is better than that trigger, and its effect.
        """
        trigger, measured = patch or (chosen.trigger, self.attacked(chosen.trigger))
        # A restart that broke down may have been on its way to the smallest trigger of all.
        broke_down = not measured.finite or any(result.status == Status.NONFINITE for result in tried)
        return LabelResult(
            trigger=trigger,
            status=chosen.status if patch is None else Status.CONVERGED,
            attack_success_rate=measured.success,
            zero_trigger_rate=self.without(trigger),
            starts=len(tried),
            rounds=sum(result.rounds for result in tried),
            num_measured=self.count(trigger),
            broke_down=broke_down,
            by_patch=patch is not None,
        )


def recognised_rows(task: Task, measuring: Measuring) -> np.ndarray:
    """Return the rows of images that the model recognises; all where it recognises none.

    Args:
        task: the search problem, with the classes of its images.
        measuring: asks the model.
    """
    rows = task.minibatches.rows
    if task.labels is None:
        raise ValueError("images without classes: expected them to know which ones the model recognises")
    asked = np.sort(np.random.default_rng(task.seed).permutation(rows)[:MOST_ASKED])
    right = measuring.answers(task.images[asked]) == task.labels[asked]
    return asked[right] if right.any() else asked
