"""Files of earlier Keras releases, read by nc_tf and compared with the answers of the TensorFlow that wrote them.

    python -m benchmarks.files.compatibility FOLDER ...     # of benchmarks/files/legacy_models.py; adds to results/compatibility.json
    python -m benchmarks.files.compatibility --docs         # the tables of docs/results/old-keras-files.md
    python -m benchmarks.files.compatibility --pack FILE FOLDER ...     # the single layers, for tests/golden/legacy_models.tar.xz

A file is equal if no answer is off by more than 2e-5 of the largest of its image: float32 keeps 7 digits, and deep networks lose two.
"""

import argparse
import json
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np

from benchmarks.files.legacy_models import APPLICATIONS, images, nested_models
from benchmarks.harness.record import RESULTS, read_json, write_json
from nc_tf.errors import InputError
from nc_tf.models.loading.containers import file_kind
from nc_tf.models.loading.load import load_model

TOLERANCE = 2e-5
NESTED = nested_models()
# Layers that older ones describe otherwise than 2.15, or computes otherwise.
OF_2_6 = ("Function", "ReLU", "LSTM", "GRU", "Batch", "OperationsStack", "RandomCrop")
OF_2_10 = (
    "Activation", "Attention", "BatchNormalization", "Bidirectional", "Conv2D", "ConvLSTM2D", "Discretization", "GRU", "LSTM",
    "LayerNormalization", "MixedPrecision", "MultiHeadAttention", "Normalization", "Operations", "Preprocess", "RNN", "Random", "ReLU",
    "SlashInName", "TimeDistributed",
)  # fmt: skip
RESULT = RESULTS / "compatibility.json"


def writer(path: Path) -> str:
    """Return the Keras that wrote a file, and the format."""
    if file_kind(path) == "zip":
        with zipfile.ZipFile(path) as archive:
            version = json.loads(archive.read("metadata.json"))["keras_version"]
    else:
        with h5py.File(path) as file:
            version = file.attrs["keras_version"]
    return f"Keras {version}, {path.suffix}"


def outcome(path: Path) -> dict[str, Any]:
    """Return the outcome of one file.

    It is "equal", "different", "refused" or "failed", with the largest difference or the reason.
    """
    expected = np.load(path.with_suffix(".npy")).astype(np.float64)
    try:
        model = load_model(path)
        answers = np.asarray(model(images(model.input_shape[1:]), training=False), np.float64)
    except InputError as error:
        return {"outcome": "refused", "reason": str(error).removeprefix(f"{path}: ").split("; ")[0]}
    except Exception as error:
        return {"outcome": "failed", "reason": f"{type(error).__name__}: {error}".splitlines()[0][:200]}
    difference = float((np.abs(answers - expected) / np.abs(expected).max(axis=1, keepdims=True)).max())
    return {"outcome": "equal" if difference <= TOLERANCE else "different", "difference": float(f"{difference:.1e}")}


def markdown(results: dict[str, Any]) -> str:
    """Return the tables of all comparisons."""
    files: dict[str, dict[str, Any]] = results["files"]
    lines = []
    for title, chosen in (("layers and ways to nest networks", False), ("networks of `keras.applications`", True)):
        lines += [f"| {title}, written by | files | equal | refused | different | failed |", "| --- | ---: | ---: | ---: | ---: | ---: |"]
        for kind, found in sorted(files.items()):
            counts = Counter(entry["outcome"] for name, entry in found.items() if (name in APPLICATIONS) is chosen)
            if counts:
                numbers = [sum(counts.values()), *(counts[word] for word in ("equal", "refused", "different", "failed"))]
                lines.append(f"| {kind.replace(', ', ', `')}` | " + " | ".join(map(str, numbers)) + " |")
        lines.append("")
    lines += ["| refused | written by | why |", "| --- | --- | --- |"]
    reasons: dict[tuple[str, str], list[str]] = {}
    for kind, found in sorted(files.items()):
        for name, entry in sorted(found.items()):
            if entry["outcome"] == "refused":
                why = entry["reason"].partition(" ")[2].partition("' ")[2] or entry["reason"]
                reasons.setdefault((name, why), []).append(kind.removeprefix("Keras "))
    lines += [f"| {name} | {'; '.join(kinds)} | {why} |" for (name, why), kinds in sorted(reasons.items())]
    return "\n".join(lines)


def pack(target: Path, folders: list[Path]) -> None:
    """Pack the files of the quick tests.

    Each network is there in the newest format of its writer, nested ones as `.h5` too; fewer of older writers.
    """
    with tarfile.open(target, "w:xz", preset=9) as archive:
        for folder in sorted(folders):
            for answers in sorted(folder.glob("*.npy")):
                name = answers.stem
                if folder.name == "tf210" and not name.startswith((*NESTED, *OF_2_10)):
                    continue
                if folder.name == "tf26" and not name.startswith(OF_2_6):
                    continue
                files = [path for path in (answers.with_suffix(".keras"), answers.with_suffix(".h5")) if path.exists()]
                for path in [answers, *(files if name in NESTED else files[:1])]:
                    member = tarfile.TarInfo(f"{folder.name}/{path.name}")
                    member.size = path.stat().st_size
                    with path.open("rb") as content:
                        archive.addfile(member, content)


def main() -> None:
    """Compare the files of each folder, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--pack", type=Path, metavar="FILE", help="pack the folders instead of comparing")
    parser.add_argument("--docs", action="store_true", help="print the tables")
    options = parser.parse_args()
    if options.pack:
        pack(options.pack, options.folders)
        return
    results = read_json(RESULT, "delete it") if RESULT.exists() else {"files": {}}
    for folder in options.folders:
        for path in sorted([*folder.glob("*.h5"), *folder.glob("*.keras")]):
            found = outcome(path)
            results["files"].setdefault(writer(path), {})[path.stem] = found
            if found["outcome"] in ("different", "failed"):
                print(f"{path}: {found}")
    if options.folders:
        results["versions"] = {"keras": keras.__version__, "numpy": np.__version__}
        results["command"] = "python -m benchmarks.files.compatibility FOLDER ..."
        write_json(RESULT, results)
    if options.docs:
        print(markdown(results))


if __name__ == "__main__":
    main()
