"""Reasons for which a scan is inconclusive, with their thresholds.

A reason is a `Limit` on what the norms may say, or the sentence of a rule that reaches no verdict. `verdict.judge` applies both.
Thresholds of accuracy are in `recognition`, those of p-values are in `levels`, and those of the gradient are in `models.frozen`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nc_tf.detection.levels import Level
from nc_tf.detection.outliers import FEWEST_LABELS, LEAST_NORM, find_outliers, log_norms, split_groups, spread_chance
from nc_tf.detection.rates import upper_bound
from nc_tf.results import LabelResult, Status, Trigger, Unit

if TYPE_CHECKING:
    from nc_tf.detection.recognition import Recognition
    from nc_tf.models.frozen import FrozenNetwork

# Distinct images, and classes that they are of, below which clean networks were suspected (docs/how-to/inconclusive.md).
FEWEST_IMAGES = 10
FEWEST_CLASSES = 5
# A trigger that succeeds on fewer held-out images than this is overfitted to the images that it was searched on.
LEAST_SUCCESS = 0.8
# A label that the model gives to a larger share of images of other classes needs no trigger, so that its norm says nothing.
MOST_WITHOUT_TRIGGER = 0.5
# A patch is reported if it moves this share of held-out images, beyond those that get the label anyway. One of eleven published networks
# that are believed clean has a patch of 3x3 pixels that moves 56 % (benchmarks/scan/strangers.py).
WORTH_TELLING = 0.6
# Norms fall into two groups where fewer than this share of networks without a backdoor split as cleanly, and the groups are this far apart.
UNUSUAL, GROUPS_APART = 0.01, 2.0
# The lower of two groups is suspicious up to this share of the labels.
MOST_LOW = 0.75


@dataclass(frozen=True)
class Limit:
    """A reason why a scan says less than its norms do.

    Attributes:
        reason: one sentence.
        blocks_suspicion: whether a small norm means nothing either, so that even "backdoor suspected" would be more than was seen.
    """

    reason: str
    blocks_suspicion: bool = False


# The network and the images


def limits_of_network(network: "FrozenNetwork") -> list[Limit]:
    """Return the limit of a network without a gradient, if any."""
    return [] if network.no_gradient is None else [Limit(network.no_gradient, blocks_suspicion=True)]


def limit_of_unknown_classes(unit: Unit, *, raw_assumed: bool) -> Limit:
    """Return the limit of images whose classes are not given.

    Args:
        unit: images or clips.
        raw_assumed: whether the intensity range was assumed to be raw, which may be wrong.
    """
    reason = f"the classes of the {unit.many} are not given, so that it is not known how many of them the model recognises"
    if raw_assumed:
        reason += ", and the intensity range raw was assumed: give the classes, or name the range"
    return Limit(reason, blocks_suspicion=raw_assumed)


def limit_of_recognition(recognition: "Recognition") -> list[Limit]:
    """Return the limit of a low accuracy, if any."""
    if recognition.enough:
        return []
    return [Limit(recognition.sentence, blocks_suspicion=recognition.near_chance)]


def limits_of_images(images: np.ndarray, rows: np.ndarray, labels: np.ndarray, num_classes: int) -> list[Limit]:
    """Return the limits of too few images or classes.

    Args:
        images: (M, ..., C).
        rows: (N,) places of the images that triggers are searched on.
        labels: (N,) their classes.
        num_classes: number of classes of the model.
    """
    many = Unit.of(images.shape[1:]).many
    distinct = _count_distinct(images, rows)
    classes, needed = len(np.unique(labels)), min(num_classes, FEWEST_CLASSES)
    reasons = []
    if distinct < FEWEST_IMAGES:
        reasons.append(f"{distinct} different {many} to search on: expected {FEWEST_IMAGES} or more; give more")
    if classes < needed:
        reasons.append(f"{many} of {classes} of the model's {num_classes} classes to search on: expected {needed} or more; add others")
    return [Limit(f"{reason}: small norms mean nothing with so few", blocks_suspicion=True) for reason in reasons]


def _count_distinct(images: np.ndarray, rows: np.ndarray) -> int:
    """Count the different images at these rows, up to `FEWEST_IMAGES`."""
    digests: set[bytes] = set()
    for row in rows:
        digests.add(hashlib.sha256(np.ascontiguousarray(images[row]).data).digest())
        if len(digests) >= FEWEST_IMAGES:
            break
    return len(digests)


def limit_of_patch(patch: Trigger, rate: float, unit: Unit) -> Limit:
    """Return the limit of a small patch that moves many images.

    No search found a trigger as small.

    Args:
        patch: the opaque patch, with the label that it leads to.
        rate: share of held-out images of other classes that it moves, [0, 1].
        unit: images or clips.
    """
    rows, columns = (np.flatnonzero(patch.mask.any(axis=axis)) for axis in (1, 0))
    where = f"rows {rows[0]} to {rows[-1]} and columns {columns[0]} to {columns[-1]}"
    reason = f"a patch of {patch.l1_norm:.0f} pixels at {where} sends {rate:.0%} of held-out {unit.many} to label {patch.label}"
    return Limit(f"{reason}, though no search found so small a trigger")


# Which norms count


def is_compared(entry: LabelResult, rule: str) -> bool:
    """Tell whether the rule takes a label's norm into account."""
    return entry.succeeded and (rule == "paper" or not (_succeeds_too_rarely(entry) or _needs_no_trigger(entry)))


def _succeeds_too_rarely(entry: LabelResult) -> bool:
    """Tell whether the true success rate is too low.

    An upper bound of the measured rate decides. A rate that could not be measured counts as high enough.
    """
    return entry.attack_success_rate == 0.0 or upper_bound(entry.attack_success_rate, entry.num_measured) < LEAST_SUCCESS


