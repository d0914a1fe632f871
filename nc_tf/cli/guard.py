"""How a command ends: every failure is one line on stderr and an exit code, never a traceback."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from nc_tf.errors import InputError

BAD_INPUT, INTERRUPTED = 2, 130


class Parser(argparse.ArgumentParser):
    """Says what is wrong with an option in one line, instead of the usage and a line."""

    def error(self, message: str) -> NoReturn:
        """Exit with 2."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def guarded(name: str, work: Callable[[], int], stopped: str = "stopped") -> int:
    """Run `work`; returns its exit code, 2 after bad input or a failure, 130 after Ctrl-C, of which `stopped` speaks."""
    try:
        return work()
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"{name}: {stopped}", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # Python would exit with 1, which says that a backdoor was found
        if os.environ.get("NC_TF_TRACEBACK"):
            raise
        reason = (str(error).splitlines() or ["no reason given"])[0]
        print(f"{name}: unforeseen {type(error).__name__} ({reason}); NC_TF_TRACEBACK=1 shows where", file=sys.stderr)
        return BAD_INPUT
