"""The command `nc-tf`: its parser, and the choice of the command to run."""

import argparse
from collections.abc import Sequence
from typing import Any

from nc_tf._version import __version__
from nc_tf.cli import data, demo, evaluate, inject, report, scan, unlearn
from nc_tf.cli.guard import Parser, guarded
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.cli.repairing import RepairCommand
from nc_tf.cli.streams import lasting_streams
from nc_tf.mitigation.registry import DEFENCES
from nc_tf.runtime.memory import DEFAULT, allow


def commands() -> dict[str, Any]:
    """Return the commands by name, those of the registry of defences included.

    A command has a docstring, `add_arguments` and `run`; it may have `STOPPED`, what to say when it was stopped.
    """
    own: dict[str, Any] = {"unlearn": unlearn}
    repairs = {name: own.get(name) or RepairCommand(defence) for name, defence in DEFENCES.items()}
    first: dict[str, Any] = {"demo": demo, "scan": scan, "report": report}
    return first | repairs | {"evaluate": evaluate, "inject": inject, "data": data}


def parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    top = Parser(prog="nc-tf", description="Find, show and remove backdoors in Keras classifiers.")
    top.add_argument("--version", action="version", version=f"nc-tf {__version__}")
    children = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in commands().items():
        summary = (command.__doc__ or "").splitlines()[0]
        child = children.add_parser(
            name, help=summary, description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
        )
        command.add_arguments(child)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, and return its exit code.

    Codes 0, 1 and 3 are results, 2 is bad input or failure.
    """
    with lasting_streams():
        arguments = parser().parse_args(argv)
    command = commands()[arguments.command]

    def work() -> int:
        allow(getattr(arguments, "memory", DEFAULT))
        load_tensorflow()
        return int(command.run(arguments))

    return guarded("nc-tf", work, getattr(command, "STOPPED", "stopped"))
