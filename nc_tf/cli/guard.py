"""The end of a command: one line on stderr and an exit code for every failure, and an immediate stop for Ctrl-C and SIGTERM."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Thread, current_thread, main_thread
from types import FrameType
from typing import NoReturn, TypeVar

from nc_tf.cli.streams import lasting_streams
from nc_tf.errors import InputError, printable

# The last two are the exit codes of a shell for a command that SIGINT or SIGTERM ended.
BAD_INPUT, INTERRUPTED, TERMINATED = 2, 130, 143

Result = TypeVar("Result")


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong option in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the message and exit with 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {printable(message)}; see {self.prog} --help\n")


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


class WorkUnfinished(KeyboardInterrupt):
    """An interrupt while a thread is at work, perhaps inside TensorFlow, where only the end of the process stops it."""


def interruptible(work: Callable[[], Result]) -> Result:
    """Run `work` in a thread, and return its result.

    Ctrl-C takes effect at once that way. A call of TensorFlow may take seconds, and Python handles no signal in its main thread before the
    call returns. An exception of `work` is raised here.

    Raises:
        WorkUnfinished: Ctrl-C or SIGTERM. Code that catches it should do no more than print a line and end the process.
    """
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    thread = Thread(target=run, daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.5)  # Windows handles Ctrl-C between two calls only
    except KeyboardInterrupt as interrupt:
        raise WorkUnfinished from interrupt
    return outcome.result()


@contextmanager
def _signals_raised() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise `KeyboardInterrupt` and `Terminated`.

    They would end the process without a message otherwise. A second signal ends it. Handlers of the caller stay.
    """
    in_main, handlers = current_thread() is main_thread(), {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    replaced = {number: handler for number, handler in handlers.items() if in_main and signal.getsignal(number) == signal.SIG_DFL}
    try:
        for number, handler in replaced.items():
            signal.signal(number, handler)
        yield
    finally:
        for number in replaced:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def guarded(name: str, work: Callable[[], int], stopped: str = "stopped") -> int:
    """Run `work`, and return its exit code.

    After `WorkUnfinished` the process ends, without waiting for threads at work. Printing cannot fail meanwhile.

    Args:
        name: name of the command, at the start of messages.
        work: the command; it returns its exit code.
        stopped: message after Ctrl-C or SIGTERM.

    Returns:
        The exit code of `work`; 2 after bad input or a failure, 130 after Ctrl-C, 143 after SIGTERM.
    """
    with lasting_streams():
        try:
            with _signals_raised():
                return work()
        except InputError as error:
            print(f"{name}: {printable(error)}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt as interrupt:
            print(f"{name}: {stopped}", file=sys.stderr)
            code = TERMINATED if isinstance(interrupt.__cause__ or interrupt, Terminated) else INTERRUPTED
            if isinstance(interrupt, WorkUnfinished):
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
            return code
        except Exception as error:  # Python would exit with 1, which says that a backdoor was found
            if os.environ.get("NC_TF_TRACEBACK"):
                raise
            reason = printable((str(error).splitlines() or ["no reason given"])[0])
            print(f"{name}: unforeseen {type(error).__name__} ({reason}); NC_TF_TRACEBACK=1 shows where", file=sys.stderr)
            return BAD_INPUT
