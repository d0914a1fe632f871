"""Standard streams that do not fail: a closed reader, a full disk or a missing stream ends no command."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, TextIO, cast


class Lasting:
    """A text stream that cannot fail; it drops text that cannot be written any more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text, and return its length."""
        try:
            self._stream.write(text)
        except OSError:
            self._give_up()
        return len(text)

    def flush(self) -> None:
        """Pass on the text written so far."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """Redirect the stream to the null device.

        Python would write again at its end, fail, and exit with 120.
        """
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def lasting_streams() -> Iterator[None]:
    """Let printing never fail, for the time of a command.

    Text that the encoding lacks is escaped. A process may be started without standard streams. The next files that are opened would get
    their numbers, and libraries would write to "stderr" into these files. So the null device is opened first.
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
