"""Queue of tasks for several workers.

It fills every lane, loses no task, and spreads the last tasks evenly.
"""

from collections import Counter, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from nc_tf.errors import InputError
from nc_tf.inversion.restart import Leg, Progress

WorkerT = TypeVar("WorkerT", bound=Hashable)

# Workers that die while they run the same task, after which the task itself is the likely cause.
MOST_LOSSES = 3


class SearchQueue(Generic[WorkerT]):
    """Queue of tasks for several workers.

    The tasks of a dead worker are assigned again, from their checkpoints.
    """

    def __init__(self, legs: Iterable[Leg], lanes: int) -> None:
        """Begin without a worker.

        Args:
            legs: iterator of tasks; it may raise StopIteration while results are pending, and go on when they have come in.
            lanes: lanes of each worker. A worker also holds a quarter more, so that no lane is empty while results travel.
        """
        self.legs, self.most = iter(legs), lanes + max(1, lanes // 4)
        self.held: dict[WorkerT, dict[tuple[int, int], Leg]] = {}
        self.waiting: deque[Leg] = deque()
        self.losses: Counter[Leg] = Counter()

    def unfinished(self) -> bool:
        """Return whether a task is assigned, was returned, or still waits."""
        return any(self.held.values()) or self._refill()

    def _refill(self) -> bool:
        """Return whether a task is waiting, after asking for the next one."""
        if not self.waiting:
            self.waiting.extend(leg for leg in [next(self.legs, None)] if leg is not None)
        return bool(self.waiting)

    def add_worker(self, worker: WorkerT) -> None:
        """Assign tasks to this worker from now on."""
        self.held[worker] = {}

    def assign(self) -> dict[WorkerT, list[Leg]]:
        """Assign tasks, always to the worker with the fewest, and return them."""
        assigned: dict[WorkerT, list[Leg]] = {}
        while self.held:
            worker = min(self.held, key=lambda one: len(self.held[one]))
            if len(self.held[worker]) >= self.most or not self._refill():
                break
            leg = self.waiting.popleft()
            self.held[worker][leg.arm.label, leg.arm.start] = leg
            assigned.setdefault(worker, []).append(leg)
        return assigned

    def finish(self, worker: WorkerT, progress: Progress) -> None:
        """Mark a worker's task as finished."""
        leg = self.held[worker].pop((progress.label, progress.start))
        del self.losses[leg]

    def remove_worker(self, worker: WorkerT) -> None:
        """Return a dead worker's tasks to the queue.

        Raises:
            InputError: `MOST_LOSSES` workers have died with one of them.
        """
        legs = self.held.pop(worker, {}).values()
        self.losses.update(legs)
        for leg in legs:
            if self.losses[leg] >= MOST_LOSSES:
                raise InputError(
                    f"label {leg.arm.label}, restart {leg.arm.start}: {MOST_LOSSES} workers died in this task, expected one to survive; "
                    "give the nodes more memory, or scan with fewer lanes or smaller batches"
                )
        self.waiting.extendleft(reversed(legs))
