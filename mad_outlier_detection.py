"""The outlier detection of the original over the triggers that gtsrb_visualize_example.py wrote, with the original's printed lines.

    python mad_outlier_detection.py

Norms come from the lossless triggers, or from the 8-bit pictures where a label has nothing else. The script takes a second.
With the shipped infected model its last lines name label 33: `flagged label list: 33: ...`.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from nc_tf.cli.guard import Parser, guarded
from nc_tf.detection.outliers import find_outliers
from nc_tf.errors import InputError
from nc_tf.results import Status
from nc_tf.storage.trigger_file import load_trigger

RESULT_DIR = "results"
IMG_FILENAME_TEMPLATE = "gtsrb_visualize_%s_label_%d.png"
NUM_CLASSES = 43


def main(argv: list[str] | None = None) -> int:
    """Print median, MAD, index and flagged labels; return the exit code.

    The code is 0, or 2 for bad input.
    """
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", default=RESULT_DIR)
    arguments = parser.parse_args(argv)

    def work() -> int:
        print(f"{sys.argv[0]} start")
        started = time.time()
        outlier_detection(read_norms(Path(arguments.results)))
        print(f"elapsed time {time.time() - started:f} s")
        return 0

    return guarded("mad_outlier_detection.py", work)


def read_norms(folder: Path) -> dict[int, float]:
    """Return the L1 norm by label, for labels with a working trigger."""
    norms = {}
    for label in range(NUM_CLASSES):
        lossless, picture = folder / "triggers" / f"label_{label}.npz", folder / (IMG_FILENAME_TEMPLATE % ("mask", label))
        if lossless.exists():
            trigger, saved = load_trigger(lossless)
            status = Status(str(saved.get("status", Status.CONVERGED)))
            if not status.succeeded:
                print(f"label {label} left out: its search found no working trigger ({status})")
                continue
            norms[label] = trigger.l1_norm
        elif picture.exists():
            try:
                with Image.open(picture, formats=("PNG",)) as mask:
                    norms[label] = float((np.asarray(mask.convert("L"), np.float64) / 255.0).sum())
            except (OSError, SyntaxError) as error:
                raise InputError(f"{picture} cannot be read ({error}): expected a mask as a PNG picture; search the label again") from error
    if not norms:
        raise InputError(f"{folder} holds no triggers: expected what gtsrb_visualize_example.py writes; run it first, or try `make demo`")
    print(f"{len(norms)} labels found")
    return norms


def outlier_detection(norms: dict[int, float]) -> None:
    """Print the lines that the original prints."""
    labels = list(norms)
    outliers = find_outliers(list(norms.values()))
    smallest = int(np.argmin(list(norms.values())))
    print(f"median: {outliers.median:f}, MAD: {outliers.mad:f}")
    print(f"anomaly index: {outliers.index[smallest]:f}")
    print("flagged label list: " + ", ".join(f"{labels[position]}: {norms[labels[position]]:2f}" for position in outliers.flagged))


if __name__ == "__main__":
    sys.exit(main())
