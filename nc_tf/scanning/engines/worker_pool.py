"""Worker pool on a Ray cluster.

Every free place gets a worker, and a new one where a worker died.
"""

import socket
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nc_tf.errors import InputError
from nc_tf.scanning.engines.worker import Worker

# Seconds between two looks at which nodes the cluster has.
LOOK_AROUND = 2.0
# Seconds within which a cluster must answer.
CONNECTION_SECONDS = 5.0
# Seconds without a single worker, after which no more is waited for.
PATIENCE = 300.0


@dataclass(frozen=True)
class Place:
    """Room for one worker.

    It is all cores of a node, or one of its GPUs and that GPU's share of the cores.
    """

    node: str
    slot: int
    cores: int
    gpus: int


@dataclass(frozen=True, eq=False)
class WorkerHandle:
    """A worker's process, seen from the driver.

    Attributes:
        place: where it runs.
        actor: Ray's handle, whose method `give` takes segments.
        stream: generator of its answers: None when it has loaded the model, then a checkpoint a segment.
    """

    place: Place
    actor: Any
    stream: Any


class WorkerPool:
    """Workers wherever the cluster has room.

    Attributes:
        ready: workers that have loaded the model.
    """

    def __init__(self, task: Any, lanes: int) -> None:
        """Start nothing yet.

        Args:
            task: reference of a `PackedTask` in Ray's object store.
            lanes: restarts advanced together by each worker.
        """
        self.task, self.lanes = task, lanes
        self.workers: list[WorkerHandle] = []
        self.ready: set[WorkerHandle] = set()
        self.unfit: dict[Place, str] = {}
        self.looked = -LOOK_AROUND
        self.last_ready = time.monotonic()

    def start_missing(self) -> None:
        """Start a worker in every place that has none.

        Calls within `LOOK_AROUND` seconds of the last start do nothing.

        Raises:
            InputError: no worker runs and none can be expected, or the head of the cluster does not answer.
        """
        now = time.monotonic()
        if self.ready:
            self.last_ready = now
        if now - self.looked < LOOK_AROUND:
            return
        self.looked = now
        if not answers(ray.get_runtime_context().gcs_address):
            # After a minute Ray would end this process, with exit code 1.
            raise InputError(
                "the head of the Ray cluster is gone: expected it to live for as long as the scan; start the cluster again, "
                "and the same command, without --fresh, goes on where this scan was"
            )
        taken = {worker.place for worker in self.workers}
        self.workers += [self._start(place) for place in _places() if place not in taken and place not in self.unfit]
        if self.unfit and not self.workers:
            raise InputError(
                f"no worker can be started ({next(iter(self.unfit.values()))}): expected nc_tf and enough memory on every node; "
                "install it there, in the Python that ray start was run with"
            )
        if now - self.last_ready > PATIENCE:
            raise InputError(
                f"no worker of the cluster could start for {PATIENCE:.0f} s: expected a node with all of its cores, or a GPU, free; "
                "ray status lists the processes that hold them"
            )

    def _start(self, place: Place) -> WorkerHandle:
        there = NodeAffinitySchedulingStrategy(place.node, soft=False)
        # Two threads: `give` comes in while `search` runs.
        kind = ray.remote(Worker).options(num_cpus=place.cores, num_gpus=place.gpus, max_concurrency=2, scheduling_strategy=there)
        actor = kind.remote(max(1, place.cores))
        search: Any = actor.search
        return WorkerHandle(place, actor, search.options(num_returns="streaming").remote(self.task, self.lanes))

    def with_answers(self) -> list[WorkerHandle]:
        """Return the workers with an answer to read.

        The list is empty after `LOOK_AROUND` seconds without an answer.
        """
        if not self.workers:
            time.sleep(LOOK_AROUND)
            return []
        streams = {worker.stream: worker for worker in self.workers}
        if ray.wait(list(streams), num_returns=1, timeout=LOOK_AROUND)[0]:
            return [streams[stream] for stream in ray.wait(list(streams), num_returns=len(streams), timeout=0)[0]]
        return []

    def discard(self, worker: WorkerHandle, error: RayError) -> None:
        """Give up a dead worker.

        Its place gets another one, unless it died before it had loaded the model.
        """
        self.workers.remove(worker)
        if worker not in self.ready:
            self.unfit[worker.place] = last_line(error)
        self.ready.discard(worker)
        ray.kill(worker.actor)  # it may be out of reach only, and must not go on

    def stop(self) -> None:
        """End every worker."""
        for worker in self.workers:
            ray.kill(worker.actor)


def answers(address: str) -> bool:
    """Return whether a cluster answers at host:port.

    Ray itself tries for many minutes, and after a crash it still has the old address.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTION_SECONDS).close()
    except OSError:
        return False
    return True


def last_line(error: Exception) -> str:
    """Return the line in which Ray's messages name the cause."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


def _places() -> list[Place]:
    places = []
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        cores, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
        workers = gpus or min(cores, 1)
        places += [Place(node["NodeID"], slot, cores // workers, min(gpus, 1)) for slot in range(workers)]
    return places
