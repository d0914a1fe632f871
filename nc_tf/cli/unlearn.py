"""Fine-tune the flagged triggers out of a model, and measure the saved file.

Exit code 0: the repaired model is written; 2: bad input or failure.
"""

import argparse

from nc_tf.cli.options import positive
from nc_tf.cli.repairing import add_repair_arguments, own_settings, print_lines, repair
from nc_tf.mitigation.registry import DEFENCES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf unlearn`."""
    add_repair_arguments(parser, DEFENCES["unlearn"])
    rounds = "how often to unlearn at most; above 1 a scan follows each time, and what it flags is unlearned next (default: 1)"
    parser.add_argument("--rounds", type=positive, default=1, help=rounds)


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf unlearn`."""
    from nc_tf.cli.progress import ScanProgress
    from nc_tf.mitigation.rounds import in_words, unlearn_in_rounds

    settings = own_settings(arguments)
    if arguments.rounds == 1:
        repair(arguments, DEFENCES["unlearn"], **settings)
        return 0
    with ScanProgress() as progress:
        saved = repair(arguments, unlearn_in_rounds, needs_triggers=False, rounds=arguments.rounds, callbacks=[progress], **settings)
    print_lines(in_words(saved))
    return 0
