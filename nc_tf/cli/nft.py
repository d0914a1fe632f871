"""Purify a model with a handful of clean images, without knowing the trigger, and measure the saved file (NFT).

Exit code 0: the purified model is written; 2: bad input or failure.
"""

import argparse

from nc_tf.cli.repairing import add_common_arguments, repair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf nft`."""
    add_common_arguments(parser, fraction=0.01)
    parser.add_argument("--steps", type=int, default=1000, help="updates")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--regularization", type=float, default=0.001, help="pull of the masks towards 1")
    parser.add_argument("--alpha", type=float, default=0.8, help="masks of the l-th layer stay above alpha * exp(-beta * l)")
    parser.add_argument("--beta", type=float, default=0.5)


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf nft`."""
    from nc_tf.mitigation.nft import nft

    repair(
        arguments,
        nft,
        needs_triggers=False,
        steps=arguments.steps,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        regularization=arguments.regularization,
        alpha=arguments.alpha,
        beta=arguments.beta,
    )
    return 0
