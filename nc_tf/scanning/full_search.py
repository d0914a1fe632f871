"""Search of some labels from beginning to end, by successive halving, without checkpoints."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from nc_tf.inversion.loop import result_of
from nc_tf.inversion.restart import Checkpoint, Restart, RestartResult
from nc_tf.scanning.engines.choice import Engine
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.halving import Cut, SuccessiveHalving, random_restart


def search_fully(
    task: Task, labels: Iterable[int], starts: int, cuts: Sequence[Cut], engine: Engine, *, lanes: int, grey: bool = True
) -> Iterator[list[RestartResult]]:
    """Yield the results of all restarts of each label.

    Args:
        task: the search problem.
        labels: labels to search, in this order.
        starts: restarts of each.
        cuts: steps of successive halving.
        engine: where searches run.
        lanes: restarts advanced together.
        grey: whether restarts begin at `TriggerSpace.grey`.
    """
    for ended in ends_of(task, labels, starts, cuts, engine, lanes=lanes, grey=grey):
        yield [result_of(task.inversion, _restart(task, one.label, one.start, grey), one) for one in ended]


def ends_of(
    task: Task, labels: Iterable[int], starts: int, cuts: Sequence[Cut], engine: Engine, *, lanes: int, grey: bool = True
) -> Iterator[list[Checkpoint]]:
    """Yield the last checkpoints of all restarts of each label; see `search_fully`."""
    race = SuccessiveHalving(labels, lambda label, start: _restart(task, label, start, grey), starts, task.settings, cuts=cuts)
    with closing(engine(task, race, lanes=lanes, on_round=lambda *_: None)) as reached:
        for progress in reached:
            race.take(progress)
            yield from race.finished()


def _restart(task: Task, label: int, start: int, grey: bool) -> Restart:
    return random_restart(task.space, label, start, task.seed, grey=grey)
