"""Choice of the detectors of a scan: by request, or all that its preset, classes and inputs allow."""

from collections.abc import Sequence
from dataclasses import dataclass

from nc_tf.detection.inconclusive import FEWEST_LABELS
from nc_tf.detection.verdict import NAME as ONE_LABEL
from nc_tf.errors import InputError
from nc_tf.results import Unit
from nc_tf.scanning.changes import CHANGES

# Beside the search of labels, which always runs, in the order in which they run.
# With more classes the search by source runs on request alone: it takes about as long as that of the labels.
MOST_SOURCES = 50
BESIDE = ("all-to-all", "hardening", "source-specific", *CHANGES)


@dataclass(frozen=True)
class Circumstances:
    """Facts of a scan that decide which detectors can run.

    Attributes:
        preset: name of the preset.
        robust: whether its rule is the robust one.
        prescreens: whether a pre-screening leaves out labels.
        image_shape: (H, W, C) of images, or (T, H, W, C) of clips.
        num_classes: of the model.
        num_labels: labels to search.
        num_seen: classes of the images that are searched on.
        num_held_out: held-out images.
        upsample_size: side of the mask's super-pixels, pixels.
    """

    preset: str
    robust: bool
    prescreens: bool
    image_shape: tuple[int, ...]
    num_classes: int
    num_labels: int
    num_seen: int
    num_held_out: int
    upsample_size: int


def chosen(asked: Sequence[str] | None, scan: Circumstances) -> tuple[str, ...]:
    """Return the names of the detectors that run, that of the search of labels first.

    Args:
        asked: names; None for all that can run.
        scan: the circumstances.

    Raises:
        InputError: one that is asked for cannot run.
    """
    if asked is None:
        beside = [name for name in BESIDE if obstacle(name, scan) is None]
        return ONE_LABEL, *(name for name in beside if name != "source-specific" or scan.num_classes <= MOST_SOURCES)
    for name in asked:
        expected = None if name == ONE_LABEL else obstacle(name, scan)
        if expected:
            raise InputError(f"detector {name}: expected {expected}; leave it out of the detectors")
    return ONE_LABEL, *(name for name in BESIDE if name in asked)


def obstacle(name: str, scan: Circumstances) -> str | None:
    """Return what would have to be otherwise for a detector to run, or None."""
    unit, few = Unit.of(scan.image_shape), scan.num_classes < FEWEST_LABELS
    conditions = [
        (scan.robust, f"preset robust or low-cost, not {scan.preset}"),
        # On clips they would take as long as the search of labels, and were not measured.
        (unit is Unit.IMAGE, "a model for images, not for clips"),
        # Triggers, norms and sizes are compared with those of all labels.
        (scan.num_labels == scan.num_classes, f"all {scan.num_classes} labels to be searched, not {scan.num_labels}"),
    ]
    if name == "all-to-all":
        # Two classes that are sent to each other are two labels with small triggers.
        conditions.append((scan.num_classes > 2, "a model of three classes or more, not of 2"))
    if name == "hardening":
        conditions.append((not scan.prescreens, "preset robust, because a pre-screening leaves labels out"))
        conditions.append((scan.num_held_out > 0, "held-out images; give more images"))
    if name == "source-specific":
        # With two classes a trigger of one of them is that of a label.
        conditions.append((scan.num_classes > 2, "a model of three classes or more, not of 2"))
        conditions.append((scan.num_seen > 1, "images of two classes or more"))
        conditions.append((scan.num_held_out > 0, "held-out images; give more images"))
    if name in CHANGES:
        conditions.append((not few, f"a model of {FEWEST_LABELS} classes or more, not of {scan.num_classes}"))
        # A pre-screening is there to save searches of hundreds of labels, and each of these takes seven times as long as one of its own.
        conditions.append((not scan.prescreens, "preset robust, because a pre-screening leaves labels out"))
        conditions.append((scan.num_seen > 1, "images of two classes or more"))
    if name != "hardening":
        conditions.append((scan.upsample_size == 1, "super-pixels of one pixel (--upsample 1)"))
    if name == "warp":
        conditions.append((min(scan.image_shape[-3:-1]) > 1, "images of 2x2 pixels or more"))
    return next((expected for holds, expected in conditions if not holds), None)
