"""The engine of a cluster: workers on all of its nodes load the model once and search the legs that this process deals out.

What a leg comes to depends on the task and the leg alone, so a worker that dies costs the rounds of its legs and nothing else.
"""

import logging
import os
import socket
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import tensorflow as tf
from ray._private.services import canonicalize_bootstrap_address  # there is no public way to ask which cluster it would be
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nc_tf.errors import InputError
from nc_tf.inversion.loop import Leg, OnRound, Progress
from nc_tf.scanning.engines.dealing import Dealer
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.engines.worker import Worker, pack

# Seconds after which the cluster is looked at for nodes that have joined.
LOOK_AROUND = 2.0
# Seconds in which a cluster must have answered.
CONNECTION_SECONDS = 5.0
# Seconds without a single worker after which nobody can be expected to come.
PATIENCE = 300.0


@dataclass(frozen=True)
class _Place:
    """Where a worker fits: all cores of a node, or one of its GPUs and the cores that fall to it."""

    node: str
    slot: int
    cores: int
    gpus: int


@dataclass(frozen=True, eq=False)
class _Hand:
    """A worker as seen from here."""

    place: _Place
    actor: Any
    stream: Any


def run(task: Task, legs: Iterable[Leg], *, lanes: int, on_round: OnRound) -> Generator[Progress, None, None]:
    """Run legs as they come, `lanes` at a time on every worker, and yield what each came to; see `nc_tf.inversion.loop.advance`.

    `on_round` is never called: the rounds happen in other processes, and only what a leg comes to travels.

    Raises:
        InputError: the model cannot be sent, there is no cluster where one was named, or no worker can be started or survives.
    """
    del on_round
    dealer: Dealer[_Hand] = Dealer(legs, lanes)
    if not dealer.more():
        return
    parcel = pack(task)
    with _connection():
        crew = _Crew(ray.put(parcel), lanes)
        try:
            while dealer.more():
                crew.hire()
                for hand, dealt in dealer.deal().items():
                    hand.actor.give.remote(dealt)
                for hand in crew.heard():
                    try:
                        progress = ray.get(next(hand.stream))
                    except RayTaskError as error:
                        raise error.cause from error
                    except RayError as error:
                        crew.bury(hand, error)
                        dealer.lost(hand)
                        continue
                    if progress is None:
                        crew.ready.add(hand)
                        dealer.join(hand)
                    else:
                        dealer.take(hand, progress)
                        yield _own(progress)
        finally:
            crew.dismiss()


@contextmanager
def _connection() -> Iterator[None]:
    """To the cluster that the caller is connected to, else to that of RAY_ADDRESS or of `ray start`, else to one of this machine's own."""
    if ray.is_initialized():
        yield
        return
    named = os.environ.get("RAY_ADDRESS")
    undecided: Any = None
    try:
        address = canonicalize_bootstrap_address(undecided)
        there = address is not None and _answers(address)
        if named and address is not None and not there:
            raise ConnectionError("nobody answers there")
        ray.init(address=None if there else "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        where = f"at RAY_ADDRESS={named}" if named else "on this machine"
        raise InputError(
            f"no connection to a Ray cluster {where} ({_last_line(error)}): expected one that runs, with the same versions of Python and "
            "Ray; start it with ray start --head, see docs/cluster.md"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()  # ends a cluster of our own; of any other it only takes leave


def _answers(address: str) -> bool:
    """Whether a cluster lives at host:port. Ray itself tries for many minutes, and after a crash still knows the old address."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTION_SECONDS).close()
    except OSError:
        return False
    return True


class _Crew:
    """The workers: hired wherever the cluster has a place, buried when they die, dismissed at the end.

    Attributes:
        ready: those that have loaded the model.
    """

    def __init__(self, parcel: Any, lanes: int) -> None:
        self.parcel, self.lanes = parcel, lanes
        self.hands: list[_Hand] = []
        self.ready: set[_Hand] = set()
        self.unfit: dict[_Place, str] = {}
        self.looked = -LOOK_AROUND
        self.busy = time.monotonic()

    def hire(self) -> None:
        """Every now and then, start a worker in every place that has none.

        Raises:
            InputError: there is none, and none can be expected; or the head of the cluster is gone.
        """
        now = time.monotonic()
        if self.ready:
            self.busy = now
        if now - self.looked < LOOK_AROUND:
            return
        self.looked = now
        if not _answers(ray.get_runtime_context().gcs_address):
            # After a minute Ray would end this process, with exit code 1.
            raise InputError(
                "the head of the Ray cluster is gone: expected it to live for as long as the scan; start the cluster again, "
                "and the same command, without --fresh, goes on where this scan was"
            )
        taken = {hand.place for hand in self.hands}
        self.hands += [self._start(place) for place in _places() if place not in taken and place not in self.unfit]
        if self.unfit and not self.hands:
            raise InputError(
                f"no worker can be started ({next(iter(self.unfit.values()))}): expected nc_tf and enough memory on every node; "
                "install it there, in the Python that ray start was run with"
            )
        if now - self.busy > PATIENCE:
            raise InputError(
                f"no worker of the cluster could start for {PATIENCE:.0f} s: expected a node with all of its cores, or a GPU, free; "
                "look who holds them with ray status"
            )

    def _start(self, place: _Place) -> _Hand:
        there = NodeAffinitySchedulingStrategy(place.node, soft=False)
        # Two threads: `give` comes in while `search` runs.
        kind = ray.remote(Worker).options(num_cpus=place.cores, num_gpus=place.gpus, max_concurrency=2, scheduling_strategy=there)
        actor = kind.remote(max(1, place.cores))
        search: Any = actor.search
        return _Hand(place, actor, search.options(num_returns="streaming").remote(self.parcel, self.lanes))

    def heard(self) -> list[_Hand]:
        """The workers that have something to say; after `LOOK_AROUND` seconds none."""
        if not self.hands:
            time.sleep(LOOK_AROUND)
            return []
        speaking = {hand.stream: hand for hand in self.hands}
        if ray.wait(list(speaking), num_returns=1, timeout=LOOK_AROUND)[0]:
            return [speaking[stream] for stream in ray.wait(list(speaking), num_returns=len(speaking), timeout=0)[0]]
        return []

    def bury(self, hand: _Hand, error: RayError) -> None:
        """A worker has died. A place where it could not even load the model is not tried again."""
        self.hands.remove(hand)
        if hand not in self.ready:
            self.unfit[hand.place] = _last_line(error)
        self.ready.discard(hand)
        ray.kill(hand.actor)  # it may be out of reach only, and must not go on unheard

    def dismiss(self) -> None:
        """The work is done, or nobody wants it any more."""
        for hand in self.hands:
            ray.kill(hand.actor)


def _last_line(error: Exception) -> str:
    """Where Ray's messages name the cause."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1][:300]


def _places() -> list[_Place]:
    places = []
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        cores, gpus = int(has.get("CPU", 0)), int(has.get("GPU", 0))
        workers = gpus or min(cores, 1)
        places += [_Place(node["NodeID"], slot, cores // workers, min(gpus, 1)) for slot in range(workers)]
    return places


def _own(progress: Progress) -> Progress:
    """A copy: what Ray hands out lies in the store that the workers share, and fills it for as long as somebody looks at it."""
    return replace(progress, run=tf.nest.map_structure(np.array, progress.run), history=np.array(progress.history))
