"""Give a model one class more, which says that an image looks triggered, and measure the saved file.

Exit code 0: the model is written; 2: bad input or failure.
"""

import argparse

from nc_tf.cli.repairing import add_common_arguments, repair


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf filter`."""
    add_common_arguments(parser, fraction=0.1)
    parser.add_argument("--layer", metavar="NAME", help="a hidden layer; default: what the output layer is fed with")
    parser.add_argument("--units", type=float, default=0.01, help="share of the layer's units to look at")
    parser.add_argument("--false-positive-rate", type=float, default=0.05, help="share of clean images that may be rejected")


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf filter`."""
    from nc_tf.mitigation.filtering import input_filter

    saved = repair(arguments, input_filter, layer=arguments.layer, units=arguments.units, false_positive_rate=arguments.false_positive_rate)
    print("images of no trigger rejected, and triggered ones let through:")
    for row in saved.details["rates"]:
        missed = ", ".join(f"{name} {rate:.3f}" for name, rate in row["false_negative_rate"].items())
        print(f"  calibrated for {row['false_positive_rate']:.3f}: {row['measured_false_positive_rate']:.3f}; {missed}")
    return 0
