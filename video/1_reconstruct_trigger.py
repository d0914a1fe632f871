"""Step 1: search on a clean model for a trigger that sends any clip to one label, for step 2 to plant.

    python video/1_reconstruct_trigger.py
    python video/1_reconstruct_trigger.py --data_dir data/ucf101 --target_label 3 --steps 1000

The script writes trigger_target_<label>.npz and .png.
"""

import argparse
import sys

import common


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0, or 2 for a failure."""
    parser = common.parser(__doc__)
    parser.add_argument("--clean_model_path", default="models/cnnlstm_clean.keras", metavar="FILE")
    parser.add_argument("--output_dir", default="results", metavar="DIR")
    parser.add_argument("--target_label", type=int, default=0)
    common.add_search_options(parser)
    arguments = parser.parse_args(argv)
    return common.run("1_reconstruct_trigger.py", lambda: reconstruct(arguments))


def reconstruct(arguments: argparse.Namespace) -> int:
    """Search, save, and print the norm; return the exit code."""
    from nc_tf.cli.guard import interruptible
    from nc_tf.cli.progress import ScanProgress
    from nc_tf.cli.scan import print_doubt
    from nc_tf.errors import InputError
    from nc_tf.models.loading.load import load_model
    from nc_tf.scanning.scan import scan

    model = load_model(arguments.clean_model_path)
    _, test = common.read_clips(arguments, model.input_shape[1:])
    settings = common.search_settings(arguments)
    with ScanProgress() as progress:
        result = interruptible(
            lambda: scan(
                model,
                test.images,
                test.labels,
                targets=[arguments.target_label],
                settings=settings,
                per_frame=arguments.per_frame,
                seed=arguments.seed,
                callbacks=[progress],
            )
        )
    (found,) = result.labels
    if not found.rounds:
        raise InputError(result.reason)
    if not found.succeeded:
        raise InputError(
            f"no trigger for label {arguments.target_label} reached {settings.cost.threshold:.0%}: expected one within "
            f"{settings.max_rounds * settings.batches_per_round} steps; give more --steps, or a lower --attack_succ_threshold"
        )
    path = common.write_trigger(arguments.output_dir, found.trigger)
    print(f"norm {found.trigger.l1_norm:.2f}, ASR on unseen clips {found.attack_success_rate:.4f}; written: {path} and .png")
    print_doubt(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
