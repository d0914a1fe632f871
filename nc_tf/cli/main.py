"""The command `nc-tf`: its parser, and the choice of the command to run."""

import argparse
from collections.abc import Sequence

from nc_tf._version import __version__
from nc_tf.cli import data, demo, evaluate, filter, inject, nft, prune, report, scan, unlearn
from nc_tf.cli.guard import Parser, guarded
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.cli.streams import lasting_streams
from nc_tf.runtime.memory import DEFAULT, allow

COMMANDS = {
    "demo": demo,
    "scan": scan,
    "report": report,
    "unlearn": unlearn,
    "prune": prune,
    "filter": filter,
    "nft": nft,
    "evaluate": evaluate,
    "inject": inject,
    "data": data,
}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = Parser(prog="nc-tf", description="Find, show and remove backdoors in Keras classifiers.")
    top.add_argument("--version", action="version", version=f"nc-tf {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").splitlines()[0]
        child = commands.add_parser(
            name, help=summary, description=module.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        module.add_arguments(child)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code.

    Codes 0, 1 and 3 are results, 2 is bad input or failure.
    """
    with lasting_streams():
        arguments = parser().parse_args(argv)
    command = COMMANDS[arguments.command]

    def work() -> int:
        allow(getattr(arguments, "memory", DEFAULT))
        load_tensorflow()
        return int(command.run(arguments))

    return guarded("nc-tf", work, getattr(command, "STOPPED", "stopped"))
