"""A check that every network of keras.applications loads from files of this Keras and answers as before.

    python -m benchmarks.files.applications                          all; half an hour on two cores, 6 GB of memory
    python -m benchmarks.files.applications --networks VGG16,Xception    some of them

Each network gets random weights, five classes and the smallest images that it takes (NASNet: its own), and is saved as `.keras` and `.h5`.
`nc_tf.load_model` reads the files untrusted. Equal means bit by bit, on eight random images. Networks that --out holds are not tried
again: a stopped run goes on with the others.
"""

import argparse
import gc
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.record import RESULTS, header, read_json, write_json
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

CLASSES = 5
# Sides of an image, where the smallest that a network takes is not 32.
SIDES = {"InceptionV3": 75, "InceptionResNetV2": 75, "Xception": 71, "NASNetLarge": 331, "NASNetMobile": 224}


def main(argv: list[str] | None = None) -> int:
    """Load all, print a table and save it; 0 when all are equal, 1 when some are not, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", help="names, with commas between them; default: all")
    parser.add_argument("--fresh", action="store_true", help="start over")
    parser.add_argument("--out", type=Path, default=RESULTS / "applications.json")
    arguments = parser.parse_args(argv)
    load_tensorflow()
    known = names()
    chosen = arguments.networks.split(",") if arguments.networks else known
    unknown = sorted({*chosen} - {*known})
    if unknown:
        print(f"--networks {unknown[0]}: keras.applications has none of that name; choose from {', '.join(known)}", file=sys.stderr)
        return 2
    rows = [] if arguments.fresh or not arguments.out.exists() else read_json(arguments.out, "use --fresh")["networks"]
    for name in [name for name in chosen if name not in {row["network"] for row in rows}]:
        rows = sorted(rows + both_formats(name), key=lambda row: (row["network"], row["format"]))
        write_json(arguments.out, header(0) | {"networks": rows})
        gc.collect()
    bad = [row for row in rows if row["outcome"] != "equal"]
    print(f"\n{len(rows) - len(bad)} of {len(rows)} files load and answer equally; written to {arguments.out}")
    return int(bool(bad))


def names() -> list[str]:
    """The networks of keras.applications."""
    import keras

    return sorted(name for name, item in vars(keras.applications).items() if callable(item) and name[0].isupper())


def both_formats(name: str) -> list[dict[str, Any]]:
    """Save one network in both formats, load it again and compare; print a line for each."""
    import keras

    keras.utils.set_random_seed(0)
    side = SIDES.get(name, 32)
    model = getattr(keras.applications, name)(weights=None, classes=CLASSES, input_shape=(side, side, 3))
    images = np.random.default_rng(0).uniform(0, 255, (8, side, side, 3)).astype(np.float32)
    expected = np.asarray(model(images, training=False))
    rows = []
    for suffix in (".keras", ".h5"):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"model{suffix}"
            model.save(path)
            began = time.perf_counter()
            outcome = loaded_and_compared(path, images, expected)
            row = {"network": name, "format": suffix, "weights": model.count_params(), "layers": len(model.layers), "outcome": outcome}
            rows.append(row | {"seconds": round(time.perf_counter() - began, 1)})
        sizes = f"{row['weights']:12,} weights {row['layers']:5} layers"
        print(f"{name:20} {suffix:7} {sizes} {rows[-1]['seconds']:6.1f} s  {outcome}", flush=True)
    return rows


def loaded_and_compared(path: Path, images: np.ndarray, expected: np.ndarray) -> str:
    """Say "equal", "different", or why the file was refused."""
    from nc_tf import load_model

    try:
        model = load_model(path)
    except InputError as error:
        return str(error).removeprefix(f"{path}: ")
    return "equal" if np.array_equal(np.asarray(model(images, training=False)), expected) else "different"


if __name__ == "__main__":
    sys.exit(main())
