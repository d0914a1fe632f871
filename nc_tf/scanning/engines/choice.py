"""Engines by name."""

from collections.abc import Generator, Iterable
from typing import Protocol

from nc_tf.errors import InputError
from nc_tf.inversion.loop import OnRound
from nc_tf.inversion.restart import Checkpoint, Segment
from nc_tf.scanning.engines import local
from nc_tf.scanning.engines.task import Task

ENGINES = ("local", "ray")


class Engine(Protocol):
    """Function that runs the segments of a search problem.

    A segment is some rounds of one restart, run in one go.
    """

    def __call__(self, task: Task, segments: Iterable[Segment], *, lanes: int, on_round: OnRound) -> Generator[Checkpoint, None, None]:
        """Yield the checkpoint at the end of each segment.

        Closing the generator stops the search.

        Args:
            task: the search problem.
            segments: what to run; see `nc_tf.inversion.loop.advance`.
            lanes: restarts advanced together, on each machine.
            on_round: called after every round, unless rounds end in other processes.
        """


def engine_named(name: str) -> Engine:
    """Return the engine of this name, one of `ENGINES`.

    Raises:
        InputError: no engine has that name, or a package that it needs is not installed.
    """
    if name == "local":
        return local.run
    if name == "ray":
        try:
            from nc_tf.scanning.engines import ray
        except ModuleNotFoundError as error:
            raise InputError(f"engine ray: expected the package ray, and {error.name} is missing; run pip install 'nc_tf[ray]'") from error
        return ray.run
    raise InputError(f"engine {name!r}: expected one of {', '.join(ENGINES)}; choose one")
