"""Measurements of contenders: times in turn in one run, memory in separate processes. Loads neither TensorFlow nor PyTorch."""

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from benchmarks.harness.record import ROOT, OtherLoad
from nc_tf.errors import InputError

Contender = Callable[[], float]  # one round of all its labels a call; the mean class loss of the first


class Times(NamedTuple):
    """Times of one contender.

    Attributes:
        loss: of the first call. Contenders begin alike, so it shows whether they do the same work.
        first: seconds of that call, which is not counted: it traces, and makes buffers.
        seconds: of every call that counts.
    """

    loss: float
    first: float
    seconds: list[float]


def take_turns(contenders: Sequence[Contender], repetitions: int) -> tuple[list[Times], float | None]:
    """Call the contenders in turn; return their times and others' cores.

    Turns make drift of the machine affect all contenders alike. The first call of each is not counted.
    """
    times = []
    for contender in contenders:
        loss, seconds = _timed(contender)
        times.append(Times(loss, seconds, []))
    with OtherLoad() as others:
        for _ in range(repetitions):
            for contender, own in zip(contenders, times, strict=True):
                own.seconds.append(_timed(contender)[1])
    return times, others.cores


def _timed(contender: Contender) -> tuple[float, float]:
    began = time.perf_counter()
    loss = contender()
    return loss, time.perf_counter() - began


def peak_mib() -> float:
    """Return the peak resident memory of this process, MiB."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def alone(module: str, *flags: str) -> dict[str, Any]:
    """Run a benchmark in its own process; return its last line's JSON.

    Raises:
        InputError: it ended otherwise than it should.
    """
    command, quiet = [sys.executable, "-m", module, *flags], {"TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | quiet, cwd=ROOT)  # noqa: S603
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        shown = shlex.join(["python", "-m", module, *flags])
        raise InputError(f"{shown} ended with code {done.returncode} ({last}): expected enough memory; run it alone")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def probes(module: str, flags: Sequence[str], names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return each contender's memory, measured in a process of its own.

    Two processes run at a time, because half of their time is importing.
    """
    names = list(names)
    with ThreadPoolExecutor(max_workers=2) as pool:
        found = pool.map(lambda name: alone(module, *flags, "--memory-probe", name), names)
        return dict(zip(names, found, strict=True))
