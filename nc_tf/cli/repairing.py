"""The commands that repair a model, one a line of the registry of defences."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from nc_tf.cli.options import (
    TEST_SHARE,
    add_label_order,
    add_model_options,
    images_in_memory,
    in_label_order,
    model_of,
    range_of,
    sample_for_memory,
    say_left_out,
    seed,
)
from nc_tf.cli.signature import add_options, parameters
from nc_tf.errors import InputError, printable
from nc_tf.mitigation.registry import Defence

if TYPE_CHECKING:
    import keras

    from nc_tf.datasets.read import LabelledImages
    from nc_tf.detection.recognition import RangeChoice
    from nc_tf.results import Backdoor, FoundTrigger, Measurement, Mitigation, Unit

LITTLE = 0.5  # share of the images below which a model recognises, or a trigger moves, too few
STILL = 0.2  # share of the images that a trigger may move after a repair
# Parameters that all defences have, and that have options of their own.
SHARED = ("test", "known_triggers", "triggers", "fraction", "intensity_range", "seed", "verbose")


class RepairCommand:
    """The command of a defence: its options are the shared ones and those of the defence's own keywords.

    Attributes:
        defence: the line of the registry.
    """

    def __init__(self, defence: Defence) -> None:
        """Take the defence."""
        self.defence = defence
        self.__doc__ = f"{defence.summary}\n\nExit code 0: the repaired model is written; 2: bad input or failure.\n"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Declare the options."""
        add_repair_arguments(parser, self.defence)

    def run(self, arguments: argparse.Namespace) -> int:
        """Run the command; returns its exit code."""
        saved = repair(arguments, self.defence, **own_settings(arguments))
        print_lines(self.defence.in_words(saved))
        return 0


def add_repair_arguments(parser: argparse.ArgumentParser, defence: Defence) -> None:
    """Declare the options of a defence, shared ones and its own."""
    found = parameters(defence.function)
    parser.add_argument("model", metavar="MODEL", help="the infected model")
    parser.add_argument("data", metavar="DATA", help="clean raw images; measured on X_test, or on a fifth where there is one set only")
    parser.add_argument("--scan", metavar="DIR", help="the scan folder with the flagged triggers")
    parser.add_argument("--trigger", metavar="FILE", nargs="+", default=(), help="instead: reversed triggers as .npz files")
    parser.add_argument("--out", required=True, metavar="FILE", help=".keras or .h5")
    parser.add_argument("--true-trigger", metavar="FILE", help="an .npz trigger to measure as well, such as nc-tf inject writes")
    fraction = found["fraction"].default
    parser.add_argument("--fraction", type=float, default=fraction, help=f"share of the training images used (default: {fraction})")
    parser.add_argument("--seed", type=seed, default=0)
    own = add_options(parser, found, skipped=SHARED, names=defence.options)
    parser.set_defaults(needs_triggers="triggers" not in found, own_settings=own)
    add_label_order(parser)
    add_model_options(parser)


def own_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the defence's own keywords, as the options set them."""
    return {name: getattr(arguments, name) for name in arguments.own_settings}


class Given(NamedTuple):
    """The input of a repair, read and checked.

    Attributes:
        model: the infected model.
        triggers: the reversed ones.
        known: further ones to measure, by name.
        train: clean images to repair with.
        test: clean images to measure on.
        choice: the intensity range.
    """

    model: "keras.Model"
    triggers: "Sequence[FoundTrigger]"
    known: "dict[str, Backdoor]"
    train: "LabelledImages"
    test: "LabelledImages"
    choice: "RangeChoice"


def repair(
    arguments: argparse.Namespace, method: "Callable[..., Mitigation]", *, needs_triggers: bool | None = None, **settings: Any
) -> "Mitigation":
    """Repair, save and print; returns the mitigation of the reloaded file.

    Args:
        arguments: of the options that `add_repair_arguments` declares.
        method: the defence.
        needs_triggers: whether the defence needs one; None is the answer of its signature.
        **settings: the defence's own keywords.

    Raises:
        InputError: bad input.
    """
    from nc_tf.mitigation.saving import save_mitigation

    given = read_given(arguments, arguments.needs_triggers if needs_triggers is None else needs_triggers)
    test = _pair(given.test)
    mitigation = method(
        given.model,
        *_pair(given.train),
        given.triggers,
        test=test,
        known_triggers=given.known,
        fraction=arguments.fraction,
        intensity_range=given.choice,
        seed=arguments.seed,
        **settings,
    )
    saved = save_mitigation(mitigation, arguments.out, test, given.choice.preprocess, trust_model=arguments.trust_model)
    print_repair(given, saved, settings.get("batch_size"))
    print(f"written: {printable(arguments.out)}, and mitigation.json beside it")
    return saved


