"""How a command ends: every failure is one line on stderr and an exit code, never a traceback; Ctrl-C and SIGTERM at once."""

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

# The last two are what a shell says of a command that SIGINT or SIGTERM ended.
BAD_INPUT, INTERRUPTED, TERMINATED = 2, 130, 143

Answer = TypeVar("Answer")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, instead of the usage and a line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {printable(message)}; see {self.prog} --help\n")


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


class LeftBehind(KeyboardInterrupt):
    """An interrupt while a thread of ours is at work, perhaps inside TensorFlow, where nothing can stop it but the end of the process."""


def interruptible(work: Callable[[], Answer]) -> Answer:
    """Run `work` in a thread of its own, so that Ctrl-C is heard at once: a call of TensorFlow may take seconds, and Python hears no
    signal in its main thread before it is back. What `work` returns or raises is returned or raised here.

    Raises:
        LeftBehind: Ctrl-C or SIGTERM. Whoever catches it should do no more than say so and end the process.
    """
    outcome: Future[Answer] = Future()

    def run() -> None:
        try:
            outcome.set_result(work())
        except BaseException as error:
            outcome.set_exception(error)

    thread = Thread(target=run, daemon=True)
    try:
        thread.start()
        while thread.is_alive():
            thread.join(timeout=0.5)  # Windows hears of Ctrl-C in between only
    except KeyboardInterrupt as interrupt:
        raise LeftBehind from interrupt
    return outcome.result()


@contextmanager
def _heard() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM raise `KeyboardInterrupt` and `Terminated`, where they would end the process without a word.

    Whoever has other plans for them keeps these. A second one means it, and ends the process.
    """
    in_main, handlers = current_thread() is main_thread(), {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: _terminate}
    ours = {number: handler for number, handler in handlers.items() if in_main and signal.getsignal(number) == signal.SIG_DFL}
    try:
        for number, handler in ours.items():
            signal.signal(number, handler)
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise Terminated


def guarded(name: str, work: Callable[[], int], stopped: str = "stopped") -> int:
    """Run `work`; returns its exit code, 2 after bad input or a failure, 130 after Ctrl-C and 143 after SIGTERM, of which `stopped` speaks.

    After `LeftBehind` it ends the process, without waiting for what is still at work. Nothing that is printed can fail meanwhile.
    """
    with lasting_streams():
        try:
            with _heard():
                return work()
        except InputError as error:
            print(f"{name}: {printable(error)}", file=sys.stderr)
            return BAD_INPUT
        except KeyboardInterrupt as interrupt:
            print(f"{name}: {stopped}", file=sys.stderr)
            code = TERMINATED if isinstance(interrupt.__cause__ or interrupt, Terminated) else INTERRUPTED
            if isinstance(interrupt, LeftBehind):
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
