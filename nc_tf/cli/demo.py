"""A demonstration in minutes, without data or GPU: find a backdoor in a small network, show its trigger, unlearn it.

The network ships with the package and reads rendered traffic signs. Exit code 0: the planted backdoor was found.
"""

import argparse

from nc_tf.cli.guard import interruptible
from nc_tf.cli.options import seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf demo`."""
    parser.add_argument("--out", default="nc_tf_demo", metavar="DIR", help="folder of the pictures and of the repaired network")
    parser.add_argument("--seed", type=seed, default=0, help="seed of the rendered signs, the search and the unlearning")


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf demo`, and return its exit code."""
    from nc_tf.cli.progress import ScanProgress
    from nc_tf.cli.scan import print_result
    from nc_tf.demo import TARGET, Demo
    from nc_tf.mitigation.saving import table

    demo = Demo(arguments.out, arguments.seed)
    print("1. rendering traffic signs of 43 classes, and loading a network that hides a backdoor")
    demo.prepare()
    print(f"2. searching the smallest trigger of every class, on {len(demo.images)} clean images")
    with ScanProgress() as progress:
        result = demo.scan([progress], around=interruptible)
    print_result(result)
    print(f"   pictures: {demo.overview()}")
    found = TARGET in result.flagged
    print(f"3. {'unlearning what was found' if found else f'the planted label {TARGET} was not found'}")
    if result.flagged:
        print(table(demo.unlearn()))
        print(f"written: {demo.repaired_file}, mitigation.json, verdict.json, triggers/, pictures in {arguments.out}")
    print(f"report: {demo.report}")
    return 0 if found else 1
