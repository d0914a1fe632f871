"""Prepare a data set: gtsrb (official archives, 365 MB), cifar10 (170 MB) or signs (rendered, no download)."""

import argparse
from pathlib import Path

from nc_tf.cli.options import seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf data`."""
    parser.add_argument("name", choices=("gtsrb", "cifar10", "signs"))
    parser.add_argument("--out", default="data", metavar="DIR", help="folder for the data files (default: data)")
    parser.add_argument("--from", dest="source", metavar="PATH", help="instead of a download: gtsrb: the archives; cifar10: JPEGs in .npz")
    parser.add_argument("--crop", action="store_true", help="gtsrb: cut each picture to the sign")
    parser.add_argument("--seed", type=seed, default=0, help="signs: which pictures to render")


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf data`."""
    import numpy as np

    from nc_tf.datasets import cifar10, gtsrb, signs
    from nc_tf.files import whole_file

    if arguments.name == "gtsrb":
        for path in gtsrb.prepare(arguments.out, source=arguments.source, crop=arguments.crop):
            print(f"written: {path}")
        return 0
    rendered = arguments.name == "signs"
    (x_train, y_train), (x_test, y_test) = signs.load_data(seed=arguments.seed) if rendered else cifar10.load_data(arguments.source)
    out = Path(arguments.out) / f"{arguments.name}.npz"
    with whole_file(out) as temporary:
        np.savez_compressed(temporary, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    print(f"written: {out}, {len(x_train)} training and {len(x_test)} test images")
    return 0
