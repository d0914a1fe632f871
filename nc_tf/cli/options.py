"""Options that several commands share."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nc_tf.errors import InputError
from nc_tf.memory import DEFAULT

if TYPE_CHECKING:
    from nc_tf.datasets.files import LabelledImages
    from nc_tf.preprocessing import Preprocessing


TEST_SHARE = 0.2  # of the images that memory is kept for, where there is a training and a test set


def numbers(kind: type) -> Callable[[str], tuple]:
    """A parser for `1,2,3`."""

    def parse(text: str) -> tuple:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: expected numbers with commas between them") from None

    return parse


def positive(text: str) -> int:
    """A whole number from 1."""
    return _at_least(text, 1)


def seed(text: str) -> int:
    """A whole number from 0."""
    return _at_least(text, 0)


def _at_least(text: str, least: int) -> int:
    try:
        number = int(text)
    except ValueError:
        number = least - 1
    if not least <= number < 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least}")
    return number


def labels(text: str) -> tuple[int, ...] | None:
    """`all` or `0,33`."""
    return None if text == "all" else numbers(int)(text)


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """How the model is opened and fed."""
    parser.add_argument("--trust-model", action="store_true", help="let the file run code: only if you trust its author")
    add_memory_option(parser)
    add_range_options(parser)


def add_memory_option(parser: argparse.ArgumentParser) -> None:
    """How much the process may take; `nc_tf.cli.main` sees to it."""
    bound = f"what the process may take, such as 2GiB or 3500MB (default: {DEFAULT}); it decides how much is done at once"
    parser.add_argument("--memory", default=DEFAULT, metavar="SIZE", help=bound)


def add_range_options(parser: argparse.ArgumentParser) -> None:
    """What the model wants of raw pixels."""
    parser.add_argument("--intensity-range", default="raw", choices=("raw", "mnist", "inception", "imagenet"), help="what the model wants")
    parser.add_argument("--mean", type=numbers(float), help="instead: channel means for pixels in [0, 1], 0.5 or 0.5,0.4,0.4")
    parser.add_argument("--std", type=numbers(float), help="and their standard deviations")


def preprocessing_of(arguments: argparse.Namespace) -> "Preprocessing":
    """The `Preprocessing` that `add_range_options` asked for."""
    from nc_tf.preprocessing import preprocessing

    return preprocessing(arguments.intensity_range, mean=arguments.mean, std=arguments.std)


def kept(data: "LabelledImages", seed: int, share: float = 1.0) -> "LabelledImages":
    """As many of the images as memory is kept for, or a share of that; a sample of more is drawn by the seed, and stderr says so."""
    from nc_tf.memory import allowed, most_kept, words
    from nc_tf.results import Unit

    most = max(1, int(share * most_kept(data.images[0].nbytes)))
    if len(data.images) <= most:
        return data
    many = Unit.of(data.images.shape[1:]).many
    drawn = f"{most:,} of {len(data.images):,} {many} are used, drawn by seed {seed}"
    print(f"{drawn}: more are not kept in {words(allowed())} of memory", file=sys.stderr)
    return data.sample(most, seed)


def class_names(path: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Names out of a text file, one a line.

    Raises:
        InputError: no such file, or not one name a class.
    """
    if path is None:
        return None
    try:
        names = tuple(Path(path).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): expected a text file with one class name a line; check the path") from error
    if len(names) != num_classes:
        raise InputError(f"{path} has {len(names)} names: expected {num_classes}, one for each class of the model; complete the list")
    return names
