"""Shared parts of the five scripts: common options, the source of clips, the options of a search, a trigger as two files."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nc_tf.cli.guard import Parser, guarded
from nc_tf.cli.options import positive, seed
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from nc_tf.datasets.read import LabelledImages
    from nc_tf.inversion.step import SearchSettings
    from nc_tf.results import Backdoor, ScanResult, Trigger

    Pair = tuple[np.ndarray, np.ndarray]

SYNTHETIC, RENDERED = "synthetic", Path("data/moving-shapes.npz")
# Defaults of steps 0, 2 and 4 for real clips, which benchmarks/video/steps.py measures: arguments of `train_clips`, twice, and of
# `unlearn`.
TRAINING: dict[str, Any] = {"frame_epochs": 12, "epochs": 5, "batch_size": 16, "frame_learning_rate": 2e-3, "learning_rate": 1e-3}
INJECTION: dict[str, Any] = TRAINING | {"frame_epochs": 5, "epochs": 3, "frame_learning_rate": 1e-3, "learning_rate": 5e-4, "rate": 0.1}
MITIGATION: dict[str, Any] = {"fraction": 0.05, "ratio": 0.5, "batch_size": 16}
MITIGATION |= {"epochs": 40, "learning_rate": 2e-3, "frozen_layers": ("frames",)}
PLANTED = ("patch", "blend")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all scripts have."""
    made = Parser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    where = f"the folder of UCF-101, an .npz of clips, or {SYNTHETIC}: rendered ones, without a download"
    made.add_argument("--data_dir", "--data", default=SYNTHETIC, metavar="PATH", help=where)
    made.add_argument("--num_classes", type=positive, help="use the first N classes of the data")
    made.add_argument("--seed", type=seed, default=0)
    return made


def add_search_options(made: argparse.ArgumentParser, *, suffix: str = "") -> None:
    """Declare the options of a search; defaults are those of the preset.

    Options that a training has too end in `suffix`.
    """
    made.add_argument(f"--lr{suffix}", dest="search_lr", type=float, metavar="RATE", help="learning rate of the search")
    made.add_argument(
        f"--batch_size{suffix}", dest="search_batch_size", type=positive, metavar="CLIPS", help="clips a minibatch of the search"
    )
    made.add_argument("--steps", type=positive, help="minibatches a search")
    made.add_argument("--init_cost", type=float, help="first weight of the mask's norm")
    made.add_argument("--attack_succ_threshold", type=float, help="success rate that a trigger must reach")
    made.add_argument("--patience", type=positive, help="rounds before that weight changes")
    made.add_argument("--cost_multiplier", type=float, help="factor by which that weight changes")
    made.add_argument("--per_frame", action="store_true", help="a trigger for every frame, instead of one for all")


