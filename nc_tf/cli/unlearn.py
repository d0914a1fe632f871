"""Fine-tune the flagged triggers out of a model, and measure the saved file.

Exit code 0: the repaired model is written; 2: bad input or failure.
"""

import argparse

from nc_tf.cli.options import positive
from nc_tf.cli.repairing import add_common_arguments, repair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf unlearn`."""
    add_common_arguments(parser, fraction=0.1)
    parser.add_argument("--ratio", type=float, default=0.2, help="share of them that is stamped")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1.5e-3)
    parser.add_argument("--freeze", metavar="LAYER", nargs="+", default=(), help="layers that stay as they are, by name or kind")
    parser.add_argument("--rounds", type=positive, default=1, help="scan again and unlearn what is flagged then, so many times in all")


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf unlearn`."""
    from nc_tf.cli.progress import ScanProgress
    from nc_tf.mitigation.rounds import unlearn_in_rounds
    from nc_tf.mitigation.unlearning import unlearn

    settings = {
        "ratio": arguments.ratio,
        "epochs": arguments.epochs,
        "batch_size": arguments.batch_size,
        "learning_rate": arguments.learning_rate,
        "frozen_layers": arguments.freeze,
    }
    if arguments.rounds == 1:
        repair(arguments, unlearn, **settings)
        return 0
    with ScanProgress() as progress:
        saved = repair(arguments, unlearn_in_rounds, needs_triggers=False, rounds=arguments.rounds, callbacks=[progress], **settings)
    for number, found in enumerate(saved.details["rounds"], 1):
        print(f"scan {number}: {found['verdict']}, flagged {', '.join(map(str, found['flagged'])) or 'none'}")
    return 0
