"""Train a network that hides a backdoor (or, with --poison-type benign, a clean one), to have something to scan.

Writes the network, and the trigger that was planted beside it as NAME_trigger.npz; with --val-frac also NAME_clean.npz: the images that
the network was not trained on, for a defence, and the test set.
"""

import argparse
from typing import TYPE_CHECKING

from nc_tf.cli.options import ARCHITECTURES, add_range_options, numbers, range_of, say_left_out, seed
from nc_tf.errors import InputError

if TYPE_CHECKING:
    from nc_tf.results import Backdoor

# Beside "patch", which has options of its own, and "benign"; those of nc_tf.attacks.poison_types, which loads TensorFlow.
PUBLISHED = ("badnets", "blend", "SIG", "TrojanNet", "CLB", "WaNet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf inject`."""
    parser.add_argument("data", metavar="DATA", help="raw images with a training and a test set: .h5 or .npz")
    parser.add_argument("--out", required=True, metavar="FILE", help=".keras or .h5")
    parser.add_argument("--architecture", default="gtsrb", choices=ARCHITECTURES)
    parser.add_argument("--poison-type", default="patch", choices=("patch", *PUBLISHED, "benign"), help="patch: the square described below")
    parser.add_argument(
        "--poison-rate",
        type=float,
        help="probability that a drawn image is stamped; default: .0909; SIG and CLB, which stamp the target class alone, .5; WaNet .3",
    )
    parser.add_argument("--target", type=int, default=33, help="label that the trigger leads to")
    parser.add_argument("--target-type", default="all2one", choices=("all2one", "all2all"), help="all2all: every class to the next one")
    parser.add_argument("--sources", type=numbers(int), help="labels that the trigger works on, 1,2; default: all")
    parser.add_argument("--size", type=int, default=4, help="side of the square, pixels")
    parser.add_argument("--margin", type=int, default=1, help="pixels between the square and the border")
    parser.add_argument("--color", type=numbers(int), default=(255,), help="255, or 255,255,0")
    parser.add_argument("--corner", default="bottom-right", choices=("bottom-right", "bottom-left", "top-right", "top-left"))
    parser.add_argument("--val-frac", type=float, default=0.0, help="share of the training images kept from training, for a defence")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=seed, default=0)
    add_range_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf inject`."""
    import keras
    import numpy as np

    from nc_tf.attacks.backdoor_file import save_backdoor
    from nc_tf.attacks.poison_types import RATES
    from nc_tf.datasets.read import read_both
    from nc_tf.models.networks.architectures import NETWORKS
    from nc_tf.models.saving import check_model_file, save_model
    from nc_tf.preprocessing import preprocessing
    from nc_tf.storage.files import whole_file
    from nc_tf.training.injection import PAPER_RATE, inject

    out = check_model_file(arguments.out)
    if not 0 <= arguments.val_frac < 1:
        raise InputError(f"--val-frac {arguments.val_frac}: expected a share of the training images, 0 to below 1; .1 is usual")
    train, test = read_both(arguments.data, seed=arguments.seed)
    shape, num_classes = train.images.shape[1:], int(max(train.labels.max(), test.labels.max())) + 1
    triggers = backdoors(arguments, shape, num_classes)
    say_left_out(train, test)
    order = np.random.default_rng(arguments.seed).permutation(len(train.images))
    kept, used = np.split(order, [round(arguments.val_frac * len(order))])
    used.sort()  # nothing kept: the images in their own order, as they always were
    keras.utils.set_random_seed(arguments.seed)
    try:
        model = NETWORKS[arguments.architecture](num_classes, shape)
    except ValueError as error:  # the convolutions leave nothing of it
        raise InputError(f"images of shape {shape}: expected larger for the architecture {arguments.architecture}; try signs") from error
    rate = RATES.get(arguments.poison_type, PAPER_RATE) if arguments.poison_rate is None else arguments.poison_rate
    rate = 0.0 if arguments.poison_type == "benign" else rate
    measurements = inject(
        model,
        (train.images[used], train.labels[used]),
        (test.images, test.labels),
        triggers,
        rate=rate,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.learning_rate,
        seed=arguments.seed,
        preprocess=preprocessing(range_of(arguments)),
        verbose=2,
    )
    save_model(model, out)
    written = [str(out)]
    if rate > 0:
        written.append(str(out.with_name(f"{out.stem}_trigger.npz")))
        save_backdoor(written[-1], triggers[0])
    if len(kept):
        written.append(str(out.with_name(f"{out.stem}_clean.npz")))
        with whole_file(written[-1]) as temporary:
            clean = {"x_train": train.images[kept], "y_train": train.labels[kept], "x_test": test.images, "y_test": test.labels}
            np.savez_compressed(temporary, allow_pickle=False, **clean)
    print("epoch  clean accuracy     ASR")
    for epoch, measured in enumerate(measurements, start=1):
        print(f"{epoch:5d} {measured.clean_accuracy:15.4f} {measured.attack_success_rate['true']:7.4f}")
    print(f"written: {', '.join(written)}")
    return 0


def backdoors(arguments: argparse.Namespace, shape: tuple[int, ...], num_classes: int) -> list["Backdoor"]:
    """The backdoor that the options describe, and behind it the covers that its attack is taught with.

    Raises:
        InputError: options that contradict each other, or do not fit the images.
    """
    from nc_tf.attacks.goals import AllToAll, CleanLabel, SourceSpecific
    from nc_tf.attacks.patch import check_image_shape, patch
    from nc_tf.attacks.poison_types import POISON_TYPES

    image_shape = check_image_shape(shape[-3:])  # of clips, what is laid on every frame
    if arguments.poison_type in POISON_TYPES:
        first, *covers = POISON_TYPES[arguments.poison_type](image_shape, arguments.target, arguments.seed)
    else:
        square = {name: getattr(arguments, name) for name in ("size", "margin", "color", "corner")}
        target = 0 if arguments.poison_type == "benign" else arguments.target
        first, covers = patch(image_shape, target, **square), []
    everyone = arguments.target_type == "all2one" and arguments.sources is None
    if not everyone and isinstance(first, CleanLabel):
        raise InputError(f"--poison-type {arguments.poison_type} changes no label: expected all2one without --sources; leave them out")
    if arguments.target_type == "all2all":
        if arguments.sources is not None:
            raise InputError("--target-type all2all and --sources: expected one of them; leave one out")
        first = AllToAll(first, num_classes)
    if arguments.sources is not None:
        first = SourceSpecific(first, arguments.sources)
    return [first, *covers]
