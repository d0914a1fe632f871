"""Switch off the neurons that the flagged triggers excite most, and measure the saved file.

Exit code 0: the pruned model is written; 2: bad input or failure.
"""

import argparse

from nc_tf.cli.repairing import add_common_arguments, repair
from nc_tf.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf prune`."""
    add_common_arguments(parser, fraction=0.1)
    parser.add_argument("--layer", metavar="NAME", help="a hidden layer; default: what the output layer is fed with")
    parser.add_argument("--step", type=float, default=0.01, help="share of the layer's units pruned at once")
    parser.add_argument("--most", type=float, default=0.5, help="share pruned at most")
    parser.add_argument("--success-bound", type=float, default=0.01, help="ASR of the flagged triggers at which they count as dead")
    parser.add_argument("--accuracy-bound", type=float, default=0.1, help="clean accuracy that the pruning may cost")
    parser.add_argument("--margin", type=float, default=2.0, help="how many times as many units as the triggers' death took")


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf prune`."""
    from nc_tf.mitigation.pruning import prune

    saved = repair(
        arguments,
        prune,
        layer=arguments.layer,
        step=arguments.step,
        most=arguments.most,
        success_bound=arguments.success_bound,
        accuracy_bound=arguments.accuracy_bound,
        margin=arguments.margin,
    )
    print(f"pruned {saved.settings['pruned']:.1%} of layer {printable(saved.settings['layer'])}: {saved.settings['stopped']}")
    return 0
