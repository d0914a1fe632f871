"""Processes that begin with TensorFlow, Keras and nc_tf already imported.

A process started anew takes seconds to import them. A server imports them once and forks a child for every program that it is given. This
is for tests of what a program does. A test of start-up, of the environment or of what an import prints starts a process of its own.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# A fork is safe because the server has one thread: TensorFlow starts its threads on first use, and OpenBLAS is told to start none.
SERVER = """
import json, os, sys, traceback
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
import keras, tensorflow
import nc_tf.cli.main, nc_tf.cli.progress, nc_tf.datasets.read, nc_tf.models.loading.load, nc_tf.scan_folder.folder, nc_tf.scanning.scan

def run(request):
    os.chdir(request["folder"])
    for name, number in (("out", 1), ("err", 2)):
        os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    code = 0
    try:
        exec(request["program"], {"__name__": "__main__"})
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)

print(len(os.listdir("/proc/self/task")), file=answers)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        run(json.loads(line))
    print(child, file=answers)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)
"""


class WarmServer:
    """Starts programs in processes of their own, one at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.started = folder, 0
        environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        with open(folder / "server.err", "w") as stderr:
            # Without a buffer: `select` does not see what lies in one.
            self.process = subprocess.Popen(
                [sys.executable, "-c", SERVER], 0, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr
            )
        assert self.answer() == 1, "a process with several threads must not fork"

    def answer(self) -> int:
        """The next number that the server prints."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def start(self, program: str, folder: Path | None = None) -> "Served":
        """Start Python code in `folder`; the process is returned while it runs."""
        served = Served(self)
        request = {"program": program, "folder": str(folder or self.folder), "out": str(served.out), "err": str(served.err)}
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        served.pid = self.answer()
        return served

    def command(self, argv: list[str], folder: Path | None = None) -> "Served":
        """Start `nc-tf` with these arguments."""
        return self.start(f"import sys; from nc_tf.cli.main import main; sys.exit(main({argv!r}))", folder)


class Served:
    """A program of the server, with what tests need of `subprocess.Popen`; `out` and `err` are files of what it prints."""

    def __init__(self, server: WarmServer) -> None:
        self.server, self.pid = server, 0
        server.started += 1
        self.out, self.err = (server.folder / f"{server.started}.{name}" for name in ("out", "err"))
        self.out.touch()  # so that it can be read at once
        self.code: int | None = None

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        assert self.server.process.stdout is not None
        if self.code is None and select.select([self.server.process.stdout], [], [], 0)[0]:
            self.code = self.server.answer()
        return self.code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)

    def wait(self) -> int:
        """The exit code, once it has ended."""
        if self.code is None:
            self.code = self.server.answer()
        return self.code


@pytest.fixture(scope="session")
def warm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmServer]:
    """One server for all tests of a session."""
    if not Path("/proc/self/task").exists():
        pytest.skip("needs Linux: forks a process that has loaded TensorFlow, and counts its threads")
    server = WarmServer(tmp_path_factory.mktemp("warm_server"))
    yield server
    server.process.communicate()  # the end of its input is the end of its loop