def read_given(arguments: argparse.Namespace, needs_triggers: bool) -> Given:
    """Return the input that the options name, read and checked.

    Where the model recognises few of the images, stderr says that the repair is doubtful.

    Raises:
        InputError: bad input, or a model that recognises hardly an image.
    """
    from nc_tf.attacks.backdoor_file import load_backdoor
    from nc_tf.datasets.checks import check_images
    from nc_tf.datasets.read import read_both
    from nc_tf.detection.recognition import choose_range, recognise
    from nc_tf.models.adapting import what_was_adapted
    from nc_tf.models.saving import check_model_file
    from nc_tf.scan_folder.folder import ScanFolder
    from nc_tf.scan_folder.settings_record import sha256_of

    check_model_file(arguments.out, arguments.model, arguments.data)
    triggers = found_triggers(arguments, needs_triggers)
    known = {"true": load_backdoor(arguments.true_trigger)} if arguments.true_trigger else {}
    model = model_of(arguments)
    if arguments.scan:
        ScanFolder(arguments.scan).check_model(sha256_of(arguments.model), what_was_adapted(model).get("adapted"))
    shape = model.input_shape[1:]
    most, most_tested = images_in_memory(shape, 1 - TEST_SHARE), images_in_memory(shape, TEST_SHARE)
    both = read_both(arguments.data, seed=arguments.seed, image_shape=shape, at_most=most, test_at_most=most_tested)
    both = sample_for_memory(both[0], arguments.seed, 1 - TEST_SHARE), sample_for_memory(both[1], arguments.seed, TEST_SHARE)
    say_left_out(*both)
    train, test = in_label_order(both, arguments.label_order, model.output_shape[-1], arguments.data)
    check_images(*_pair(test), num_classes=model.output_shape[-1], name=arguments.data)
    choice = choose_range(range_of(arguments), model, *_pair(test))
    recognition = recognise(model, *_pair(test), choice.preprocess)
    if recognition.near_chance:  # the repair would teach it something else than its task
        raise InputError(recognition.sentence)
    if not recognition.enough:
        print(f"doubtful: {recognition.sentence}", file=sys.stderr)
    return Given(model, triggers, known, train, test, choice)


def print_repair(given: Given, saved: "Mitigation", asked: int | None) -> None:
    """Print the table on stdout, and on stderr what makes it doubtful.

    Args:
        given: the input of the repair.
        saved: its result.
        asked: the batch size that the options set; None for a defence without one.
    """
    from nc_tf.mitigation.saving import table
    from nc_tf.results import Unit
    from nc_tf.runtime.memory import allowed, words

    if given.choice.sentence:
        print(given.choice.sentence)
    print(table(saved))
    used = saved.settings.get("batch_size")
    if used != asked:
        print(f"{used} images an update instead of {asked}: more do not fit into {words(allowed())}, see --memory", file=sys.stderr)
    unit = Unit.of(given.train.images.shape[1:])
    for doubt in [*doubts(saved.before, len(given.triggers), unit), *what_is_left(saved.before, saved.after, unit)]:
        print(f"doubtful: {doubt}", file=sys.stderr)


def print_lines(lines: Sequence[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        print(line)


def doubts(before: "Measurement", num_triggers: int, unit: "Unit") -> list[str]:
    """Return reasons to doubt a table: little recognised, little moved by triggers.

    Args:
        before: measured on the given model.
        num_triggers: number of given triggers, which the measurement names first.
        unit: images or clips.
    """
    found, many = [], unit.many
    if before.clean_accuracy < LITTLE:
        found.append(f"the given model recognises {before.clean_accuracy:.0%} of the test {many}; check --intensity-range and the labels")
    for name, rate in list(before.attack_success_rate.items())[:num_triggers]:
        if rate < LITTLE:
            found.append(f"the {name} trigger moves {rate:.0%} of the test {many} in the given model; check that it was found in this one")
    return found


def what_is_left(before: "Measurement", after: "Measurement", unit: "Unit") -> list[str]:
    """Return the triggers that a repair has left in, in words."""
    rates = after.attack_success_rate
    left = [name for name, rate in before.attack_success_rate.items() if rate >= LITTLE and rates[name] > STILL]
    more = "repair with more of the images (--fraction), or for longer"
    return [f"the {name} trigger still moves {rates[name]:.0%} of the test {unit.many}; {more}" for name in left]


def found_triggers(arguments: argparse.Namespace, needed: bool) -> Sequence["FoundTrigger"]:
    """Return the flagged triggers of the scan folder or the files.

    Raises:
        InputError: both are given, or neither where one is needed, or the scan flags nothing.
    """
    from nc_tf.scan_folder.folder import ScanFolder
    from nc_tf.storage.trigger_file import load_found

    if bool(arguments.scan) and bool(arguments.trigger):
        raise InputError("--scan and --trigger: expected one of them; leave one out")
    if arguments.trigger:
        return [load_found(file) for file in arguments.trigger]
    if arguments.scan:
        triggers = ScanFolder(arguments.scan).flagged_triggers()
        if not triggers and needed:
            raise InputError(f"{arguments.scan} flags no label: expected a scan that suspects a backdoor; there is nothing to repair")
        return triggers
    if needed:
        raise InputError("no trigger: expected what a scan found; give --scan DIR, or --trigger FILE")
    return []


def _pair(data: "LabelledImages") -> tuple[Any, Any]:
    return data.images, data.labels
