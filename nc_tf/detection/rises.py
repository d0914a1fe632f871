"""Rises: how far the smallest trigger of a label grows when the network has learnt to ignore it.

A natural trigger is one of many: the features of a class can be imitated in other ways, which cost little more. A planted trigger is the
only one of its kind, so that without it the norm rises to that of a natural one. The rise needs no other labels to compare with, and
gives a verdict with two classes, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nc_tf.detection.outliers import LEAST_NORM

# Lines of the rise, after / before. Between them a trigger of more than this share of the image is natural: such rise by up to 2.8.
PLANTED_FROM, NATURAL_TO, LARGE_FROM = 3.0, 1.5, 0.02
# Between the lines clean twins decide: a planted trigger moves fewer of their images, and its successor, a natural one, this many more.
MOST_BEFORE, LEAST_GAINED = 0.1, 0.4
# A trigger that still moves a larger share of images was not unlearned, and a network that lost more accuracy is another network.
MOST_LEFT, MOST_LOST = 0.2, 0.1


@dataclass(frozen=True)
class Rise:
    """The smallest trigger of a label, or of a pair, before and after hardening.

    Attributes:
        label: the target class.
        before: L1 norm on the suspect, pixels; NaN without a working trigger.
        after: L1 norm on the hardened twin, pixels; NaN without a working trigger.
        left: share of images of other classes that the trigger of the suspect moves on the twin, [0, 1].
        source: the class that images are of; None for all others.
        moved_before: share of images that a clean twin newly gives the label with the trigger of the suspect, [-1, 1]; NaN without a twin.
        moved_after: the same with the trigger of the hardened twin.
    """

    label: int
    before: float
    after: float
    left: float
    source: int | None = None
    moved_before: float = float("nan")
    moved_after: float = float("nan")

    @property
    def factor(self) -> float:
        """Norm after / norm before; NaN where either is."""
        return self.after / max(self.before, LEAST_NORM)

    @property
    def works_here_alone(self) -> bool:
        """Whether a clean twin ignores this trigger, and obeys the one that takes its place."""
        return self.moved_before <= MOST_BEFORE and self.moved_after - self.moved_before >= LEAST_GAINED

    @property
    def name(self) -> str:
        """The label, or the pair, in messages."""
        return f"label {self.label}" if self.source is None else f"{self.source} -> {self.label}"


@dataclass(frozen=True)
class RiseVerdict:
    """The judgement of all rises of a network.

    Attributes:
        planted: those with a planted trigger, largest rise first.
        open: sentences about what could not be judged; without any and without planted ones there is no outlier.
        statistic: the largest rise; NaN where there is none.
    """

    planted: tuple[Rise, ...]
    open: tuple[str, ...]
    statistic: float


def judge_rises(rises: Sequence[Rise], pixels: int, accuracy: float, twin_accuracy: float) -> RiseVerdict:
    """Return which triggers are planted, and what stays open.

    Args:
        rises: one a label or pair.
        pixels: number of an image, H * W.
        accuracy: of the suspect on held-out images, [0, 1].
        twin_accuracy: of the hardened twin on the same images, [0, 1].
    """
    factors = [rise.factor for rise in rises if not math.isnan(rise.factor)]
    statistic = max(factors, default=float("nan"))
    if not twin_accuracy >= accuracy - MOST_LOST:
        lost = f"the hardened twin recognises {twin_accuracy:.0%} of the images, the model {accuracy:.0%}"
        return RiseVerdict((), (f"{lost}: expected at most {MOST_LOST:.0%} less; give more images",), statistic)
    planted, still_open = [], []
    for rise in rises:
        if math.isnan(rise.factor):
            where = "model" if math.isnan(rise.before) else "hardened twin"
            still_open.append(f"{rise.name} has no working trigger on the {where}: more rounds or another seed may find one")
        elif rise.left > MOST_LEFT:
            still_open.append(f"the trigger of {rise.name} still moves {rise.left:.0%} of the images after hardening: give more images")
        elif rise.factor >= PLANTED_FROM or (_is_between(rise, pixels) and rise.works_here_alone):
            planted.append(rise)
        elif _is_between(rise, pixels):
            between = f"between the {NATURAL_TO:g} of natural triggers and the {PLANTED_FROM:g} of planted ones"
            still_open.append(f"the trigger of {rise.name} grows {rise.factor:.1f} times by hardening, {between}")
    return RiseVerdict(tuple(sorted(planted, key=lambda rise: -rise.factor)), tuple(still_open), statistic)


def _is_between(rise: Rise, pixels: int) -> bool:
    return NATURAL_TO < rise.factor < PLANTED_FROM and rise.before <= LARGE_FROM * pixels
