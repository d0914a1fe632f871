"""Train a network with a backdoor (or, with --poison-type benign, a clean one), to have something to scan.

Writes the network, and the planted trigger beside it as NAME_trigger.npz; with --val-frac also NAME_clean.npz: the images that the network
was not trained on, for a defence, and the test set.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nc_tf.attacks.poison_types import POISON_TYPES
from nc_tf.cli.options import ARCHITECTURES, add_range_options, numbers, range_of, say_left_out, seed
from nc_tf.errors import InputError

if TYPE_CHECKING:
    import keras
    import numpy as np

    from nc_tf.datasets.read import LabelledImages
    from nc_tf.results import Backdoor, Measurement


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf inject`."""
    rates = ", ".join(f"{name} {attack.rate:g}" for name, attack in POISON_TYPES.items() if attack.rate is not None)
    parser.add_argument("data", metavar="DATA", help="raw images with a training and a test set: .h5 or .npz")
    parser.add_argument("--out", required=True, metavar="FILE", help=".keras or .h5")
    parser.add_argument("--architecture", default="gtsrb", choices=ARCHITECTURES)
    types = ("patch", *POISON_TYPES, "benign")
    parser.add_argument("--poison-type", default="patch", choices=types, help="patch: the square of the options below")
    parser.add_argument("--poison-rate", type=float, help=f"probability that a drawn image is stamped (default: .0909; {rates})")
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
    import numpy as np

    from nc_tf.datasets.read import read_both
    from nc_tf.models.saving import check_model_file, save_model
    from nc_tf.preprocessing import preprocessing
    from nc_tf.training.injection import inject

    out = check_model_file(arguments.out)
    if not 0 <= arguments.val_frac < 1:
        raise InputError(f"--val-frac {arguments.val_frac}: expected a share of the training images, 0 to below 1; .1 is usual")
    train, test = read_both(arguments.data, seed=arguments.seed)
    shape, num_classes = train.images.shape[1:], int(max(train.labels.max(), test.labels.max())) + 1
    triggers = backdoors(arguments, shape, num_classes)
    say_left_out(train, test)
    order = np.random.default_rng(arguments.seed).permutation(len(train.images))
    kept, used = np.split(order, [round(arguments.val_frac * len(order))])
    used.sort()  # with nothing kept the images are in their own order
    model, rate = new_network(arguments, num_classes, shape), poison_rate(arguments)
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
    written = [str(out), *write_beside(out, triggers[0] if rate > 0 else None, kept, train, test)]
    print_epochs(measurements)
    print(f"written: {', '.join(written)}")
    return 0


def new_network(arguments: argparse.Namespace, num_classes: int, shape: tuple[int, ...]) -> "keras.Model":
    """Return an untrained network; the seed draws its weights.

    Raises:
        InputError: the images are too small for it.
    """
    import keras

    from nc_tf.models.networks.architectures import NETWORKS

    keras.utils.set_random_seed(arguments.seed)
    try:
        return NETWORKS[arguments.architecture](num_classes, shape)
    except ValueError as error:  # the convolutions leave no pixel
        raise InputError(f"images of shape {shape}: expected larger for the architecture {arguments.architecture}; try signs") from error


def poison_rate(arguments: argparse.Namespace) -> float:
    """Return the probability that a drawn image is stamped."""
    from nc_tf.training.injection import PAPER_RATE

    if arguments.poison_type == "benign":
        return 0.0
    if arguments.poison_rate is not None:
        return float(arguments.poison_rate)
    attack = POISON_TYPES.get(arguments.poison_type)
    return PAPER_RATE if attack is None or attack.rate is None else attack.rate


def write_beside(out: Path, planted: "Backdoor | None", kept: "np.ndarray", train: "LabelledImages", test: "LabelledImages") -> list[str]:
    """Write the trigger and the images kept; returns the paths.

    Args:
        out: the model file.
        planted: the backdoor; None for a clean network.
        kept: rows of the training images.
        train: the training images.
        test: the test images.
    """
    import numpy as np

    from nc_tf.attacks.backdoor_file import save_backdoor
    from nc_tf.storage.files import whole_file

    written = []
    if planted is not None:
        written.append(str(out.with_name(f"{out.stem}_trigger.npz")))
        save_backdoor(written[-1], planted)
    if len(kept):
        written.append(str(out.with_name(f"{out.stem}_clean.npz")))
        with whole_file(written[-1]) as temporary:
            clean = {"x_train": train.images[kept], "y_train": train.labels[kept], "x_test": test.images, "y_test": test.labels}
            np.savez_compressed(temporary, allow_pickle=False, **clean)
    return written


def print_epochs(measurements: "list[Measurement]") -> None:
    """Print a line an epoch."""
    print("epoch  clean accuracy     ASR")
    for epoch, measured in enumerate(measurements, start=1):
        print(f"{epoch:5d} {measured.clean_accuracy:15.4f} {measured.attack_success_rate['true']:7.4f}")


def backdoors(arguments: argparse.Namespace, shape: tuple[int, ...], num_classes: int) -> list["Backdoor"]:
    """Return the backdoor of the options, and behind it its covers.

    Raises:
        InputError: options that contradict each other, or do not fit the images.
    """
    from nc_tf.attacks.goals import AllToAll, CleanLabel, SourceSpecific
    from nc_tf.attacks.patch import check_image_shape, patch

    image_shape = check_image_shape(shape[-3:])  # of clips that of a frame
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
