"""Which worker has which legs: every lane full, no leg lost, and nobody sitting on many while others have none."""

from collections import Counter, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from nc_tf.errors import InputError
from nc_tf.inversion.loop import Leg, Progress

WorkerT = TypeVar("WorkerT", bound=Hashable)

# A leg that was with so many workers when they died is no accident any more.
MOST_LOSSES = 3


class Dealer(Generic[WorkerT]):
    """Deals legs to workers, takes back what they came to, and deals a dead worker's legs again, from where those began.

    Args:
        legs: may run dry and have more to give once it has been told what the legs before came to.
        lanes: of each worker. It also holds a quarter more, so that none of its lanes stays empty while its results travel.
    """

    def __init__(self, legs: Iterable[Leg], lanes: int) -> None:
        self.legs, self.most = iter(legs), lanes + max(1, lanes // 4)
        self.held: dict[WorkerT, dict[tuple[int, int], Leg]] = {}
        self.waiting: deque[Leg] = deque()
        self.losses: Counter[Leg] = Counter()

    def more(self) -> bool:
        """Whether there is anything left to do: a leg that a worker has, that came back, or that has not been dealt yet."""
        return any(self.held.values()) or self._refill()

    def _refill(self) -> bool:
        """Look for a leg to deal next."""
        if not self.waiting:
            self.waiting.extend(leg for leg in [next(self.legs, None)] if leg is not None)
        return bool(self.waiting)

    def join(self, worker: WorkerT) -> None:
        """From now on this worker gets legs."""
        self.held[worker] = {}

    def deal(self) -> dict[WorkerT, list[Leg]]:
        """What each worker gets now; always the one that has the fewest is next, so that the last legs are spread evenly."""
        dealt: dict[WorkerT, list[Leg]] = {}
        while self.held:
            worker = min(self.held, key=lambda one: len(self.held[one]))
            if len(self.held[worker]) >= self.most or not self._refill():
                break
            leg = self.waiting.popleft()
            self.held[worker][leg.arm.label, leg.arm.start] = leg
            dealt.setdefault(worker, []).append(leg)
        return dealt

    def take(self, worker: WorkerT, progress: Progress) -> None:
        """A worker has finished a leg."""
        leg = self.held[worker].pop((progress.label, progress.start))
        del self.losses[leg]

    def lost(self, worker: WorkerT) -> None:
        """A worker has died: its legs are dealt again.

        Raises:
            InputError: one of them has now gone down with too many workers.
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
