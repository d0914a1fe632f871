"""The engine of one machine: the legs run in this process, all in one batch."""

from collections.abc import Generator, Iterable

from nc_tf.inversion.loop import OnRound, advance
from nc_tf.inversion.restart import Leg, Progress
from nc_tf.scanning.engines.task import Task


def run(task: Task, legs: Iterable[Leg], *, lanes: int, on_round: OnRound) -> Generator[Progress, None, None]:
    """Run legs as they come, `lanes` at a time, and yield what each came to; see `nc_tf.inversion.loop.advance`."""
    yield from advance(task.inversion, legs, task.minibatches, lanes=lanes, on_round=on_round)
