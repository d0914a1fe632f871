"""Engine of a cluster, whose workers run the segments that this process assigns.

Workers on all nodes load the model once.

The outcome of a segment depends on the search problem and the segment alone. A worker that dies therefore costs no more than the rounds
of its segments.
"""

import logging
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import ray
import tensorflow as tf
from ray._private.services import canonicalize_bootstrap_address  # there is no public way to ask which cluster it would be
from ray.exceptions import RayError, RayTaskError

from nc_tf.errors import InputError
from nc_tf.inversion.loop import OnRound
from nc_tf.inversion.restart import Checkpoint, Segment
from nc_tf.scanning.engines.search_queue import SearchQueue
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.engines.worker import pack
from nc_tf.scanning.engines.worker_pool import WorkerHandle, WorkerPool, answers, last_line


def run(task: Task, segments: Iterable[Segment], *, lanes: int, on_round: OnRound) -> Generator[Checkpoint, None, None]:
    """Yield the checkpoint of every finished segment, in order of arrival.

    Args:
        task: the search problem.
        segments: what to run; see `nc_tf.inversion.loop.advance`.
        lanes: restarts advanced together by each worker.
        on_round: never called, because rounds end in other processes and only checkpoints travel.

    Raises:
        InputError: the model cannot be sent, there is no cluster where one was named, or no worker can be started or survives.
    """
    del on_round
    queue: SearchQueue[WorkerHandle] = SearchQueue(segments, lanes)
    if not queue.unfinished():
        return
    packed = pack(task)
    with _connection():
        pool = WorkerPool(ray.put(packed), lanes)
        try:
            while queue.unfinished():
                pool.start_missing()
                for worker, assigned in queue.assign().items():
                    worker.actor.give.remote(assigned)
                for worker in pool.with_answers():
                    try:
                        progress = ray.get(next(worker.stream))
                    except RayTaskError as error:
                        raise error.cause from error
                    except RayError as error:
                        pool.discard(worker, error)
                        queue.remove_worker(worker)
                        continue
                    if progress is None:
                        pool.ready.add(worker)
                        queue.add_worker(worker)
                    else:
                        queue.finish(worker, progress)
                        yield _own(progress)
        finally:
            pool.stop()


@contextmanager
def _connection() -> Iterator[None]:
    """Connect to a cluster for as long as the context lasts.

    It is the caller's, else that of RAY_ADDRESS or `ray start`, else a new one on this machine.

    Raises:
        InputError: the cluster of RAY_ADDRESS does not answer, or none can be started.
    """
    if ray.is_initialized():
        yield
        return
    named = os.environ.get("RAY_ADDRESS")
    undecided: Any = None
    try:
        address = canonicalize_bootstrap_address(undecided)
        there = address is not None and answers(address)
        if named and address is not None and not there:
            raise ConnectionError("no answer from there")
        ray.init(address=None if there else "local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        where = f"at RAY_ADDRESS={named}" if named else "on this machine"
        raise InputError(
            f"no connection to a Ray cluster {where} ({last_line(error)}): expected one that runs, with the same versions of Python and "
            "Ray; start it with ray start --head, see docs/how-to/cluster.md"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()  # ends a cluster that was started here, and disconnects from any other


def _own(progress: Checkpoint) -> Checkpoint:
    """Return a copy with arrays of its own.

    Ray's arrays lie in the store that the workers share, and fill it for as long as they are referenced.
    """
    return replace(progress, run=tf.nest.map_structure(np.array, progress.run), history=np.array(progress.history))
