"""The start of the command `nc-tf`, in a module with hardly any imports."""

import signal


def main() -> int:
    """Run `nc-tf`, and return its exit code.

    The other imports take a while. During them Ctrl-C ends the process at once, where Python would print a traceback. Afterwards the
    command itself reports that it was stopped.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from nc_tf.cli.main import main as run

    return run()
