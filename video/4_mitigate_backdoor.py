"""Step 4: detect, then take out what was found, with a handful of clean clips.

    python video/4_mitigate_backdoor.py --backdoor_model_path models/backdoor_model_nc.keras
    python video/4_mitigate_backdoor.py --backdoor_model_path suspicious.keras --skip_detection --trigger_path found.npz

Unlearning teaches the found trigger's clips their true classes; fine-tuning on the same clips without it is the control. Where the true
trigger is known (--true_trigger_path), it is measured too. Exit code 0: done, or nothing to do; 2: bad input or failure.
"""

import argparse
import sys
from pathlib import Path

import common

from nc_tf.cli.options import positive

METHODS, USUAL = ("unlearning", "fine-tuning", "nft"), common.MITIGATION


def main(argv: list[str] | None = None) -> int:
    """Detect, repair, save, print."""
    parser = common.parser(__doc__)
    parser.add_argument("--backdoor_model_path", required=True, metavar="FILE")
    parser.add_argument("--output_dir", default="results_mitigation", metavar="DIR")
    parser.add_argument("--skip_detection", action="store_true", help="unlearn --trigger_path")
    parser.add_argument("--trigger_path", metavar="FILE", help="with --skip_detection: what to unlearn")
    parser.add_argument("--target_label", type=int, help="with --skip_detection: where it leads; default: what its file says")
    parser.add_argument("--true_trigger_path", metavar="FILE", help="the planted trigger, to measure with; step 2 wrote it")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS[:2], metavar="NAME", help=f"some of {', '.join(METHODS)}")
    parser.add_argument("--val_ratio", type=float, default=USUAL["fraction"], help="share of the training clips used")
    parser.add_argument("--stamped_ratio", type=float, default=USUAL["ratio"], help="unlearning: share of those that is stamped each time")
    parser.add_argument("--nb_epochs_mitigate", type=positive, default=USUAL["epochs"], help="not of nft")
    parser.add_argument("--lr_mitigate", type=float, default=USUAL["learning_rate"], help="not of nft")
    parser.add_argument("--batch_size", type=positive, default=USUAL["batch_size"], help="of the methods")
    parser.add_argument("--freeze", nargs="+", default=(), metavar="LAYER", help="layers that stay as they are; not of nft")
    common.add_search_options(parser, suffix="_reconstruct")
    arguments = parser.parse_args(argv)
    return common.run("4_mitigate_backdoor.py", lambda: mitigate(arguments))


def mitigate(arguments: argparse.Namespace) -> int:
    """The work, once the options are read."""
    from dataclasses import replace

    from nc_tf.attacks.backdoor_file import load_backdoor
    from nc_tf.errors import InputError
    from nc_tf.mitigation.nft import nft
    from nc_tf.mitigation.repair import named_triggers
    from nc_tf.mitigation.saving import save_mitigation, table
    from nc_tf.mitigation.unlearning import unlearn
    from nc_tf.models.loading import load_model
    from nc_tf.models.saving import check_model_file
    from nc_tf.preprocessing import Preprocessing
    from nc_tf.trigger_file import load_trigger

    if arguments.skip_detection and not arguments.trigger_path:
        raise InputError("--skip_detection: expected what to unlearn; give --trigger_path FILE")
    if arguments.trigger_path and not arguments.skip_detection:
        raise InputError("--trigger_path: expected with --skip_detection; what a detection finds is unlearned otherwise")
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
        triggers = list(result.triggers)
        if not triggers:
            print("no label is flagged: nothing to take out")
            return 0
        print(f"flagged: {', '.join(str(trigger.label) for trigger in triggers)}, most anomalous first")
    pair = test.images, test.labels
    fit = {"epochs": arguments.nb_epochs_mitigate, "batch_size": arguments.batch_size, "learning_rate": arguments.lr_mitigate}
    fit |= {"ratio": arguments.stamped_ratio, "frozen_layers": arguments.freeze}
    for name in arguments.methods:
        method, settings = (nft, {"batch_size": arguments.batch_size}) if name == "nft" else (unlearn, fit)
        # The control is measured with the found trigger, and is not taught it.
        taught, beside = ([], named_triggers(triggers)) if name == "fine-tuning" else (triggers, {})
        done = method(
            model,
            train.images,
            train.labels,
            taught,
            test=pair,
            known_triggers=beside | known,
            fraction=arguments.val_ratio,
            seed=arguments.seed,
            verbose=0,
            **settings,
        )
        saved = save_mitigation(done, outs[name], pair, Preprocessing())
        print(f"{name}, measured on the saved file {outs[name]}:\n{table(saved)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
