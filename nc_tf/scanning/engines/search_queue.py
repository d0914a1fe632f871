"""Queue of segments for several workers.

It fills every lane, loses no segment, and spreads the last segments evenly.
"""

from collections import Counter, deque
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from nc_tf.errors import InputError
from nc_tf.inversion.restart import Checkpoint, Segment

WorkerT = TypeVar("WorkerT", bound=Hashable)

# Workers that die while they run the same segment, after which the segment itself is the likely cause.
MOST_LOSSES = 3


class SearchQueue(Generic[WorkerT]):
    """Queue of segments for several workers.

    The segments of a dead worker are assigned again, from their checkpoints.
    """

    def __init__(self, segments: Iterable[Segment], lanes: int) -> None:
        """Begin without a worker.

        Args:
            segments: iterator of segments; it may raise StopIteration while results are pending, and go on when they have come in.
            lanes: lanes of each worker. A worker also holds a quarter more, so that no lane is empty while results travel.
        """
        self.segments, self.most = iter(segments), lanes + max(1, lanes // 4)
        self.held: dict[WorkerT, dict[tuple[int, int], Segment]] = {}
        self.waiting: deque[Segment] = deque()
        self.losses: Counter[Segment] = Counter()

    def unfinished(self) -> bool:
        """Return whether a segment is assigned, was returned, or still waits."""
        return any(self.held.values()) or self._refill()

    def _refill(self) -> bool:
        """Return whether a segment is waiting, after asking for the next one."""
        if not self.waiting:
            self.waiting.extend(segment for segment in [next(self.segments, None)] if segment is not None)
        return bool(self.waiting)

    def add_worker(self, worker: WorkerT) -> None:
        """Assign segments to this worker from now on."""
        self.held[worker] = {}

    def assign(self) -> dict[WorkerT, list[Segment]]:
        """Assign segments, always to the worker with the fewest, and return them."""
        assigned: dict[WorkerT, list[Segment]] = {}
        while self.held:
            worker = min(self.held, key=lambda one: len(self.held[one]))
            if len(self.held[worker]) >= self.most or not self._refill():
                break
            segment = self.waiting.popleft()
            self.held[worker][segment.restart.label, segment.restart.start] = segment
            assigned.setdefault(worker, []).append(segment)
        return assigned

    def finish(self, worker: WorkerT, progress: Checkpoint) -> None:
        """Mark a worker's segment as finished."""
        segment = self.held[worker].pop((progress.label, progress.start))
        del self.losses[segment]

    def remove_worker(self, worker: WorkerT) -> None:
        """Return a dead worker's segments to the queue.

        Raises:
            InputError: `MOST_LOSSES` workers have died with one of them.
        """
        segments = self.held.pop(worker, {}).values()
        self.losses.update(segments)
        for segment in segments:
            if self.losses[segment] >= MOST_LOSSES:
                raise InputError(
                    f"label {segment.restart.label}, restart {segment.restart.start}: {MOST_LOSSES} workers died with it: expected "
                    "one to survive; give the nodes more memory, or scan with fewer lanes or smaller batches"
                )
        self.waiting.extendleft(reversed(segments))
