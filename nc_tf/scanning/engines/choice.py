"""Engines by name."""

from collections.abc import Generator, Iterable
from typing import Protocol

from nc_tf.errors import InputError
from nc_tf.inversion.loop import OnRound
from nc_tf.inversion.restart import Leg, Progress
from nc_tf.scanning.engines import local
from nc_tf.scanning.engines.task import Task

ENGINES = ("local", "ray")


class Engine(Protocol):
    """Runs the legs of a task."""

    def __call__(self, task: Task, legs: Iterable[Leg], *, lanes: int, on_round: OnRound) -> Generator[Progress, None, None]:
        """Yield what each leg came to; closing the generator stops the search."""


def engine_named(name: str) -> Engine:
    """One of `ENGINES`.

    Raises:
        InputError: there is none of that name, or what it needs is not installed.
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
