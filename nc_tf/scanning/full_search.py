"""Search of some labels from beginning to end, by successive halving, without checkpoints."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

from nc_tf.inversion.loop import result_of
from nc_tf.inversion.restart import Restart, RestartResult
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

    def restart(label: int, start: int) -> Restart:
        return random_restart(task.space, label, start, task.seed, grey=grey)

    race = SuccessiveHalving(labels, restart, starts, task.settings, cuts=cuts)
    with closing(engine(task, race, lanes=lanes, on_round=lambda *_: None)) as reached:
        for progress in reached:
            race.take(progress)
            for restarts in race.finished():
                yield [result_of(task.inversion, restart(one.label, one.start), one) for one in restarts]
