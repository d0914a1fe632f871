"""Options that several commands share."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from nc_tf.errors import InputError

if TYPE_CHECKING:
    import keras

    from nc_tf.preprocessing import Preprocessing

ARCHITECTURES = ("gtsrb", "signs", "small_resnet", "preact_resnet18", "deepid", "cnn_lstm")


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


def image_shape(text: str) -> tuple[int, ...]:
    """`28x28x1`, or of clips `16x64x64x3`."""
    parts = text.split("x")
    if len(parts) not in (3, 4) or not all(part.isascii() and part.isdecimal() and 0 < int(part) < 2**16 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: expected HxWxC such as 28x28x1, or TxHxWxC")
    return tuple(map(int, parts))


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """How the model is opened and fed."""
    parser.add_argument("--trust-model", action="store_true", help="let the file run code: only if you trust its author")
    parser.add_argument("--output", metavar="NAME", help="of several outputs the one with the class scores, by name or number")
    flat = "what a flat input holds, 28x28x1; default: a square with 1 or 3 channels"
    parser.add_argument("--image-shape", type=image_shape, metavar="HxWxC", help=flat)
    weights = "MODEL holds weights alone, .h5, of this network"
    parser.add_argument("--weights-of", "--architecture", choices=ARCHITECTURES, help=weights)
    add_range_options(parser)


def model_of(arguments: argparse.Namespace) -> "keras.Model":
    """The classifier that MODEL and the options of `add_model_options` name; what was adapted is said on stderr.

    Raises:
        InputError: as `nc_tf.load_model`, `load_weights` and `adapt`.
    """
    from nc_tf.models.adapting import adapt, what_was_adapted
    from nc_tf.models.loading import load_model
    from nc_tf.models.weights import load_weights

    if arguments.weights_of:
        weights = load_weights(arguments.model, arguments.weights_of, image_shape=arguments.image_shape)
        return adapt(weights, output=arguments.output, name=arguments.model)
    model = load_model(
        arguments.model, trust_model=arguments.trust_model, output=arguments.output, image_shape=arguments.image_shape
    )
    adapted = what_was_adapted(model).get("adapted")
    if adapted:
        print(f"{arguments.model} has {adapted}", file=sys.stderr)
    return model


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
