"""Engine of one machine: all restarts run in this process, in one batch."""

from collections.abc import Generator, Iterable

from nc_tf.inversion.loop import OnRound, advance
from nc_tf.inversion.restart import Checkpoint, Segment
from nc_tf.scanning.engines.task import Task


def run(task: Task, segments: Iterable[Segment], *, lanes: int, on_round: OnRound) -> Generator[Checkpoint, None, None]:
    """Yield the checkpoint at the end of every segment; see `nc_tf.inversion.loop.advance`.

    Args:
        task: the search problem.
        segments: what to run, which are run as they come.
        lanes: restarts advanced together.
        on_round: called after every round.
    """
    yield from advance(task.inversion, segments, task.minibatches, lanes=lanes, on_round=on_round, own_classes=task.own_classes)
