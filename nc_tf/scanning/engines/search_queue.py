"""Queue of legs for several workers: every lane is full, no leg is lost, and the last legs are spread evenly."""

from collections import Counter, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from nc_tf.errors import InputError
from nc_tf.inversion.restart import Leg, Progress

WorkerT = TypeVar("WorkerT", bound=Hashable)

# Workers that die with the same leg in hand, after which the leg itself is the likely cause.
MOST_LOSSES = 3


class SearchQueue(Generic[WorkerT]):
    """Assigns legs to workers, and assigns the legs of a dead worker again from where they began.

    Args:
        legs: iterator that may raise StopIteration while results are pending, and go on when they have come in.
        lanes: of each worker. A worker also holds a quarter more, so that none of its lanes is empty while its results travel.
    """

    def __init__(self, legs: Iterable[Leg], lanes: int) -> None:
        self.legs, self.most = iter(legs), lanes + max(1, lanes // 4)
        self.held: dict[WorkerT, dict[tuple[int, int], Leg]] = {}
        self.waiting: deque[Leg] = deque()
        self.losses: Counter[Leg] = Counter()

    def unfinished(self) -> bool:
        """Return whether a leg is assigned, was returned, or has not been assigned yet."""
        return any(self.held.values()) or self._refill()

    def _refill(self) -> bool:
        """Return whether a leg is waiting, after asking for the next one."""
        if not self.waiting:
            self.waiting.extend(leg for leg in [next(self.legs, None)] if leg is not None)
        return bool(self.waiting)

    def add_worker(self, worker: WorkerT) -> None:
        """Assign legs to this worker from now on."""
        self.held[worker] = {}

    def assign(self) -> dict[WorkerT, list[Leg]]:
        """Return the new legs of each worker; the worker that holds the fewest is always next."""
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
        """Mark a worker's leg as finished."""
        leg = self.held[worker].pop((progress.label, progress.start))
        del self.losses[leg]

    def remove_worker(self, worker: WorkerT) -> None:
        """Return a dead worker's legs to the queue.

        Raises:
            InputError: `MOST_LOSSES` workers have died with one of them.
        """
        legs = self.held.pop(worker, {}).values()
        self.losses.update(legs)
        for leg in legs:
            if self.losses[leg] >= MOST_LOSSES:
                raise InputError(
                    f"label {leg.arm.label}, start {leg.arm.start}: {MOST_LOSSES} workers died searching it, expected one to survive; "
                    "give the nodes more memory, or scan with fewer lanes or smaller batches"
                )
        self.waiting.extendleft(reversed(legs))
