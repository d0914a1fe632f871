"""Unlearning of the backdoor that the first two scripts found, with Keras `fit` (paper section VI-C).

The saved file is measured.

    python unlearn.py                              the paper's recipe with the reversed triggers of the flagged labels
    python unlearn.py --with true                  the paper's second column: the original trigger
    python unlearn.py --with nothing               the third: fine-tuning on clean images only

The script needs data/gtsrb_dataset.h5 (`nc-tf data gtsrb`) and results/. docs/results/gtsrb-paper.md has the expected numbers.
"""

import argparse
import sys
from pathlib import Path

from mad_outlier_detection import read_norms
from nc_tf.cli.guard import Parser, guarded
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.detection.outliers import find_outliers
from nc_tf.errors import InputError

DATA_FILE = "data/gtsrb_dataset.h5"
MODEL_FILE = "models/gtsrb_bottom_right_white_4_target_33.h5"
RESULT_DIR = "results"
OUT_FILE = "results/unlearned.h5"

Y_TARGET = 33  # the planted backdoor, which is measured: a white square of 4 pixels, one from the bottom-right corner
FRACTION = 0.1  # share of the training images that is used
RATIO = 0.2  # share of these that is stamped
EPOCHS = 1
BATCH_SIZE = 32
LR = 1.5e-3  # learning rate at the start of a cosine schedule
INTENSITY_RANGE = "raw"
SEED = 0


def main(argv: list[str] | None = None) -> int:
    """Run the script; return 0 when done, 2 for bad input."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=DATA_FILE)
    parser.add_argument("--model", default=MODEL_FILE)
    parser.add_argument("--results", default=RESULT_DIR)
    parser.add_argument("--out", default=OUT_FILE)
    parser.add_argument("--with", dest="source", default="reversed", choices=("reversed", "true", "nothing"))
    parser.add_argument("--seed", type=int, default=SEED)
    arguments = parser.parse_args(argv)

    def work() -> int:
        load_tensorflow()
        repair(arguments)
        return 0

    return guarded("unlearn.py", work)


def repair(arguments: argparse.Namespace) -> None:
    """Unlearn, save, measure the saved file, and print the table."""
    from nc_tf.attacks.patch import patch
    from nc_tf.datasets.read import read
    from nc_tf.mitigation.saving import save_mitigation, table
    from nc_tf.mitigation.unlearning import unlearn
    from nc_tf.models.loading.load import load_model
    from nc_tf.models.saving import check_model_file
    from nc_tf.preprocessing import preprocessing

    check_model_file(arguments.out)
    if not Path(arguments.data).exists():
        raise InputError(f"{arguments.data} is missing: expected GTSRB; run `nc-tf data gtsrb`, or `make demo`, which needs no data")
    train, test = (read(arguments.data, subset=subset) for subset in ("train", "test"))
    true = patch(train.images.shape[1:], Y_TARGET)
    # The other two columns need no scan.
    reversed_ = flagged_triggers(Path(arguments.results)) if arguments.source == "reversed" else []
    triggers = {"reversed": reversed_, "true": [true], "nothing": []}[arguments.source]
    mitigation = unlearn(
        load_model(arguments.model),
        train.images,
        train.labels,
        triggers,
        test=(test.images, test.labels),
        known_triggers={"true": true},
        fraction=FRACTION,
        ratio=RATIO,
        epochs=EPOCHS,
        batch_size=BATCH_SIZE,
        learning_rate=LR,
        intensity_range=INTENSITY_RANGE,
        seed=arguments.seed,
    )
    saved = save_mitigation(mitigation, arguments.out, (test.images, test.labels), preprocessing(INTENSITY_RANGE))
    print(f"unlearned with: {arguments.source} trigger; measured on the saved file {arguments.out}")
    print(table(saved))


def flagged_triggers(folder: Path) -> list:
    """Return the lossless triggers of the flagged labels, most anomalous first.

    The labels are those that mad_outlier_detection.py flags.
    """
    from nc_tf.storage.trigger_file import load_trigger

    norms = read_norms(folder)
    flagged = [list(norms)[position] for position in find_outliers(list(norms.values())).flagged]
    if not flagged:
        raise InputError(f"{folder} flags no label: expected a flagged one to unlearn; search more labels, or use --with true")
    print("flagged labels: " + ", ".join(map(str, flagged)))
    files = [folder / "triggers" / f"label_{label}.npz" for label in flagged]
    for file in files:
        if not file.exists():
            raise InputError(f"{file} is missing: expected the lossless trigger, because the PNGs are rounded; search the label again")
    return [load_trigger(file)[0] for file in files]


if __name__ == "__main__":
    sys.exit(main())
