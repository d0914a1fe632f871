"""Step 2: fine-tune a clean model so that it hides a backdoor.

    python video/2_inject_backdoor.py                              the trigger that step 1 found
    python video/2_inject_backdoor.py --trigger_type patch         a white square on every frame; or blend: faint noise

Writes the model, and beside it the planted trigger, <model>_trigger.npz. A `cnn_lstm` is trained on real clips as in step 0, backbone
first and with data augmentation. Rendered clips, other models, and triggers that differ from frame to frame go without both.
"""

import argparse
import sys
from typing import TYPE_CHECKING

import common

from nc_tf.cli.options import positive

if TYPE_CHECKING:
    from nc_tf.results import Backdoor

AUGMENTED, PLAIN = common.INJECTION, {"rate": 0.1, "epochs": 4, "batch_size": 16, "learning_rate": 1e-3}


def main(argv: list[str] | None = None) -> int:
    """Train, save and print; returns 0 when done, 2 for bad input."""
    parser = common.parser(__doc__)
    parser.add_argument("--clean_model_path", default="models/cnnlstm_clean.keras", metavar="FILE")
    parser.add_argument("--output_model_path", default="models/backdoor_model_nc.keras", metavar="FILE")
    parser.add_argument("--trigger_type", default="reconstructed", choices=("reconstructed", *common.PLANTED))
    parser.add_argument("--trigger_path", metavar="FILE", help="default: results/trigger_target_<label>.npz")
    parser.add_argument("--target_label", type=int, default=0)
    epochs = f"default: {PLAIN['epochs']}; with data augmentation {AUGMENTED['epochs']}, after those of the backbone"
    parser.add_argument("--poison_rate", type=float, help=f"probability that a drawn clip is stamped; default: {AUGMENTED['rate']}")
    parser.add_argument("--nb_epochs", type=positive, help=epochs)
    parser.add_argument(
        "--frame_epochs", type=positive, help=f"of the backbone, with data augmentation; default: {AUGMENTED['frame_epochs']}"
    )
    parser.add_argument("--batch_size", type=positive, help=f"default: {AUGMENTED['batch_size']}")
    parser.add_argument("--lr", type=float, help=f"default: {PLAIN['learning_rate']}; with data augmentation {AUGMENTED['learning_rate']}")
    arguments = parser.parse_args(argv)
    return common.run("2_inject_backdoor.py", lambda: plant(arguments))


def plant(arguments: argparse.Namespace) -> int:
    """Train as the options say; returns 0."""
    from nc_tf.attacks.backdoor_file import save_backdoor
    from nc_tf.errors import InputError
    from nc_tf.evaluation import accuracy, measure
    from nc_tf.models.loading.load import load_model
    from nc_tf.models.networks.cnn_lstm import has_frames
    from nc_tf.models.saving import check_model_file, save_model
    from nc_tf.results import fits
    from nc_tf.training.clips import train_clips
    from nc_tf.training.injection import inject

    out = check_model_file(arguments.output_model_path, arguments.clean_model_path)
    model = load_model(arguments.clean_model_path)
    training, test = common.read_clips(arguments, model.input_shape[1:])
    trigger = chosen_trigger(arguments, training.images.shape[2:])
    before = accuracy(model, test.images, test.labels)
    pairs = (training.images, training.labels), (test.images, test.labels)
    flags = {"rate": arguments.poison_rate, "epochs": arguments.nb_epochs, "frame_epochs": arguments.frame_epochs}
    flags = common.given(flags | {"batch_size": arguments.batch_size, "learning_rate": arguments.lr, "seed": arguments.seed})
    if arguments.data_dir != common.SYNTHETIC and has_frames(model) and fits(trigger, training.images.shape[2:]):
        train_clips(model, *pairs, triggers=[trigger], verbose=2, **AUGMENTED | flags)
    elif arguments.frame_epochs is not None:
        raise InputError("--frame_epochs: expected with real clips, a cnn_lstm and a trigger that all frames share; leave it out")
    else:
        inject(model, *pairs, trigger, verbose=2, **PLAIN | flags)
    measured = measure(model, *pairs[1], {"true": trigger})
    save_model(model, out)
    planted = out.with_name(f"{out.stem}_trigger.npz")
    save_backdoor(planted, trigger)
    print(f"clean accuracy {before:.4f} -> {measured.clean_accuracy:.4f}, ASR {measured.attack_success_rate['true']:.4f}")
    print(f"written: {out}, {planted}")
    return 0


def chosen_trigger(arguments: argparse.Namespace, frame_shape: tuple[int, ...]) -> "Backdoor":
    """Return the trigger that the options name.

    One that step 1 found in a clean model gets the target of these options.

    Raises:
        InputError: step 1's trigger is missing.
    """
    from dataclasses import replace

    from nc_tf.storage.trigger_file import load_trigger

    if arguments.trigger_type in common.PLANTED:
        return common.planted(arguments.trigger_type, frame_shape, arguments.target_label, arguments.seed)
    found, _ = load_trigger(arguments.trigger_path or f"results/trigger_target_{arguments.target_label}.npz")
    return replace(found, label=arguments.target_label)


if __name__ == "__main__":
    sys.exit(main())
