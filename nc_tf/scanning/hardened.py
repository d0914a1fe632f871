"""The second search of few labels: on a hardened twin, which ignores the triggers of the first one."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import keras
import numpy as np

from nc_tf.detection.rises import Rise, RiseVerdict, judge_rises
from nc_tf.evaluation import accuracy, attacked
from nc_tf.inversion.loop import result_of
from nc_tf.inversion.restart import Restart
from nc_tf.results import LabelResult
from nc_tf.scanning.engines.choice import Engine
from nc_tf.scanning.halving import Cut, SuccessiveHalving
from nc_tf.scanning.measuring import Measuring
from nc_tf.training.hardening import harden

Pair = tuple[np.ndarray, np.ndarray]


def search_hardened(
    measuring: Measuring,
    labels: Sequence[LabelResult],
    restart: Callable[[int, int], Restart],
    cuts: Sequence[Cut],
    engine: Engine,
    *,
    lanes: int,
) -> RiseVerdict:
    """Return which triggers are planted, by how far their norms rise.

    Args:
        measuring: the search problem, and the held-out images.
        labels: results of the first search.
        restart: function that makes restart number `start` of a label from (label, start).
        cuts: steps of successive halving, as in the first search.
        engine: where searches run.
        lanes: restarts advanced together.
    """
    task = measuring.task
    if task.labels is None:
        raise ValueError("images without classes: expected them for hardening")
    working = [entry for entry in labels if entry.succeeded]
    if not working:
        return RiseVerdict((), ("no label has a working trigger to harden against",), float("nan"))
    rows = task.minibatches.rows
    twin = harden(task.model, task.images[rows], task.labels[rows], [entry.trigger for entry in working], task.preprocess, seed=task.seed)
    again = replace(task, model=twin)
    race = SuccessiveHalving([entry.label for entry in labels], restart, labels[0].starts, task.settings, cuts=cuts)
    after = {}
    with closing(engine(again, race, lanes=lanes, on_round=lambda *_: None)) as reached:
        for progress in reached:
            race.take(progress)
            for restarts in race.finished():
                tried = [result_of(again.inversion, restart(one.label, one.start), one) for one in restarts]
                norms = [one.trigger.l1_norm for one in tried if one.succeeded]
                after[tried[0].restart.label] = min(norms, default=float("nan"))
    rises = [_rise(measuring, entry, after[entry.label], twin) for entry in labels]
    held_out = measuring.images, measuring.labels, task.preprocess
    pixels = int(np.prod(task.images.shape[-3:-1]))
    return judge_rises(rises, pixels, accuracy(task.model, *held_out), accuracy(twin, *held_out))


def _rise(measuring: Measuring, entry: LabelResult, after: float, twin: keras.Model) -> Rise:
    before = entry.trigger.l1_norm if entry.succeeded else float("nan")
    left = attacked(twin, measuring.images, measuring.labels, entry.trigger, measuring.task.preprocess).success
    return Rise(entry.label, before, after, left)