def search_settings(arguments: argparse.Namespace) -> "SearchSettings":
    """Return the settings of preset robust for clips, changed by the options."""
    from nc_tf.scanning.presets import PRESETS

    base = PRESETS["robust"].settings_for((None,) * 4, num_classes=10)  # (T, H, W, C); for clips any number gives the same
    steps = None if arguments.steps is None else max(1, arguments.steps // base.batches_per_round)
    search = {"learning_rate": arguments.search_lr, "batch_size": arguments.search_batch_size, "max_rounds": steps}
    cost = {
        "init_cost": arguments.init_cost,
        "threshold": arguments.attack_succ_threshold,
        "patience": arguments.patience,
        "multiplier": arguments.cost_multiplier,
    }
    return replace(base, **given(search), cost=replace(base.cost, **given(cost)))


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def run(name: str, work: Callable[[], int]) -> int:
    """Run the work of a script, and return its exit code."""

    def loaded() -> int:
        load_tensorflow()
        return work()

    return guarded(name, loaded, "stopped; finished parts are kept, and the same command resumes where it can")


def read_clips(arguments: argparse.Namespace, clip_shape: tuple[int | None, ...]) -> tuple["LabelledImages", "LabelledImages"]:
    """Return training and test clips (N, T, H, W, 3) of the options.

    Args:
        arguments: the options of `parser`.
        clip_shape: (T, H, W, C) of the model, None in a place for any size.

    Raises:
        InputError: no such data, fewer classes than `--num_classes`, clips of fewer than two classes, or a model for images.
    """
    from nc_tf.datasets.checks import check_images
    from nc_tf.datasets.read import read_both

    if len(clip_shape) != 4:
        raise InputError(f"the model takes images {clip_shape}: expected one for clips (T, H, W, C); nc-tf scan takes both")
    train, test = read_both(data_file(arguments), seed=arguments.seed, image_shape=clip_shape)
    most, there = arguments.num_classes, count_classes(train, test)
    if most is None:
        return train, test
    if not 2 <= most <= there:
        raise InputError(f"--num_classes {most}: expected 2 to {there}, what the data has; choose fewer, or leave it out")
    train, test = (replace(part.take(np.flatnonzero(part.labels < most)), class_names=_first(part, most)) for part in (train, test))
    for part in (train, test):  # the first classes may have clips of one class alone, or none
        check_images(part.images, part.labels, name=f"{arguments.data_dir}, {most} classes")
    return train, test


def count_classes(*parts: "LabelledImages") -> int:
    """Return the number of classes of the data.

    It is the number of class names, although a class may have no clip. Without names it follows from the labels.
    """
    names = parts[0].class_names
    return len(names) if names else 1 + max(int(part.labels.max()) for part in parts)


def _first(part: "LabelledImages", most: int) -> tuple[str, ...] | None:
    return part.class_names and part.class_names[:most]


def data_file(arguments: argparse.Namespace) -> Path:
    """Return the path of the clips.

    Rendered clips are written first if they are missing.
    """
    if arguments.data_dir != SYNTHETIC:
        return Path(arguments.data_dir)
    if not RENDERED.exists():
        from nc_tf.cli import data
        from nc_tf.cli.main import parser as nc_tf_parser

        data.run(nc_tf_parser().parse_args(["data", RENDERED.stem, "--out", str(RENDERED.parent)]))
    return RENDERED


def filmed(clips: "Pair", settings: dict[str, Any], seed: int) -> tuple["tf.data.Dataset", None]:
    """Return the clips and labels that `unlearn` takes with `MITIGATION`.

    They are a random sample, augmented anew in every epoch.
    """
    import keras

    from nc_tf.mitigation.repair import some_rows
    from nc_tf.training.augmentation import filmed_batches

    keras.utils.set_random_seed(seed)  # so that earlier calls make no difference
    images, labels = clips
    rows = some_rows(len(images), settings["fraction"], seed)
    return filmed_batches(images[rows], labels[rows], settings["batch_size"], seed=seed), None


def planted(kind: str, frame_shape: tuple[int, ...], label: int, seed: int) -> "Backdoor":
    """Return a backdoor of `PLANTED` for every frame (H, W, C).

    It is a white square, or faint noise drawn by the seed.
    """
    from nc_tf.attacks.blend import blend
    from nc_tf.attacks.patch import patch

    height, width, channels = frame_shape
    if kind == "blend":
        return blend((height, width, channels), label, seed=seed)
    side = max(2, min(height, width) // 8)  # the same share of the frame as the paper's 4x4 of its signs
    return patch((height, width, channels), label, size=side)


def detected(arguments: argparse.Namespace, model: "keras.Model", clips: "LabelledImages", folder: str | Path) -> "ScanResult":
    """Scan every class into a folder by preset robust.

    The options change the preset. A scan that was stopped in the folder is resumed.
    """
    from nc_tf.cli.scan import scan_with_progress
    from nc_tf.scanning.options import ScanOptions

    options = ScanOptions(settings=search_settings(arguments), per_frame=arguments.per_frame, seed=arguments.seed)
    source = {"model_file": arguments.backdoor_model_path, "data_file": data_file(arguments)}
    return scan_with_progress(folder, model, clips, options=options, **source)


def write_trigger(folder: str | Path, trigger: "Trigger") -> Path:
    """Write a trigger as `trigger_target_<label>.npz` and `.png`.

    Returns:
        The path of the first, which is lossless.
    """
    from PIL import Image

    from nc_tf.storage.files import whole_file
    from nc_tf.storage.pixels import drawable
    from nc_tf.storage.trigger_file import save_trigger

    path = Path(folder) / f"trigger_target_{trigger.label}.npz"
    save_trigger(path, trigger)
    with whole_file(path.with_suffix(".png")) as temporary:
        Image.fromarray(drawable(trigger.overlay)).save(temporary, format="PNG")
    return path
