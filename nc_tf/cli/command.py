"""The start of the command `nc-tf`, in a module that loads next to nothing."""

import signal


def main() -> int:
    """Run `nc-tf`; returns its exit code.

    Loading the rest takes a while. Ctrl-C then ends the process at once, where Python would write a traceback; afterwards the command
    itself says that it was stopped.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nc_tf.cli.main import main as run

    return run()
