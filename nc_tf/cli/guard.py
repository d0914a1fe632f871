"""How a command ends: every failure is one line on stderr and an exit code, never a traceback; and Ctrl-C at once."""

import argparse
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import NoReturn, TypeVar

from nc_tf.errors import InputError

BAD_INPUT, INTERRUPTED = 2, 130

Answer = TypeVar("Answer")


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, instead of the usage and a line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


class LeftBehind(KeyboardInterrupt):
    """Ctrl-C while a thread of ours is at work, perhaps inside TensorFlow, where nothing can stop it but the end of the process."""


def interruptible(work: Callable[[], Answer]) -> Answer:
    """Run `work` in a thread of its own, so that Ctrl-C is heard at once: a call of TensorFlow may take seconds, and Python hears no
    signal in its main thread before it is back. What `work` returns or raises is returned or raised here.

    Raises:
        LeftBehind: Ctrl-C. Whoever catches it should do no more than say so and end the process.
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
    except KeyboardInterrupt:
        raise LeftBehind from None
    return outcome.result()


def guarded(name: str, work: Callable[[], int], stopped: str = "stopped") -> int:
    """Run `work`; returns its exit code, 2 after bad input or a failure, 130 after Ctrl-C, of which `stopped` speaks.

    After `LeftBehind` it ends the process, without waiting for what is still at work.
    """
    try:
        return work()
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt as interrupt:
        print(f"{name}: {stopped}", file=sys.stderr)
        if isinstance(interrupt, LeftBehind):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        return INTERRUPTED
    except Exception as error:  # Python would exit with 1, which says that a backdoor was found
        if os.environ.get("NC_TF_TRACEBACK"):
            raise
        reason = (str(error).splitlines() or ["no reason given"])[0]
        print(f"{name}: unforeseen {type(error).__name__} ({reason}); NC_TF_TRACEBACK=1 shows where", file=sys.stderr)
        return BAD_INPUT
