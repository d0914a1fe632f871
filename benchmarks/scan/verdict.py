"""Time to a verdict: all labels of the shipped infected network on real GTSRB, preset robust beside preset paper, in one run.

    python -m benchmarks.scan.verdict                        eight of the labels by `paper`, scaled; 10 minutes on two idle cores
    python -m benchmarks.scan.verdict --paper-labels 43      every label by `paper`; 40 minutes

Also says what the machine would need for the convolutions of the robust scan alone: no scan with as many images can be faster.
"""

import argparse
import resource
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness.record import RESULTS, ROOT, OtherLoad, header, write_json
from nc_tf.cli.options import numbers
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

MODEL = ROOT / "models" / "gtsrb_bottom_right_white_4_target_33.h5"
TARGET = 33
# The parts of a label-round of benchmarks/harness/floor.py.
IMAGES_A_LABEL_ROUND = 31 * 32


def main(argv: list[str] | None = None) -> int:
    """Measure and save; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "gtsrb_dataset.h5", help="GTSRB, from `nc-tf data gtsrb`")
    parser.add_argument("--paper-labels", type=int, default=8, help="labels to search by `paper`, 0 to 43")
    parser.add_argument("--seeds", type=numbers(int), default=(0,), help="of the robust scans")
    parser.add_argument("--out", type=Path, default=RESULTS / "verdict.json")
    arguments = parser.parse_args(argv)
    if not arguments.data.exists():
        print(f"{arguments.data} is missing: expected GTSRB; run `nc-tf data gtsrb`, or give --data", file=sys.stderr)
        return 2
    try:
        load_tensorflow()
        results = header(list(arguments.seeds)) | measure(arguments.data, arguments.seeds, arguments.paper_labels)
        write_json(arguments.out, results)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"written to {arguments.out}")
    return 0


def measure(data: Path, seeds: tuple[int, ...], paper_labels: int) -> dict[str, Any]:
    """Measure the floor, the robust scans and the paper's labels.

    All run in this order, in one process.
    """
    from benchmarks.harness.floor import measure as measure_floor
    from nc_tf.datasets.read import read
    from nc_tf.models.loading.load import load_model

    loaded, model = read(data, subset="test"), load_model(MODEL)
    images = loaded.images, loaded.labels
    floor = measure_floor(model, 3)["bfloat16"]
    rate = IMAGES_A_LABEL_ROUND / floor["conv_seconds"]
    print(f"convolutions alone: {rate:.0f} images a second in bfloat16", flush=True)
    robust = [scan_row(model, images, "robust", seed) for seed in seeds]
    for row in robust:
        row["floor_seconds"] = round(row["image_updates"] / rate, 1)
        row["above_floor"] = round(row["seconds"] / row["floor_seconds"], 2)
        print(row, flush=True)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found: dict[str, Any] = {"conv_images_per_second": round(rate), "robust": robust, "peak_mib": round(memory)}
    if paper_labels:
        targets = [TARGET, *(label for label in range(43) if label != TARGET)][:paper_labels]
        paper = scan_row(model, images, "paper", 1, targets)
        paper["seconds_43_labels"] = round(paper["seconds"] * 43 / len(targets), 1)
        fastest = min(row["seconds"] for row in robust)
        found |= {"paper": paper, "times_as_fast": round(paper["seconds_43_labels"] / fastest, 1)}
        print(paper, found["times_as_fast"], flush=True)
    return found


def scan_row(model: Any, images: tuple[Any, Any], preset: str, seed: int, targets: list[int] | None = None) -> dict[str, Any]:
    """Measure one scan from the call to the verdict, compilation included."""
    from nc_tf.scanning.scan import scan

    with OtherLoad() as load:
        result = scan(model, *images, preset=preset, seed=seed, targets=targets)
    settings = result.settings
    rounds = sum(entry.rounds for entry in result.labels)
    return {
        "seed": seed,
        "labels": len(result.labels),
        "starts": settings["starts"],
        "precision": settings["precision"],
        "seconds": round(result.seconds, 1),
        "verdict": str(result.verdict),
        "flagged": list(result.flagged),
        "norm_of_target": round(next(entry.trigger.l1_norm for entry in result.labels if entry.label == TARGET), 2),
        "arm_rounds": rounds,
        "image_updates": rounds * settings["batch_size"] * settings["batches_per_round"],
        "other_cores": load.cores,
    }


if __name__ == "__main__":
    sys.exit(main())
