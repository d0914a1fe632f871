"""How a command ends: every failure is one line on stderr and an exit code, never a traceback."""

import os
import sys
from collections.abc import Callable

from nc_tf.errors import InputError

BAD_INPUT, INTERRUPTED = 2, 130


def guarded(name: str, work: Callable[[], int]) -> int:
    """Run `work`; returns its exit code, 2 after bad input or a failure, 130 after Ctrl-C."""
    try:
        return work()
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"{name}: stopped; the same command goes on where it was", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:  # Python would exit with 1, which says that a backdoor was found
        if os.environ.get("NC_TF_TRACEBACK"):
            raise
        reason = (str(error).splitlines() or ["no reason given"])[0]
        print(f"{name}: unforeseen {type(error).__name__} ({reason}); NC_TF_TRACEBACK=1 shows where", file=sys.stderr)
        return BAD_INPUT
