"""The engine of one machine: the legs run in this process, all in one batch."""

from collections.abc import Generator, Iterable

from nc_tf.engines.task import Task
from nc_tf.search import Leg, OnRound, Progress, advance


def run(task: Task, legs: Iterable[Leg], *, lanes: int, on_round: OnRound) -> Generator[Progress, None, None]:
    """Run legs as they come, `lanes` at a time, and yield what each came to; see `nc_tf.search.advance`."""
    yield from advance(task.inversion, legs, task.minibatches, lanes=lanes, on_round=on_round)
