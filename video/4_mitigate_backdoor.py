"""Step 4: detect a backdoor, and repair the model with a handful of clean clips.

    python video/4_mitigate_backdoor.py --backdoor_model_path models/backdoor_model_nc.keras
    python video/4_mitigate_backdoor.py --backdoor_model_path suspicious.keras --skip_detection --trigger_path found.npz

Unlearning teaches clips with the found trigger their true classes; fine-tuning on the same clips without it is the control. For both, a
`cnn_lstm` is trained on real clips with data augmentation, its backbone frozen. Rendered clips and other models go without both. Where the
true trigger is known (--true_trigger_path), it is measured too. Exit code 0: done, or nothing to do; 2: bad input or failure.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import common

from nc_tf.cli.options import positive

METHODS = ("unlearning", "fine-tuning", "nft")
AUGMENTED, PLAIN = common.MITIGATION, common.MITIGATION | {"epochs": 12, "learning_rate": 1e-3, "frozen_layers": ()}


def main(argv: list[str] | None = None) -> int:
    """Detect, repair, save and print; returns the exit code."""
    parser = common.parser(__doc__)
    parser.add_argument("--backdoor_model_path", required=True, metavar="FILE")
    parser.add_argument("--output_dir", default="results_mitigation", metavar="DIR")
    parser.add_argument("--skip_detection", action="store_true", help="unlearn --trigger_path")
    parser.add_argument("--trigger_path", metavar="FILE", help="with --skip_detection: the trigger to unlearn")
    parser.add_argument("--target_label", type=int, help="with --skip_detection: where it leads; default: the one in its file")
    parser.add_argument("--true_trigger_path", metavar="FILE", help="the planted trigger, to measure with; step 2 wrote it")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS[:2], metavar="NAME", help=f"some of {', '.join(METHODS)}")
    epochs = f"not of nft; default: {PLAIN['epochs']}, with data augmentation {AUGMENTED['epochs']}"
    rate = f"not of nft; default: {PLAIN['learning_rate']}, with data augmentation {AUGMENTED['learning_rate']}"
    freeze = f"frozen layers, not of nft; default: none, with data augmentation {' '.join(AUGMENTED['frozen_layers'])}"
    parser.add_argument("--val_ratio", type=float, default=AUGMENTED["fraction"], help="share of the training clips used")
    parser.add_argument(
        "--stamped_ratio", type=float, default=AUGMENTED["ratio"], help="unlearning: probability that a drawn clip is stamped"
    )
    parser.add_argument("--nb_epochs_mitigate", type=positive, help=epochs)
    parser.add_argument("--lr_mitigate", type=float, help=rate)
    parser.add_argument("--batch_size", type=positive, default=AUGMENTED["batch_size"], help="of the methods")
    parser.add_argument("--freeze", nargs="*", metavar="LAYER", help=freeze)
    common.add_search_options(parser, suffix="_reconstruct")
    arguments = parser.parse_args(argv)
    return common.run("4_mitigate_backdoor.py", lambda: mitigate(arguments))


def mitigate(arguments: argparse.Namespace) -> int:
    """Repair as the options say; returns 0."""
    from dataclasses import replace

    from nc_tf.attacks.backdoor_file import load_backdoor
    from nc_tf.errors import InputError
    from nc_tf.mitigation.nft import nft
    from nc_tf.mitigation.repair import named_triggers
    from nc_tf.mitigation.saving import save_mitigation, table
    from nc_tf.mitigation.unlearning import unlearn
    from nc_tf.models.loading.load import load_model
    from nc_tf.models.networks.cnn_lstm import has_frames
    from nc_tf.models.saving import check_model_file
    from nc_tf.preprocessing import Preprocessing
    from nc_tf.results import Trigger
    from nc_tf.storage.trigger_file import load_trigger

    if arguments.skip_detection and not arguments.trigger_path:
        raise InputError("--skip_detection: expected a trigger to unlearn; give --trigger_path FILE")
    if arguments.trigger_path and not arguments.skip_detection:
        raise InputError("--trigger_path: expected with --skip_detection; without it the found triggers are unlearned")
    if arguments.target_label is not None and not arguments.skip_detection:
        raise InputError("--target_label: expected with --skip_detection; a detection finds the label itself")
    outs = {name: Path(arguments.output_dir) / name / "cleansed_model.keras" for name in arguments.methods}
    for out in outs.values():
        check_model_file(out, arguments.backdoor_model_path)
    known = {"true": load_backdoor(arguments.true_trigger_path)} if arguments.true_trigger_path else {}
    model = load_model(arguments.backdoor_model_path)
    train, test = common.read_clips(arguments, model.input_shape[1:])
    if arguments.skip_detection:
        given, _ = load_trigger(arguments.trigger_path)
        triggers = [given if arguments.target_label is None else replace(given, label=arguments.target_label)]
    else:
        result = common.detected(arguments, model, test, arguments.output_dir)
        print(f"{result.verdict}: {result.reason}")
        triggers = [trigger for trigger in result.triggers if isinstance(trigger, Trigger)]  # clips have no others
        if not triggers:
            print("no label is flagged: nothing to repair")
            return 0
        print(f"flagged: {', '.join(str(trigger.label) for trigger in triggers)}, most anomalous first")
    clean, test_pair = (train.images, train.labels), (test.images, test.labels)
    of_all: dict[str, Any] = {"fraction": arguments.val_ratio, "batch_size": arguments.batch_size}
    flags = {"epochs": arguments.nb_epochs_mitigate, "learning_rate": arguments.lr_mitigate, "frozen_layers": arguments.freeze}
    augmented = arguments.data_dir != common.SYNTHETIC and has_frames(model)
    fit = (AUGMENTED if augmented else PLAIN) | of_all | {"ratio": arguments.stamped_ratio} | common.given(flags)
    alike: dict[str, Any] = {"test": test_pair, "seed": arguments.seed, "verbose": 0}
    for name in arguments.methods:
        clips, labels = common.filmed(clean, fit, arguments.seed) if augmented else clean
        if name == "nft":
            done = nft(model, train.images, train.labels, triggers, known_triggers=known, **of_all, **alike)
        elif name == "unlearning":
            done = unlearn(model, clips, labels, triggers, known_triggers=known, **fit, **alike)
        else:  # the control is measured with the found trigger, and is not taught it
            done = unlearn(model, clips, labels, (), known_triggers=named_triggers(triggers) | known, **fit, **alike)
        saved = save_mitigation(done, outs[name], test_pair, Preprocessing())
        print(f"{name}, measured on the saved file {outs[name]}:\n{table(saved)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
