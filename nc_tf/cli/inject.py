"""Train a network that hides a backdoor (or, with --rate 0, a clean one), to have something to scan.

Writes the network, and the trigger that was planted beside it as NAME_trigger.npz.
"""

import argparse
from pathlib import Path

from nc_tf.cli.options import add_range_options, numbers, preprocessing_of, seed
from nc_tf.errors import InputError

ARCHITECTURES = ("gtsrb", "signs")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf inject`."""
    parser.add_argument("data", metavar="DATA", help="raw images with a training and a test set: .h5 or .npz")
    parser.add_argument("--out", required=True, metavar="FILE", help=".keras or .h5")
    parser.add_argument("--architecture", default="gtsrb", choices=ARCHITECTURES)
    parser.add_argument("--target", type=int, default=33, help="label that the trigger leads to")
    parser.add_argument("--size", type=int, default=4, help="side of the square, pixels")
    parser.add_argument("--margin", type=int, default=1, help="pixels between the square and the border")
    parser.add_argument("--color", type=numbers(int), default=(255,), help="255, or 255,255,0")
    parser.add_argument("--corner", default="bottom-right", choices=("bottom-right", "bottom-left", "top-right", "top-left"))
    parser.add_argument("--rate", type=float, default=0.0909, help="probability that a drawn image is stamped")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=seed, default=0)
    add_range_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf inject`."""
    import keras

    from nc_tf.attacks.injection import inject
    from nc_tf.attacks.patch import patch
    from nc_tf.datasets.files import read_both
    from nc_tf.models.architectures import gtsrb_network, signs_network
    from nc_tf.models.saving import check_model_file, save_model
    from nc_tf.trigger_file import save_trigger

    out = check_model_file(arguments.out)
    train, test = read_both(arguments.data, seed=arguments.seed)
    shape, num_classes = train.images.shape[1:], int(max(train.labels.max(), test.labels.max())) + 1
    trigger = patch(shape, arguments.target, size=arguments.size, margin=arguments.margin, color=arguments.color, corner=arguments.corner)
    keras.utils.set_random_seed(arguments.seed)
    try:
        model = {"gtsrb": gtsrb_network, "signs": signs_network}[arguments.architecture](num_classes, shape)
    except ValueError as error:  # the convolutions leave nothing of it
        raise InputError(f"images of shape {shape}: expected larger for the architecture {arguments.architecture}; try signs") from error
    measurements = inject(
        model,
        (train.images, train.labels),
        (test.images, test.labels),
        trigger,
        rate=arguments.rate,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        preprocess=preprocessing_of(arguments),
        verbose=2,
    )
    save_model(model, out)
    trigger_file = Path(out).with_name(f"{Path(out).stem}_trigger.npz")
    if arguments.rate > 0:
        save_trigger(trigger_file, trigger)
    print("epoch  clean accuracy     ASR")
    for epoch, measured in enumerate(measurements, start=1):
        print(f"{epoch:5d} {measured.clean_accuracy:15.4f} {measured.attack_success_rate['true']:7.4f}")
    print(f"written: {out}" + (f", {trigger_file}" if arguments.rate > 0 else ""))
    return 0
