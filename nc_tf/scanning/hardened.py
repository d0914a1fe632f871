"""The second search of labels with small norms: on a hardened twin, which ignores the triggers of the first one.

With two to four classes all labels are searched again, because their norms cannot be compared; with more those up to the median norm.
"""

from collections.abc import Sequence
from dataclasses import replace

import keras
import numpy as np

from nc_tf.detection.inconclusive import FEWEST_LABELS, is_compared
from nc_tf.detection.rises import Rise, RiseVerdict, judge_rises, judge_scores
from nc_tf.evaluation import accuracy, attacked
from nc_tf.results import LabelResult
from nc_tf.scanning.engines.choice import Engine
from nc_tf.scanning.full_search import search_fully
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.measuring import Measuring
from nc_tf.training.hardening import harden


def search_hardened(
    measuring: Measuring, labels: Sequence[LabelResult], cuts: Sequence[Cut], engine: Engine, *, lanes: int, grey: bool
) -> RiseVerdict:
    """Return which triggers are planted, by how far their norms rise.

    Args:
        measuring: the search problem, and the held-out images.
        labels: results of the first search.
        cuts: steps of successive halving, as in the first search.
        engine: where searches run.
        lanes: restarts advanced together.
        grey: whether restarts begin at `TriggerSpace.grey`, as in the first search.

    Raises:
        InputError: the model cannot be hardened.
    """
    task = measuring.task
    if task.labels is None:
        raise ValueError("images without classes: expected them for hardening")
    # A trigger that does not count, because the label needs none or it moves too few held-out images, has no norm to compare either.
    working = [entry for entry in labels if is_compared(entry, "robust")]
    if not working:
        return RiseVerdict((), ("no label has a working trigger to harden against",), float("nan"))
    median = float(np.median([entry.trigger.l1_norm for entry in working]))
    few = len(labels) < FEWEST_LABELS
    if not few:
        labels = working = [entry for entry in working if entry.trigger.l1_norm <= median]
    rows, triggers = task.minibatches.rows, [entry.trigger for entry in working]
    twin = harden(task.model, task.images[rows], task.labels[rows], triggers, task.preprocess, seed=task.seed % 2**32)
    again, after = replace(task, model=twin), {}
    for tried in search_fully(again, [entry.label for entry in labels], labels[0].starts, cuts, engine, lanes=lanes, grey=grey):
        norms = [one.trigger.l1_norm for one in tried if one.succeeded]
        after[tried[0].restart.label] = min(norms, default=float("nan"))
    rises = [_rise(measuring, entry, after[entry.label], twin, counts=entry in working) for entry in labels]
    held_out = measuring.images, measuring.labels, task.preprocess
    accuracies = accuracy(task.model, *held_out), accuracy(twin, *held_out)
    if few:
        return judge_rises(rises, int(np.prod(task.images.shape[-3:-1])), *accuracies)
    return judge_scores(rises, median, *accuracies)


def _rise(measuring: Measuring, entry: LabelResult, after: float, twin: keras.Model, *, counts: bool) -> Rise:
    before = entry.trigger.l1_norm if counts else float("nan")
    left = attacked(twin, measuring.images, measuring.labels, entry.trigger, measuring.task.preprocess).success
    return Rise(entry.label, before, after, left)
