"""Searches for a small change of the whole image that sends images to a label: a faint picture, or a short warp.

The search of masks passes over both, because their masks are as large as the image. A label's change is compared with those of the others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from nc_tf.backdoor import Trigger, Warp
from nc_tf.inversion.loop import outcome_of
from nc_tf.inversion.step import SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.inversion.warp import SHORTEST_WARP, WarpSpace, warp_of
from nc_tf.inversion.whole_image import WHOLE_IMAGE, WholeImageSpace, picture_of
from nc_tf.results import ChangeResult, Status
from nc_tf.scanning.engines.choice import Engine
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.full_search import ends_of
from nc_tf.scanning.measuring import Measuring


@dataclass(frozen=True)
class ChangeKind:
    """One kind of change.

    Attributes:
        space: where the changes live.
        settings: settings of the search.
        found: returns the change of a state and its size, from its label, its space and z.
    """

    space: type[TriggerSpace]
    settings: SearchSettings
    found: Callable[[int, TriggerSpace, tuple[tf.Tensor, tf.Tensor]], tuple[Trigger | Warp, float]]


# By name of the detector that judges their sizes.
CHANGES = {
    "picture": ChangeKind(WholeImageSpace, WHOLE_IMAGE, picture_of),
    "warp": ChangeKind(WarpSpace, SHORTEST_WARP, warp_of),
}


def search_changes(
    task: Task, detector: str, labels: Sequence[int], engine: Engine, in_flight: int, measuring: Measuring
) -> Iterator[ChangeResult]:
    """Yield the smallest change of each label, as soon as its search ends.

    Args:
        task: the search problem of the labels, with the classes of its images.
        detector: one of `CHANGES`.
        labels: labels to search.
        engine: where searches run.
        in_flight: images in the network at once.
        measuring: measures the changes on held-out images.
    """
    kind = CHANGES[detector]
    # A minibatch holds no more images than those of the labels, which the plan of the memory bounds.
    settings = replace(kind.settings, batch_size=min(kind.settings.batch_size, task.settings.batch_size))
    problem = task.changed(settings=settings, kind=kind.space)
    for (ended,) in ends_of(problem, labels, 1, (), engine, lanes=max(1, in_flight // settings.batch_size)):
        status, z = outcome_of(settings, ended)
        trigger, size = kind.found(ended.label, problem.space, z)
        measured = measuring.attacked(trigger)
        yield ChangeResult(
            detector,
            trigger,
            size,
            # A change that makes the model answer NaN cannot be measured.
            status if measured.finite else Status.NONFINITE,
            measured.success,
            measuring.without(trigger),
            measuring.count(trigger),
        )
