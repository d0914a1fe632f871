"""The second search of few labels: on a hardened twin, which ignores the triggers of the first one."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

import keras
import numpy as np

from nc_tf.detection.inconclusive import is_compared
from nc_tf.detection.rises import Rise, RiseVerdict, judge_rises
from nc_tf.errors import InputError
from nc_tf.evaluation import accuracy, attacked
from nc_tf.inversion.loop import result_of
from nc_tf.inversion.restart import Restart
from nc_tf.results import LabelResult
from nc_tf.scanning.engines.choice import Engine
from nc_tf.scanning.halving import Cut, SuccessiveHalving
from nc_tf.scanning.measuring import Measuring
from nc_tf.training.hardening import harden


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

    A model that cannot be hardened is left open, because all labels have been searched by then.

    Args:
        measuring: the search problem, and the held-out images.
        labels: results of the first search.
        restart: function that makes restart number `start` of a label from (label, start).
        cuts: steps of successive halving, as in the first search.
        engine: where searches run.
        lanes: restarts advanced together.
    """
    try:
        return _rises(measuring, labels, restart, cuts, engine, lanes)
    except InputError as error:
        return RiseVerdict((), (f"the model could not be hardened ({error})",), float("nan"))


def _rises(
    measuring: Measuring,
    labels: Sequence[LabelResult],
    restart: Callable[[int, int], Restart],
    cuts: Sequence[Cut],
    engine: Engine,
    lanes: int,
) -> RiseVerdict:
    task = measuring.task
    if task.labels is None:
        raise ValueError("images without classes: expected them for hardening")
    # A trigger that does not count, because the label needs none or it moves too few held-out images, has no norm to compare either.
    working = [entry for entry in labels if is_compared(entry, "robust")]
    if not working:
        return RiseVerdict((), ("no label has a working trigger to harden against",), float("nan"))
    rows = task.minibatches.rows
    twin = harden(
        task.model, task.images[rows], task.labels[rows], [entry.trigger for entry in working], task.preprocess, seed=task.seed % 2**32
    )
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
    rises = [_rise(measuring, entry, after[entry.label], twin, counts=entry in working) for entry in labels]
    held_out = measuring.images, measuring.labels, task.preprocess
    pixels = int(np.prod(task.images.shape[-3:-1]))
    return judge_rises(rises, pixels, accuracy(task.model, *held_out), accuracy(twin, *held_out))


def _rise(measuring: Measuring, entry: LabelResult, after: float, twin: keras.Model, *, counts: bool) -> Rise:
    before = entry.trigger.l1_norm if counts else float("nan")
    left = attacked(twin, measuring.images, measuring.labels, entry.trigger, measuring.task.preprocess).success
    return Rise(entry.label, before, after, left)
