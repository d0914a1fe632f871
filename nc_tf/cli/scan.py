"""Search a trigger for every label of a model, and say whether one is suspiciously small.

Exit code 0: no outlier; 1: backdoor suspected; 2: bad input or failure; 3: inconclusive.
A stopped scan goes on when the same command is given again, without --fresh.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nc_tf.cli.guard import interruptible
from nc_tf.cli.options import (
    TEST_SHARE,
    add_label_order,
    add_model_options,
    class_names,
    images_in_memory,
    in_label_order,
    labels,
    listed,
    model_of,
    positive,
    range_of,
    sample_for_memory,
    say_left_out,
    seed,
)
from nc_tf.errors import printable

if TYPE_CHECKING:
    import keras

    from nc_tf.datasets.read import LabelledImages
    from nc_tf.results import ScanResult
    from nc_tf.scanning.callbacks import ScanCallback

# Options of the command, and the settings of the search and of its schedule that they replace.
SETTINGS = (
    ("loss", "loss"),
    ("rounds", "max_rounds"),
    ("batches_per_round", "batches_per_round"),
    ("batch_size", "batch_size"),
    ("learning_rate", "learning_rate"),
)
COST = (("init_cost", "init_cost"), ("cost_multiplier", "multiplier"), ("patience", "patience"), ("threshold", "threshold"))
STOPPED = "stopped; finished labels are kept, and the same command, without --fresh, goes on with the others"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `nc-tf scan`."""
    parser.add_argument("model", metavar="MODEL", help=".keras, .h5, or a SavedModel folder (which needs --trust-model)")
    parser.add_argument("data", metavar="DATA", help="clean raw images: .h5, .npz, or a folder with one folder a class")
    parser.add_argument("--out", required=True, metavar="DIR", help="the scan folder")
    how = "named settings of a scan; options replace them, except those of the pre-screening of low-cost"
    parser.add_argument("--preset", default="robust", choices=("robust", "low-cost", "paper"), help=how)
    parser.add_argument("--labels", type=labels, default=None, help="labels to search: all, or numbers such as 0,33")
    starts = parser.add_mutually_exclusive_group()
    starts.add_argument("--starts", type=positive, help="restarts a label; the smallest working trigger counts")
    trials = "instead: N restarts a label on the training images; the trigger that moves most test images counts (preset paper)"
    starts.add_argument("--trials", type=positive, metavar="N", help=trials)
    parser.add_argument("--seed", type=seed, default=0, help="seed of restarts, minibatches and the held-out part")
    parser.add_argument("--loss", choices=("linear", "cross_entropy"), help="loss that drives images towards a label")
    parser.add_argument("--precision", choices=("auto", "float32", "bfloat16"), help="precision of the forward pass")
    parser.add_argument("--rounds", type=int, help="rounds a search at most")
    parser.add_argument("--batches-per-round", type=int, help="minibatches a round")
    parser.add_argument("--batch-size", type=int, help="images a minibatch, or clips")
    chosen = "use N of the images, chosen by the seed (default: all, or of many large ones 10,000)"
    parser.add_argument("--images", type=int, metavar="N", help=chosen)
    parser.add_argument("--lanes", type=positive, metavar="N", help="searches together at most; fewer where not all fit in memory")
    parser.add_argument("--learning-rate", type=float, help="learning rate of Adam")
    parser.add_argument("--threshold", type=float, help="success rate that a trigger must reach")
    parser.add_argument("--init-cost", type=float, help="first weight of the mask's norm")
    parser.add_argument("--cost-multiplier", type=float, help="factor of the weight, up while the trigger works, down while not")
    parser.add_argument("--patience", type=int, help="rounds in a row before the weight changes")
    parser.add_argument("--engine", default="local", choices=("local", "ray"), help="where searches run: this machine, or a Ray cluster")
    names = "all-to-all, hardening, source-specific, picture, warp"
    which = f"detectors beside one-label, which always runs: some of {names} (default: all that can run)"
    parser.add_argument("--detectors", type=listed, metavar="NAMES", help=which)
    parser.add_argument("--upsample", type=int, default=1, metavar="N", help="side of the mask's super-pixels, in pixels")
    parser.add_argument("--per-frame", action="store_true", help="for clips: a trigger for every frame instead of one for all")
    watch = "write curves and triggers during the search, for TensorBoard; with --engine ray only results of labels"
    parser.add_argument("--tensorboard", metavar="DIR", help=watch)
    parser.add_argument("--class-names", metavar="FILE", help="one name a line")
    parser.add_argument("--fresh", action="store_true", help="start over instead of going on with what DIR holds")
    add_label_order(parser)
    add_model_options(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run `nc-tf scan`."""
    from nc_tf.datasets.read import read, read_both
    from nc_tf.report.tensorboard import TensorBoardLog
    from nc_tf.scanning.options import ScanOptions
    from nc_tf.scanning.presets import PRESETS

    model = model_of(arguments)
    num_classes = model.output_shape[-1]
    names = class_names(arguments.class_names, num_classes)
    shape, whole = model.input_shape[1:], arguments.images is None
    drawn: dict[str, Any] = {"image_shape": shape, "count": arguments.images, "at_most": images_in_memory(shape) if whole else None}
    if arguments.trials is None:
        loaded, test = read(arguments.data, seed=arguments.seed, **drawn), None
    else:
        loaded, test = read_both(arguments.data, seed=arguments.seed, test_at_most=images_in_memory(shape, TEST_SHARE), **drawn)
        test = sample_for_memory(test, arguments.seed, TEST_SHARE)
    loaded = sample_for_memory(loaded, arguments.seed) if whole else loaded
    say_left_out(loaded)
    sets = [loaded] if test is None else [loaded, test]
    loaded, *rest = in_label_order(sets, arguments.label_order, num_classes, arguments.data)
    test = rest[0] if rest else None
    if names is not None:
        loaded = replace(loaded, class_names=names)
    settings, given = PRESETS[arguments.preset].settings_for(model.input_shape[1:], num_classes), vars(arguments)
    changed, cost = ({name: given[option] for option, name in names if given[option] is not None} for names in (SETTINGS, COST))
    watching = [TensorBoardLog(arguments.tensorboard, upsample_size=arguments.upsample)] if arguments.tensorboard else []
    options = ScanOptions(
        targets=arguments.labels,
        preset=arguments.preset,
        settings=replace(settings, **changed, cost=replace(settings.cost, **cost)),
        starts=arguments.trials or arguments.starts,
        best="norm" if test is None else "success",
        precision=arguments.precision,
        intensity_range=range_of(arguments),
        upsample_size=arguments.upsample,
        per_frame=arguments.per_frame,
        seed=arguments.seed,
        lanes=arguments.lanes,
        engine=arguments.engine,
        detectors=arguments.detectors,
    )
    unseen = None if test is None else (test.images, test.labels)
    source = {"model_file": arguments.model, "data_file": arguments.data, "fresh": arguments.fresh}
    result = scan_with_progress(arguments.out, model, loaded, options=options, unseen=unseen, callbacks=watching, **source)
    print_result(result, loaded.names_for(num_classes))
    print(f"written to {printable(arguments.out)}: verdict.json, log.txt, triggers/, pictures")
    print(f"report: {printable(Path(arguments.out) / 'report.html')}")
    return exit_code(result)


def scan_with_progress(
    out: str | Path, model: "keras.Model", data: "LabelledImages", *, callbacks: Sequence["ScanCallback"] = (), **how: Any
) -> "ScanResult":
    """Return the result of `nc_tf.scan_to_folder`, with progress on stderr.

    Ctrl-C ends it at once.

    Args:
        out: the scan folder.
        model: the model.
        data: clean images.
        callbacks: called beside the progress.
        how: other arguments of `scan_to_folder`.

    Raises:
        InputError: `scan_to_folder` cannot scan.
    """
    from nc_tf.cli.progress import ScanProgress
    from nc_tf.folder_scan import scan_to_folder

    with ScanProgress() as progress:
        return scan_to_folder(out, model, data, callbacks=[progress, *callbacks], around=interruptible, **how)


def exit_code(result: "ScanResult") -> int:
    """Return 0 for no outlier, 1 for backdoor suspected, 3 for inconclusive."""
    from nc_tf.results import Verdict

    return {Verdict.NO_OUTLIER: 0, Verdict.SUSPECTED: 1, Verdict.INCONCLUSIVE: 3}[result.verdict]


def print_result(result: "ScanResult", names: Sequence[str] | None = None) -> None:
    """Print the verdict, and the labels with the smallest norms."""
    print(f"{result.verdict}: {result.reason}")
    if not math.isnan(result.median):  # NaN: too few norms for a verdict
        print(f"median {result.median:.2f}, MAD {result.mad:.2f}, anomaly index {result.anomaly_index:.2f}")
    print_recognition(result)
    if not any(entry.rounds for entry in result.labels):
        print("no label was searched")
        print_doubt(result)
        return
    print("label    norm   index     ASR  without trigger  status" + ("           name" if names else ""))
    for entry in sorted(result.labels, key=lambda entry: (not entry.succeeded, entry.trigger.l1_norm))[:5]:
        mark = "  <- flagged" if entry.label in result.flagged else ""
        status = f"{entry.status:15}  {names[entry.label]}" if names else entry.status
        print(
            f"{entry.label:5d} {entry.trigger.l1_norm:7.2f} {entry.anomaly_index:7.2f} {entry.attack_success_rate:7.4f} "
            f"{entry.zero_trigger_rate:16.4f}  {status}{mark}"
        )
    print_detections(result, names)
    print_doubt(result)


def print_detections(result: "ScanResult", names: Sequence[str] | None) -> None:
    """Print what each detector says, and the changes and pairs that are flagged."""
    for detection in result.detections:
        print(f"looked for {detection.looked_for}: {detection.verdict}")
    for change in result.flagged_changes:
        name = names[change.label] if names else f"label {change.label}"
        print(f"flagged: {change.sized} -> {name}, {change.attack_success_rate:.1%} of held-out {result.unit.many}")
    for source, target, rate in result.pair_rates:
        called = [names[label] if names else f"label {label}" for label in (source, target)]
        print(f"flagged: {called[0]} -> {called[1]}, {rate:.1%} of held-out {result.unit.many}")


def print_recognition(result: "ScanResult") -> None:
    """Print the range of pixels, and the accuracy on the images."""
    tried = result.settings.get("intensity_ranges_tried")
    found = f", found by trying {', '.join(tried)}" if tried else ""
    fed = f"; intensity range: {result.settings['intensity_range']}{found}" if "intensity_range" in result.settings else ""
    accuracy = "not known" if math.isnan(result.model_accuracy) else f"{result.model_accuracy:.1%}"
    print(f"accuracy on the given {result.unit.many}: {accuracy}{fed}")


def print_doubt(result: "ScanResult") -> None:
    """Print warnings and a lack of held-out images on stderr."""
    for warning in result.warnings:
        print(f"doubtful: {warning}", file=sys.stderr)
    searched, held_out = (result.settings.get(f"images_{part}") for part in ("searched", "held_out"))
    if held_out == 0:
        too_few = f"{searched} {result.unit.many} are too few to keep some from the search"
        print(f"doubtful: {too_few}: no trigger is measured on held-out ones; give more", file=sys.stderr)
