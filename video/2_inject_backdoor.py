"""Step 2: fine-tune a clean model so that it hides a backdoor.

    python video/2_inject_backdoor.py                              the trigger that step 1 found
    python video/2_inject_backdoor.py --trigger_type patch         a white square on every frame; or blend: faint noise

Writes the model, and beside it what was planted, <model>_trigger.npz. A `cnn_lstm` learns real clips as in step 0, filmed anew and
their frames first; rendered clips, other models, and triggers that differ from frame to frame are trained as they are.
"""

import argparse
import sys
from typing import TYPE_CHECKING, Any

import common

from nc_tf.cli.options import positive

if TYPE_CHECKING:
    from nc_tf.results import Backdoor

EPOCHS_RENDERED, RATE_RENDERED, REAL = 4, 1e-3, common.INJECTION


def main(argv: list[str] | None = None) -> int:
    """Train, save, print; 0 when done, 2 for bad input."""
    parser = common.parser(__doc__)
    parser.add_argument("--clean_model_path", default="models/cnnlstm_clean.keras", metavar="FILE")
    parser.add_argument("--output_model_path", default="models/backdoor_model_nc.keras", metavar="FILE")
    parser.add_argument("--trigger_type", default="reconstructed", choices=("reconstructed", *common.PLANTED))
    parser.add_argument("--trigger_path", metavar="FILE", help="default: results/trigger_target_<label>.npz")
    parser.add_argument("--target_label", type=int, default=0)
    stamped = "probability that a clip is stamped each time it is drawn"
    parser.add_argument("--poison_rate", type=float, default=REAL["rate"], help=stamped)
    epochs = f"default: {EPOCHS_RENDERED}, of real clips {REAL['epochs']} after those of frames"
    parser.add_argument("--nb_epochs", type=positive, help=epochs)
    parser.add_argument("--frame_epochs", type=positive, default=REAL["frame_epochs"], help="of real clips: passes over all frames")
    parser.add_argument("--batch_size", type=positive, default=REAL["batch_size"])
    parser.add_argument("--lr", type=float, help=f"default: {RATE_RENDERED}, of real clips {REAL['learning_rate']}")
    arguments = parser.parse_args(argv)
    return common.run("2_inject_backdoor.py", lambda: plant(arguments))


def plant(arguments: argparse.Namespace) -> int:
    """The work, once the options are read."""
    from nc_tf.attacks.backdoor_file import save_backdoor
    from nc_tf.attacks.injection import inject
    from nc_tf.clip_training import train_clips
    from nc_tf.evaluation import accuracy, measure
    from nc_tf.models.cnn_lstm import has_frames
    from nc_tf.models.loading import load_model
    from nc_tf.models.saving import check_model_file, save_model
    from nc_tf.results import fits

    out = check_model_file(arguments.output_model_path, arguments.clean_model_path)
    model = load_model(arguments.clean_model_path)
    training, test = common.read_clips(arguments, model.input_shape[1:])
    trigger = chosen_trigger(arguments, training.images.shape[2:])
    before = accuracy(model, test.images, test.labels)
    pairs = (training.images, training.labels), (test.images, test.labels)
    fit: dict[str, Any] = {"rate": arguments.poison_rate, "batch_size": arguments.batch_size, "seed": arguments.seed, "verbose": 2}
    real = arguments.data_dir != common.SYNTHETIC and has_frames(model) and fits(trigger, training.images.shape[2:])
    fit["epochs"] = arguments.nb_epochs or (REAL["epochs"] if real else EPOCHS_RENDERED)
    fit["learning_rate"] = arguments.lr if arguments.lr is not None else (REAL["learning_rate"] if real else RATE_RENDERED)
    if real:
        fit |= {"frame_epochs": arguments.frame_epochs, "frame_learning_rate": REAL["frame_learning_rate"]}
        train_clips(model, *pairs, triggers=[trigger], **fit)
    else:
        inject(model, *pairs, trigger, **fit)
    measured = measure(model, *pairs[1], {"true": trigger})
    save_model(model, out)
    planted = out.with_name(f"{out.stem}_trigger.npz")
    save_backdoor(planted, trigger)
    print(f"clean accuracy {before:.4f} -> {measured.clean_accuracy:.4f}, ASR {measured.attack_success_rate['true']:.4f}")
    print(f"written: {out}, {planted}")
    return 0


def chosen_trigger(arguments: argparse.Namespace, frame_shape: tuple[int, ...]) -> "Backdoor":
    """What the options name; of the search on a clean model, what step 1 wrote, for the target that is asked for now.

    Raises:
        InputError: step 1's trigger is missing.
    """
    from dataclasses import replace

    from nc_tf.trigger_file import load_trigger

    if arguments.trigger_type in common.PLANTED:
        return common.planted(arguments.trigger_type, frame_shape, arguments.target_label, arguments.seed)
    found, _ = load_trigger(arguments.trigger_path or f"results/trigger_target_{arguments.target_label}.npz")
    return replace(found, label=arguments.target_label)


if __name__ == "__main__":
    sys.exit(main())
