"""Options that several commands share."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nc_tf.bounds import check_plain
from nc_tf.errors import InputError
from nc_tf.text import printable

if TYPE_CHECKING:
    from nc_tf.datasets.files import LabelledImages
    from nc_tf.preprocessing import Preprocessing

LARGEST_NAMES = 2**24  # bytes of a file of class names


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
    add_range_options(parser)


def add_range_options(parser: argparse.ArgumentParser) -> None:
    """What the model wants of raw pixels."""
    parser.add_argument("--intensity-range", default="raw", choices=("raw", "mnist", "inception", "imagenet"), help="what the model wants")
    parser.add_argument("--mean", type=numbers(float), help="instead: channel means for pixels in [0, 1], 0.5 or 0.5,0.4,0.4")
    parser.add_argument("--std", type=numbers(float), help="and their standard deviations")


def preprocessing_of(arguments: argparse.Namespace) -> "Preprocessing":
    """The `Preprocessing` that `add_range_options` asked for."""
    from nc_tf.preprocessing import preprocessing

    return preprocessing(arguments.intensity_range, mean=arguments.mean, std=arguments.std)


def class_names(path: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Read names out of a text file, one a line.

    The numbers in the `0 name` of Teachable Machine are dropped.

    Raises:
        InputError: no such file, or not one name a class.
    """
    if path is None:
        return None
    expected = "expected a text file with one class name a line"
    try:
        check_plain(path)
        if Path(path).stat().st_size > LARGEST_NAMES:
            raise InputError(f"{path} has more than {LARGEST_NAMES:,} bytes: {expected}; check the path")
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip("\n").split("\n")  # with a byte order mark, as Notepad writes it
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): {expected}; check the path") from error
    if len(lines) != num_classes:
        raise InputError(f"{path} has {len(lines)} names: expected {num_classes}, one for each class of the model; complete the list")
    if all(line.startswith(f"{number} ") for number, line in enumerate(lines)):
        lines = [line.partition(" ")[2] for line in lines]
    return tuple(printable(line.strip()) for line in lines)


def say_left_out(*data: "LabelledImages") -> None:
    """Print on stderr what sources of images held and was not read."""
    for line in dict.fromkeys(part.account() for part in data):
        if line:
            print(line, file=sys.stderr)
