"""Options that several commands share."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from nc_tf.errors import InputError, printable
from nc_tf.runtime.memory import DEFAULT
from nc_tf.storage.bounds import check_plain

if TYPE_CHECKING:
    import keras

    from nc_tf.datasets.read import LabelledImages
    from nc_tf.preprocessing import Preprocessing

LARGEST_NAMES = 2**24  # bytes of a file of class names
ARCHITECTURES = ("gtsrb", "signs", "small_resnet", "preact_resnet18", "deepid", "cnn_lstm")
TEST_SHARE = 0.2  # share of the test set in the images that memory can hold, if there is a training set as well


def numbers(kind: type) -> Callable[[str], tuple]:
    """Return a parser of `1,2,3` to a tuple of numbers."""

    def parse(text: str) -> tuple:
        try:
            return tuple(kind(part) for part in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r}: expected numbers with commas between them") from None

    return parse


def positive(text: str) -> int:
    """Parse a whole number from 1."""
    return _at_least(text, 1)


def seed(text: str) -> int:
    """Parse a whole number from 0."""
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
    """Parse `all` to None, or `0,33` to labels."""
    return None if text == "all" else numbers(int)(text)


def listed(text: str) -> tuple[str, ...]:
    """Parse `picture,warp` to names."""
    return tuple(part.strip() for part in text.split(","))


def image_shape(text: str) -> tuple[int, ...]:
    """Parse `28x28x1`, or `16x64x64x3` for clips, to a shape."""
    parts = text.split("x")
    if len(parts) not in (3, 4) or not all(part.isascii() and part.isdecimal() and 0 < int(part) < 2**16 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: expected HxWxC such as 28x28x1, or TxHxWxC")
    return tuple(map(int, parts))


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options on the model file and its input."""
    parser.add_argument("--trust-model", action="store_true", help="let the file run code; only if you trust its author")
    parser.add_argument("--output", metavar="NAME", help="the output with the class scores, by name or number, if there are several")
    flat = "shape of the images in a flat input, such as 28x28x1 (default: a square with 1 or 3 channels)"
    parser.add_argument("--image-shape", type=image_shape, metavar="HxWxC", help=flat)
    weights = "architecture of the network, if MODEL holds weights alone (.h5)"
    parser.add_argument("--weights-of", "--architecture", choices=ARCHITECTURES, help=weights)
    add_memory_option(parser)
    add_range_options(parser, auto=True)


def model_of(arguments: argparse.Namespace) -> "keras.Model":
    """Return the classifier that MODEL and the options of `add_model_options` name.

    Adaptations are printed on stderr.

    Raises:
        InputError: as `nc_tf.load_model`, `load_weights` and `adapt`.
    """
    from nc_tf.models.adapting import adapt, what_was_adapted
    from nc_tf.models.loading.load import load_model
    from nc_tf.models.networks.weights_alone import load_weights

    if arguments.weights_of:
        weights = load_weights(arguments.model, arguments.weights_of, image_shape=arguments.image_shape)
        return adapt(weights, output=arguments.output, name=arguments.model)
    model = load_model(arguments.model, trust_model=arguments.trust_model, output=arguments.output, image_shape=arguments.image_shape)
    adapted = what_was_adapted(model).get("adapted")
    if adapted:
        print(f"{arguments.model} has {adapted}", file=sys.stderr)
    return model


def add_memory_option(parser: argparse.ArgumentParser) -> None:
    """Declare the memory limit of the process, which `nc_tf.cli.main` sets."""
    limit = f"memory limit of the process, such as 2GiB or 3500MB (default: {DEFAULT}); it decides how many images are processed at once, "
    limit += "and how many of a large set are used"
    parser.add_argument("--memory", default=DEFAULT, metavar="SIZE", help=limit)


