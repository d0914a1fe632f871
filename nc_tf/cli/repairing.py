"""What the commands that repair a model share: unlearn, prune, filter, nft."""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

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
from nc_tf.errors import InputError, printable

if TYPE_CHECKING:
    from nc_tf.datasets.read import LabelledImages
    from nc_tf.results import Measurement, Mitigation, Trigger, Unit

LITTLE = 0.5
STILL = 0.2  # of the images that a trigger may move after a repair


def add_common_arguments(parser: argparse.ArgumentParser, *, fraction: float) -> None:
    """Model, data, what to repair it with, and where it goes; `fraction` is the method's own default."""
    parser.add_argument("model", metavar="MODEL", help="the infected model")
    parser.add_argument("data", metavar="DATA", help="clean raw images; measured on X_test, or on a fifth where there is one set only")
    parser.add_argument("--scan", metavar="DIR", help="the scan folder with the flagged triggers")
    parser.add_argument("--trigger", metavar="FILE", nargs="+", default=(), help="instead: reversed triggers as .npz files")
    parser.add_argument("--out", required=True, metavar="FILE", help=".keras or .h5")
    parser.add_argument("--true-trigger", metavar="FILE", help="an .npz trigger to measure as well, such as nc-tf inject writes")
    parser.add_argument("--fraction", type=float, default=fraction, help="share of the training images used")
    parser.add_argument("--seed", type=seed, default=0)
    add_label_order(parser)
    add_model_options(parser)


def repair(
    arguments: argparse.Namespace, method: Callable[..., "Mitigation"], *, needs_triggers: bool = True, **settings: Any
) -> "Mitigation":
    """Call a defence as the options say, save the model, and print the table measured on the file as it was read back."""
    from nc_tf.attacks.backdoor_file import load_backdoor
    from nc_tf.datasets.checks import check_images
    from nc_tf.datasets.read import read_both
    from nc_tf.detection.recognition import choose_range, recognise
    from nc_tf.mitigation.saving import save_mitigation, table
    from nc_tf.models.adapting import what_was_adapted
    from nc_tf.models.saving import check_model_file
    from nc_tf.results import Unit
    from nc_tf.runtime.memory import allowed, words
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
    if recognition.near_chance:  # it would be taught something else than it was made for
        raise InputError(recognition.sentence)
    if not recognition.enough:
        print(f"doubtful: {recognition.sentence}", file=sys.stderr)
    mitigation = method(
        model,
        train.images,
        train.labels,
        triggers,
        test=_pair(test),
        known_triggers=known,
        fraction=arguments.fraction,
        intensity_range=choice,
        seed=arguments.seed,
        **settings,
    )
    saved = save_mitigation(mitigation, arguments.out, _pair(test), choice.preprocess, trust_model=arguments.trust_model)
    if choice.sentence:
        print(choice.sentence)
    print(table(saved))
    asked, used = settings.get("batch_size"), saved.settings.get("batch_size")
    if used != asked:
        print(f"{used} images an update instead of {asked}: more do not fit into {words(allowed())}, see --memory", file=sys.stderr)
    unit = Unit.of(train.images.shape[1:])
    for doubt in [*doubts(saved.before, len(triggers), unit), *what_is_left(saved.before, saved.after, unit)]:
        print(f"doubtful: {doubt}", file=sys.stderr)
    print(f"written: {printable(arguments.out)}, and mitigation.json beside it")
    return saved


def doubts(before: "Measurement", num_triggers: int, unit: "Unit") -> list[str]:
    """What makes a table worthless though nothing failed: a model that recognises little, given triggers that move little."""
    found, many = [], unit.many
    if before.clean_accuracy < LITTLE:
        found.append(f"the given model recognises {before.clean_accuracy:.0%} of the test {many}; check --intensity-range and the labels")
    for name, rate in list(before.attack_success_rate.items())[:num_triggers]:
        if rate < LITTLE:
            found.append(f"the {name} trigger moves {rate:.0%} of the test {many} in the given model; check that it was found in this one")
    return found


def what_is_left(before: "Measurement", after: "Measurement", unit: "Unit") -> list[str]:
    """What a repair has not taken out: triggers that worked before and still move many."""
    rates = after.attack_success_rate
    left = [name for name, rate in before.attack_success_rate.items() if rate >= LITTLE and rates[name] > STILL]
    more = "repair with more of the images (--fraction), or for longer"
    return [f"the {name} trigger still moves {rates[name]:.0%} of the test {unit.many}; {more}" for name in left]


def found_triggers(arguments: argparse.Namespace, needed: bool) -> Sequence["Trigger"]:
    """What the options name: the flagged triggers of a scan folder, or trigger files.

    Raises:
        InputError: both, or neither where one is needed, or a scan that flags nothing.
    """
    from nc_tf.scan_folder.folder import ScanFolder
    from nc_tf.storage.trigger_file import load_trigger

    if bool(arguments.scan) and bool(arguments.trigger):
        raise InputError("--scan and --trigger: expected one of them; leave one out")
    if arguments.trigger:
        return [load_trigger(file)[0] for file in arguments.trigger]
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
