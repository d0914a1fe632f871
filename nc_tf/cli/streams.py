"""Standard streams that last as long as the command: a reader that goes away, a full disk or a missing stream ends no scan."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO, cast


class Lasting:
    """A text stream that cannot fail: what nobody takes any more is dropped, and what its encoding lacks is escaped."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text; returns its length."""
        try:
            self._stream.write(text)
        except OSError:
            self._give_up()
        return len(text)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """Send it to nowhere from now on: Python would try again at its end, fail, and exit with 120."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let nothing that is printed fail, for the time of a command.

    A process may be started without standard streams. Their numbers then go to the next files that are opened, and what libraries write
    to "stderr" into these; so they are opened first.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free: this one
    with ExitStack() as stack:
        for name in ("stdout", "stderr"):
            stack.enter_context(_lasting(name))
        yield


@contextmanager
def _lasting(name: str) -> Iterator[None]:
    before: TextIO | None = getattr(sys, name)
    if before is None:  # Python found none
        with open(os.devnull, "w", encoding="utf-8", errors="replace") as nowhere:
            setattr(sys, name, nowhere)
            try:
                yield
            finally:
                setattr(sys, name, None)
        return
    errors, reconfigure = before.errors, getattr(before, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    stream = Lasting(before)
    setattr(sys, name, cast(TextIO, stream))
    try:
        yield
    finally:
        stream.flush()
        setattr(sys, name, before)
        if reconfigure:
            reconfigure(errors=errors)
