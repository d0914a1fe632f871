"""The binary batches of CIFAR-10 and CIFAR-100: one record an image, labels first.

Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nc_tf.datasets.labelled import Found, FoundSubset, Loaded, Subset
from nc_tf.errors import InputError
from nc_tf.storage.bounds import check_plain

SIDE = 32
PIXELS = 3 * SIDE * SIDE
TRAIN_10, TEST_10 = tuple(f"data_batch_{number}.bin" for number in range(1, 6)), ("test_batch.bin",)
TRAIN_100, TEST_100 = ("train.bin",), ("test.bin",)
LABELS = {10: 1, 100: 2}  # bytes before the pixels; in CIFAR-100 the coarse class, then the fine one
NAMES = {10: "batches.meta.txt", 100: "fine_label_names.txt"}
LARGEST_NAMES = 2**16  # bytes


def batches(path: Path) -> list[Path]:
    """Return the batches in a folder, or the path itself."""
    names = {*TRAIN_10, *TEST_10, *TRAIN_100, *TEST_100}
    if path.is_dir():
        return [path / name for name in sorted(names) if (path / name).is_file() and not (path / name).is_symlink()]
    return [path] if path.name in names else []


def cifar_found(path: Path, subset: Subset) -> Found:
    """Find one set of the batches that `batches` returns.

    Raises:
        InputError: batches of both data sets, or one that holds no whole records.
    """
    present = batches(path)
    kinds = {100 if batch.name in (*TRAIN_100, *TEST_100) else 10 for batch in present}
    if len(kinds) > 1:
        raise InputError(f"{path} holds batches of CIFAR-10 and of CIFAR-100: expected one of them; give one of the files as DATA")
    (classes,) = kinds
    train = [batch for batch in present if batch.name in (*TRAIN_10, *TRAIN_100)]
    sets: dict[FoundSubset, list[Path]] = {"train": train, "test": [batch for batch in present if batch not in train]}
    found: FoundSubset = subset if sets[subset] else "train" if subset == "test" else "test"
    records = [_records(batch, classes) for batch in sets[found]]
    labels = np.concatenate([batch[:, LABELS[classes] - 1] for batch in records])

    def load(rows: np.ndarray | None) -> Loaded:
        chosen = np.arange(len(labels)) if rows is None else rows
        starts = np.cumsum([0, *map(len, records)])
        parts = [
            batch[chosen[(chosen >= start) & (chosen < start + len(batch))] - start, LABELS[classes] :]
            for start, batch in zip(starts[:-1], records, strict=True)
        ]
        images = np.concatenate(parts).reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        return Loaded(np.ascontiguousarray(images), labels[chosen], chosen)

    return Found(labels, load, _names(path if path.is_dir() else path.parent, classes), found)


def _records(batch: Path, classes: int) -> np.ndarray:
    """Return the records, (N, labels and pixels) uint8, mapped into memory."""
    check_plain(batch)
    size, record = batch.stat().st_size, LABELS[classes] + PIXELS
    if not size or size % record:
        raise InputError(f"{batch} has {size:,} bytes: expected records of {record}, those of CIFAR-{classes}; download it again")
    return np.memmap(batch, np.uint8, "r").reshape(-1, record)


def _names(folder: Path, classes: int) -> tuple[str, ...] | None:
    """Return the class names in the file beside the batches, or None."""
    file = folder / NAMES[classes]
    try:
        if not file.is_file() or file.stat().st_size > LARGEST_NAMES:
            return None
        names: Sequence[str] = file.read_text(encoding="utf-8").split()
    except (OSError, ValueError):
        return None
    return tuple(names) if len(names) == classes else None
