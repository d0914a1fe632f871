"""Results of published networks by other authors: loading, input range, verdict and seconds.

    NC_TF_DATA=data python -m benchmarks.scan.strangers            10 minutes; finished ones are kept in benchmarks/results/strangers.json

The folder named by NC_TF_DATA holds `strangers/` with the networks, and the data sets that they are for.
"""

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
from PIL import Image

import nc_tf
from benchmarks.harness.record import RESULTS, header, read_json, write_json
from nc_tf.detection.recognition import choose_range
from nc_tf.errors import InputError

OUT = RESULTS / "strangers.json"
MOST = 3000  # images of each data set, drawn by seed 0
Images = tuple[np.ndarray, np.ndarray]


def gtsrb(data: Path, side: int) -> Images:
    """Return test images of GTSRB at (side, side), and their classes."""
    with h5py.File(data / "gtsrb_dataset.h5") as file:
        rows = np.sort(np.random.default_rng(0).permutation(len(file["X_test"]))[:MOST])
        images, labels = file["X_test"][:][rows], file["Y_test"][:].argmax(1)[rows]
    return _resized(images, side), labels


def cifar10(data: Path, side: int) -> Images:
    """Return test images of CIFAR-10, likewise."""
    with np.load(data / "cifar10_jpeg.npz") as archive:
        rows, buf, offsets = np.flatnonzero(archive["is_test"])[:MOST], archive["buf"], archive["offsets"]
        labels = archive["labels"][rows].astype(int)
    images = np.stack([np.asarray(Image.open(io.BytesIO(buf[offsets[row] : offsets[row + 1]].tobytes()))) for row in rows])
    return _resized(images, side), labels


def mnist(data: Path, side: int) -> Images:
    """Return test images of MNIST."""
    del side
    with np.load(data / "mnist_test.npz") as archive:
        return archive["x"][:MOST], archive["y"][:MOST].astype(int)


def _resized(images: np.ndarray, side: int) -> np.ndarray:
    if images.shape[1] == side:
        return images
    return np.stack([np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BILINEAR)) for image in images])


def pictures_of_any_kind(data: Path, side: int) -> Images:
    """Return 120 pictures for a network with unknown classes.

    The network's own answers replace their classes.
    """
    images, _ = cifar10(data, 32)
    return _resized(images[:120], side), np.zeros(0, int)


SETS: dict[str, Callable[[Path, int], Images]] = {"gtsrb": gtsrb, "cifar10": cifar10, "mnist": mnist, "teachable": pictures_of_any_kind}


def tried(path: Path, data: Path) -> dict[str, Any]:
    """Load a network, find its range and scan it; return a row."""
    began = time.perf_counter()
    try:
        model: keras.Model = nc_tf.load_model(path)
    except InputError as error:
        return {"network": path.name, "refused": str(error).replace(str(path), path.name)}
    loaded = time.perf_counter() - began
    images, labels = SETS[path.name.partition("_")[0]](data, model.input_shape[1] or 32)
    known = len(labels) > 0
    choice = choose_range("auto" if known else "inception", model, images, labels if known else None)
    began = time.perf_counter()
    result = nc_tf.scan(model, images, labels if known else None, intensity_range=choice, seed=0)
    return {
        "network": path.name,
        "classes": int(model.output_shape[-1]),
        "range": choice.preprocess.name,
        "ranges_tried": choice.accuracies,
        "accuracy": None if np.isnan(result.model_accuracy) else round(result.model_accuracy, 4),
        "verdict": str(result.verdict),
        "reason": result.reason,
        "flagged": list(result.flagged),
        "chance": None if np.isnan(result.chance) else result.chance,
        "median": None if np.isnan(result.median) else round(result.median, 2),
        "load_seconds": round(loaded, 2),
        "scan_seconds": round(time.perf_counter() - began, 1),
    }


def main() -> int:
    """Try every network that is pending, and print a table."""
    if "NC_TF_DATA" not in os.environ:
        print("NC_TF_DATA is not set: expected the folder with strangers/ and the data sets; set it", file=sys.stderr)
        return 2
    data = Path(os.environ["NC_TF_DATA"])
    kept = read_json(OUT, "delete it")["networks"] if OUT.exists() else []
    for path in sorted((data / "strangers").iterdir()):
        if path.suffix in (".h5", ".keras") and path.name not in [row["network"] for row in kept]:
            kept.append(tried(path, data))
            write_json(OUT, {**header(0), "networks": kept})
            print(f"{path.name}: {kept[-1].get('verdict', 'refused')}", flush=True)
    print("| network | classes | range found | accuracy | verdict | chance | load, s | scan, s |")
    print("| --- | ---: | --- | ---: | --- | ---: | ---: | ---: |")
    for row in kept:
        if "refused" in row:
            print(f"| {row['network']} | | | | refused: {row['refused']} | | | |")
            continue
        accuracy, chance = (f"{row[key]:.3f}" if row[key] is not None else "not known" for key in ("accuracy", "chance"))
        print(
            f"| {row['network']} | {row['classes']} | {row['range']} | {accuracy} | {row['verdict']} | {chance} "
            f"| {row['load_seconds']} | {row['scan_seconds']} |"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
