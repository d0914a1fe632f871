"""Write the report of a finished scan again, from its folder alone.

Exit code 0: report.html is written; 2: bad input or failure.
"""

import argparse

from nc_tf.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf report`."""
    parser.add_argument("folder", metavar="DIR", help="the scan folder")


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf report` and return its exit code."""
    from nc_tf.report.report_file import write_report

    print(f"written: {printable(write_report(arguments.folder))}")
    return 0
