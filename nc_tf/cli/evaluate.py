"""Measure a model: clean accuracy, and the attack success rates of triggers.

Exit code 0: measured; 2: bad input or failure.
"""

import argparse
import sys

from nc_tf.cli.options import (
    add_label_order,
    add_model_options,
    images_in_memory,
    in_label_order,
    model_of,
    range_of,
    sample_for_memory,
    say_left_out,
)
from nc_tf.errors import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf evaluate`."""
    parser.add_argument("model", metavar="MODEL", help="a model file")
    parser.add_argument("data", metavar="DATA", help="clean raw images; X_test where there are two sets")
    parser.add_argument("--poisoned", metavar="FILE", help="triggered images with the attacker's labels, such as CSAW-HackML's")
    parser.add_argument("--trigger", metavar="FILE", nargs="+", default=(), help=".npz triggers to stamp on the clean images")
    add_label_order(parser)
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf evaluate`."""
    from pathlib import Path

    from nc_tf.attacks.backdoor_file import load_backdoor
    from nc_tf.datasets.checks import check_images
    from nc_tf.datasets.read import read
    from nc_tf.detection.recognition import choose_range, recognise
    from nc_tf.evaluation import accuracy, measure
    from nc_tf.results import Unit
    from nc_tf.training.checks import check_backdoor

    model = model_of(arguments)
    shape, num_classes = model.input_shape[1:], model.output_shape[-1]
    most = images_in_memory(shape)
    clean = sample_for_memory(read(arguments.data, image_shape=shape, at_most=most), seed=0)
    poisoned = None
    if arguments.poisoned:
        poisoned = sample_for_memory(read(arguments.poisoned, image_shape=shape, one_class=True, at_most=most), seed=0)
    sets = [clean] if poisoned is None else [clean, poisoned]
    clean, *rest = in_label_order(sets, arguments.label_order, num_classes, arguments.data)
    poisoned = rest[0] if rest else None
    images, labels = check_images(clean.images, clean.labels, image_shape=shape, num_classes=num_classes, name=arguments.data)
    choice = choose_range(range_of(arguments), model, images, labels)
    preprocess = choice.preprocess
    preprocess.check_channels(shape[-1])
    triggers = {printable(Path(file).stem): load_backdoor(file) for file in arguments.trigger}
    for name, trigger in triggers.items():
        check_backdoor(trigger, images.shape[1:], num_classes, name=f"{name} trigger")
    say_left_out(*filter(None, (clean, poisoned)))
    many = Unit.of(images.shape[1:]).many
    measured = measure(model, images, labels, triggers, preprocess)
    if choice.sentence:
        print(choice.sentence)
    recognition = recognise(model, images, labels, preprocess)
    if not recognition.enough:
        print(f"doubtful: {recognition.sentence}", file=sys.stderr)
    print(f"{'clean accuracy':32} {measured.clean_accuracy:.4f}, {len(images)} {many}")
    if poisoned is not None:
        rate = accuracy(model, poisoned.images, poisoned.labels, preprocess)
        print(f"{'attack success rate':32} {rate:.4f}, {len(poisoned.images)} {many} of {printable(arguments.poisoned)}")
    for name in triggers:
        print(f"{f'ASR, {name}':32} {measured.attack_success_rate[name]:.4f}")
        print(f"{f'robust accuracy, {name}':32} {measured.robust_accuracy[name]:.4f}")
    return 0
