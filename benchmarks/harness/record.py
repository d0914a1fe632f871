"""The header of every file of results: machine, versions, date and command. Loads no TensorFlow."""

import json
import os
import platform
import shlex
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nc_tf import __version__
from nc_tf.errors import InputError
from nc_tf.storage.files import whole_file

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"
# Names in the package index; tensorflow-cpu and the like report themselves as the first of a group.
PACKAGES = ("tensorflow", "keras", "numpy", "h5py", "torch", "av", "pillow", "opencv-python-headless")


def machine() -> dict[str, Any]:
    """Return processor, cores, memory and the load before."""
    facts: dict[str, Any] = {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count(), "system": platform.platform()}
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    if cpuinfo.exists():
        lines = dict(line.split(":", 1) for line in cpuinfo.read_text(errors="replace").splitlines() if ":" in line)
        known = {key.strip(): value.strip() for key, value in lines.items()}
        facts["cpu"] = known.get("model name", facts["cpu"])
        wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        facts["instructions"] = [flag for flag in wanted if flag in known.get("flags", "").split()]
    if meminfo.exists():
        facts["memory_gib"] = round(int(meminfo.read_text().split()[1]) / 2**20, 1)
    if hasattr(os, "getloadavg"):
        facts["load_before"] = round(os.getloadavg()[0], 2)
    return facts


class OtherLoad:
    """The cores that other processes, or the host of a virtual machine, used during the block.

    Times beside another load are worse than long, they are wrong: a library whose threads spin at barriers (PyTorch's OpenMP) was seen
    to take thirty times as long beside one busy core, while one that shares work out hardly suffered.

    Attributes:
        cores: the mean, after the block; None where the system does not tell (no /proc/stat).
    """

    cores: float | None = None

    def __enter__(self) -> "OtherLoad":
        self._began, self._before = time.perf_counter(), self._others()
        return self

    def __exit__(self, *error: object) -> None:
        after = self._others()
        if self._before is not None and after is not None:
            self.cores = round(max(0.0, after - self._before) / max(time.perf_counter() - self._began, 1e-9), 3)

    @staticmethod
    def _others() -> float | None:
        """Return core seconds since the machine's start, without this process's."""
        stat = Path("/proc/stat")
        if not stat.exists():
            return None
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, stat.read_text().split()[1:9])
        own = os.times()
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - own.user - own.system


def versions() -> dict[str, str]:
    """Return the versions of the packages that the numbers depend on.

    A package that is not installed is left out.
    """
    found = {"nc_tf": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return the date, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def header(seed: int | list[int]) -> dict[str, Any]:
    """Return the first fields of a file of results."""
    script, *arguments = (_from_root(part) for part in sys.argv)
    command = shlex.join(["python", *_as_module(script), *arguments])
    return {"schema": 1, "command": command, "date": now(), "seed": seed, "machine": machine(), "versions": versions()}


def _from_root(part: str) -> str:
    path = Path(part)
    return str(path.relative_to(ROOT)) if path.is_absolute() and path.is_relative_to(ROOT) else part


def _as_module(script: str) -> list[str]:
    """Return how Python is told to run a script, a path from the root: a benchmark is run as a module."""
    path = Path(script)
    return ["-m", ".".join(path.with_suffix("").parts)] if path.parts[:1] == ("benchmarks",) else [script]


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write results whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """Read results back.

    Raises:
        InputError: the file is missing or no results; `remedy` says what to do.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): expected results of a benchmark; {remedy}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds no results: expected an object of JSON; {remedy}")
    return content
