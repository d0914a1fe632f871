"""The command `nc-tf`: parsing and printing, nothing else."""

import argparse
from collections.abc import Sequence

from nc_tf import __version__
from nc_tf.cli import data, demo, inject, scan, unlearn
from nc_tf.cli.guard import BAD_INPUT, guarded
from nc_tf.cli.quiet import load_tensorflow

COMMANDS = {"demo": demo, "scan": scan, "unlearn": unlearn, "inject": inject, "data": data}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> None:  # type: ignore[override]
        """One line instead of the usage and a line."""
        self.exit(BAD_INPUT, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = _Parser(prog="nc-tf", description="Find, show and remove backdoors in Keras classifiers.")
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
    """Run one command; returns its exit code: 0, 1 and 3 say what was found, 2 is bad input or failure."""

    def work() -> int:
        arguments = parser().parse_args(argv)
        load_tensorflow()
        return int(COMMANDS[arguments.command].run(arguments))

    return guarded("nc-tf", work)
