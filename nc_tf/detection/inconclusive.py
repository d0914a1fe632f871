"""What a scan has to stand on before its norms mean anything: a model that recognises the images, and images that are enough."""

import hashlib

import numpy as np

from nc_tf.detection.recognition import Recognition
from nc_tf.detection.verdict import Limit
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.results import Trigger, Unit

# Distinct images, and classes that they are of, below which clean networks were suspected (docs/scan-presets.md, "What a scan needs").
FEWEST_IMAGES = 10
FEWEST_CLASSES = 5


def limits_of_network(network: FrozenNetwork) -> list[Limit]:
    """Say why no search of a network can see anything, if that is so."""
    return [] if network.no_gradient is None else [Limit(network.no_gradient, blocks_suspicion=True)]


def limit_of_unknown_classes(unit: Unit, *, raw_assumed: bool) -> Limit:
    """Say what is not known where the classes are not given; a range that was merely assumed may be the wrong one."""
    reason = f"the classes of the {unit.many} are not given, so that it is not known how many of them the model recognises"
    if raw_assumed:
        reason += ", and the intensity range raw was assumed: give the classes, or name the range"
    return Limit(reason, blocks_suspicion=raw_assumed)


def limit_of_recognition(recognition: Recognition) -> list[Limit]:
    """Say what a low accuracy on the given images forbids."""
    if recognition.enough:
        return []
    return [Limit(recognition.sentence, blocks_suspicion=recognition.near_chance)]


def limit_of_patch(patch: Trigger, rate: float, unit: Unit) -> Limit:
    """Say that a small patch moves many images, though no search found a trigger as small."""
    rows, columns = (np.flatnonzero(patch.mask.any(axis=axis)) for axis in (1, 0))
    where = f"rows {rows[0]} to {rows[-1]} and columns {columns[0]} to {columns[-1]}"
    reason = f"a patch of {patch.l1_norm:.0f} pixels at {where} sends {rate:.0%} of unseen {unit.many} to label {patch.label}"
    return Limit(f"{reason}, though no search found so small a trigger")


def limits_of_images(images: np.ndarray, rows: np.ndarray, labels: np.ndarray, num_classes: int) -> list[Limit]:
    """Say what too few images, or images of too few classes, forbid.

    Args:
        images: (M, ..., C).
        rows: (N,) of these the ones that triggers are searched on.
        labels: (N,) their classes.
        num_classes: of the model.
    """
    many = Unit.of(images.shape[1:]).many
    distinct = _distinct(images, rows)
    classes, needed = len(np.unique(labels)), min(num_classes, FEWEST_CLASSES)
    limits = []
    if distinct < FEWEST_IMAGES:
        limits.append(f"{distinct} different {many} to search on: expected {FEWEST_IMAGES} or more; give more")
    if classes < needed:
        limits.append(f"{many} of {classes} of the model's {num_classes} classes to search on: expected {needed} or more; add others")
    return [Limit(f"{reason}: small norms mean nothing with so few", blocks_suspicion=True) for reason in limits]


def _distinct(images: np.ndarray, rows: np.ndarray) -> int:
    """How many different images there are at these rows, counted up to `FEWEST_IMAGES`."""
    seen: set[bytes] = set()
    for row in rows:
        seen.add(hashlib.sha256(np.ascontiguousarray(images[row]).data).digest())
        if len(seen) >= FEWEST_IMAGES:
            break
    return len(seen)