def add_range_options(parser: argparse.ArgumentParser, *, auto: bool = False) -> None:
    """Declare the options on the preprocessing of the model.

    Args:
        parser: the parser of a command.
        auto: whether the range is found automatically by default.
    """
    ranges = ["raw", "mnist", "inception", "imagenet"]
    meaning = "range of pixels that the model takes"
    if auto:
        ranges, meaning = ["auto", *ranges], f"{meaning} (default: auto, the range with which it recognises most images)"
    parser.add_argument("--intensity-range", default=ranges[0], choices=ranges, help=meaning)
    means = "channel means of pixels in [0, 1], such as 0.5 or 0.5,0.4,0.4, in the place of --intensity-range"
    parser.add_argument("--mean", type=numbers(float), help=means)
    parser.add_argument("--std", type=numbers(float), help="standard deviations that belong to --mean")


def range_of(arguments: argparse.Namespace) -> "str | Preprocessing":
    """Return the preprocessing that the options name, or "auto"."""
    from nc_tf.preprocessing import preprocessing

    name = arguments.intensity_range
    if name == "auto":
        if arguments.mean is None and arguments.std is None:
            return name
        name = "raw"
    return preprocessing(name, mean=arguments.mean, std=arguments.std)


def add_label_order(parser: argparse.ArgumentParser) -> None:
    """Declare the option on the order of the labels."""
    from nc_tf.datasets.label_order import LABEL_ORDERS

    meaning = (
        "meaning of the class numbers of DATA: the output of the model (number), or its place among all numbers sorted as text, as Keras "
    )
    meaning += "sorts folders; from-1: counted from 1 (default: number, or number-from-1 if they run from 1 to the number of classes)"
    parser.add_argument("--label-order", choices=tuple(LABEL_ORDERS), help=meaning)


def in_label_order(sets: "Sequence[LabelledImages]", order: str | None, num_classes: int, name: str) -> "list[LabelledImages]":
    """Return sets of one source with model outputs as labels.

    Raises:
        InputError: see `label_order.reorder`.
    """
    import numpy as np

    from nc_tf.datasets.label_order import counts_from_1, reorder

    if order is None and counts_from_1(np.concatenate([data.labels for data in sets]), num_classes):
        order = "number-from-1"
        print(f"{name}: labels 1 to {num_classes} are counted from 1, the model's classes from 0: 1 was subtracted", file=sys.stderr)
    order = order or "number"
    return [replace(data, labels=reorder(data.labels, order, num_classes, name), label_order=order) for data in sets]


def images_in_memory(image_shape: Sequence[int | None], share: float = 1.0) -> int:
    """Return a share of the number of images that memory can hold.

    It is `MOST_KEPT` if the shape leaves the size of the images open.
    """
    from nc_tf.runtime.memory import MOST_KEPT, most_kept

    sides = [side for side in image_shape if side is not None]
    return max(1, int(share * (most_kept(prod(sides)) if len(sides) == len(image_shape) else MOST_KEPT)))


def sample_for_memory(data: "LabelledImages", seed: int, share: float = 1.0) -> "LabelledImages":
    """Return the images, or a random sample that memory can hold.

    A sample, drawn here or when the images were read, is reported on stderr.

    Args:
        data: the images.
        seed: seed of the sample.
        share: share of the memory for these images.
    """
    from nc_tf.results import Unit
    from nc_tf.runtime.memory import allowed, most_kept, words

    most = max(1, int(share * most_kept(data.images[0].nbytes)))
    if len(data.images) > most:
        data = data.sample(most, seed)
    if data.available is not None and data.available > most:
        many = Unit.of(data.images.shape[1:]).many
        drawn = f"{len(data.images):,} of {data.available:,} {many} are used, drawn by seed {seed}"
        print(f"{drawn}: more are not kept in {words(allowed())} of memory", file=sys.stderr)
    return data


def class_names(path: str | None, num_classes: int) -> tuple[str, ...] | None:
    """Return the class names in a text file, one a line.

    Numbers in front, as in `0 name` of Teachable Machine, are dropped.

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
    """Print the accounts of files left out on stderr."""
    for line in dict.fromkeys(part.account() for part in data):
        if line:
            print(line, file=sys.stderr)