def _needs_no_trigger(entry: LabelResult) -> bool:
    return entry.zero_trigger_rate > MOST_WITHOUT_TRIGGER


# The labels and their norms


def limits_of_labels(labels: Sequence[LabelResult], rule: str, unit: Unit) -> list[Limit]:
    """Name the labels that may hide a backdoor, by reason.

    They were not searched to the end, or their norms are not compared.
    """
    searched = [entry for entry in labels if entry.rounds]
    by_reason = {
        "was not searched to the end, because the model's answers became NaN or infinity": [
            entry for entry in searched if entry.broke_down or entry.status is Status.NONFINITE
        ],
        "has no working trigger: more rounds or another seed may find one": [
            entry for entry in searched if entry.status is Status.NEVER_SUCCEEDED
        ],
    }
    if rule == "robust":
        working = [entry for entry in searched if entry.succeeded]
        without_trigger = [entry for entry in working if _needs_no_trigger(entry)]
        by_reason[f"is given to most {unit.many} of other classes without any trigger"] = without_trigger
        by_reason[f"has a trigger that succeeds on too few held-out {unit.many} to count"] = [
            entry for entry in working if _succeeds_too_rarely(entry) and entry not in without_trigger
        ]
    return [Limit(f"label {', '.join(str(entry.label) for entry in found)} {reason}") for reason, found in by_reason.items() if found]


def limits_of_norms(compared: Sequence[LabelResult]) -> list[Limit]:
    """Return the limit of norms that are no single group, if any."""
    if len(compared) < FEWEST_LABELS:
        return []
    logs = log_norms([entry.trigger.l1_norm for entry in compared])
    mad = find_outliers(logs).mad
    groups = split_groups(logs) if np.ptp(logs) > 0 else None
    few_above = groups is not None and groups.low > MOST_LOW * len(logs)  # a few labels that are hard to reach
    if groups and not few_above and groups.chance < UNUSUAL and groups.distance > np.log(GROUPS_APART):
        return [
            Limit(
                f"the norms fall into two groups, {groups.low} labels with norms {np.exp(groups.distance):.1f} times smaller than those of "
                f"the other {len(logs) - groups.low}: many labels may have a backdoor, and hide each other"
            )
        ]
    if spread_chance(mad, len(logs)) < UNUSUAL:
        return [
            Limit(
                f"the norms spread by a factor of {np.exp(mad):.1f}, as those of fewer than {UNUSUAL:.0%} of clean networks do: "
                "several labels may have a backdoor, and hide each other"
            )
        ]
    return []


# Norms that a rule reaches no verdict over


def too_few_norms(reference: Sequence[LabelResult], sample: Sequence[float], rule: str, unit: Unit) -> str | None:
    """Return the reason of too few norms, or None.

    A median and a MAD need `FEWEST_LABELS`.

    Args:
        reference: the labels that median and MAD are taken over.
        sample: their norms that count.
        rule: "paper" or "robust".
        unit: images or clips.
    """
    if len(sample) >= FEWEST_LABELS:
        return None
    reason = f"{len(sample)} of {len(reference)} labels have a working trigger, and median and MAD need {FEWEST_LABELS}"
    without_trigger = [entry.label for entry in reference if rule == "robust" and _needs_no_trigger(entry)]
    if without_trigger:
        names = ", ".join(map(str, without_trigger))
        reason += f"; the model answers label {names} for most {unit.many} of other classes without any trigger: "
        reason += "check the range of its input"
    return reason


def equal_norms(median: float, mad: float) -> str | None:
    """Return the reason of norms without any spread, or None."""
    if mad != 0.0:
        return None
    return f"at least half of the labels have the same norm, {median:.2f}, so that the MAD is zero and measures nothing"


def norms_near_zero(sample: Sequence[float]) -> str | None:
    """Return the reason of norms too small for logarithms, or None."""
    if np.median(sample) > LEAST_NORM:
        return None
    return f"at least half of the labels need less than {LEAST_NORM:g} pixels, where norms say nothing"


def undecided_chance(chance: float, level: Level, unit: Unit) -> str | None:
    """Return the reason of an undecided smallest norm, or None.

    It lies between suspicion and "no outlier".

    Args:
        chance: share of clean networks whose smallest norm is as far below the median.
        level: of the detector.
        unit: images or clips.
    """
    if chance > level.nothing_above:
        return None
    return f"too seldom to dismiss it, too often to suspect it; another seed, or more {unit.many}, may tell"


def doubtful_trigger(labels: Sequence[LabelResult], line: float, unit: Unit) -> str | None:
    """Return the reason of a small, doubtful trigger, or None.

    It succeeds too rarely to count, and may be a backdoor all the same: "no outlier" would pass over it.

    Args:
        labels: all labels.
        line: norm below which a label is suspicious, pixels.
        unit: images or clips.
    """
    rare = [entry for entry in labels if entry.succeeded and _succeeds_too_rarely(entry) and not _needs_no_trigger(entry)]
    small = [entry for entry in rare if entry.trigger.l1_norm < line]
    if not small:
        return None
    smallest = min(small, key=lambda entry: entry.trigger.l1_norm)
    return (
        f"the trigger of label {smallest.label} is small, {smallest.trigger.l1_norm:.2f} pixels where {line:.2f} would be suspicious, "
        f"but succeeds on only {smallest.attack_success_rate:.0%} of held-out {unit.many}: expected {LEAST_SUCCESS:.0%}; "
        f"more {unit.many} may tell"
    )
