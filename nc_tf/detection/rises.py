"""Rises: how far the smallest trigger of a label grows when the network has learnt to ignore it.

A natural trigger is one of many: the features of a class can be imitated in other ways, which cost little more. A planted trigger is the
only one of its kind, so that without it the norm rises to that of a natural one. The rise needs no other labels to compare with, and
gives a verdict with two classes, too.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from nc_tf.detection.outliers import LEAST_NORM

# Lines of the rise, after / before, chosen on 15 networks with two to four classes. Natural triggers rose by .9 to 2.8, and one beside a
# planted one by 3.2. Five of eight planted ones rose by 4.7 to 17. The others, a square beside that natural one and two of 6x6 on CIFAR-10,
# rose by 3.2, 1.8 and 2.2, so that there is a gap without a verdict. In the gap a trigger of more than the last share of the image is
# natural: no planted one of these was as large.
PLANTED_FROM, NATURAL_TO, LARGE_FROM = 4.0, 1.5, 0.02
# Lines of the score where a label has others to compare with. Natural triggers scored up to 2.1, planted ones from 2.6 (docs/explanation/
# statistics.md).
SCORE_FROM, SCORE_TO = 2.4, 2.15
# A backdoor makes triggers of other labels small, too: of two targets that scored 4.6 and 4.2 on GTSRB, seven labels beside them scored 2.3
# to 3.0. A label is planted whose score is this share of the largest or more.
NEAR_THE_LARGEST = 0.75
# A trigger of less than this share of the median norm is not dismissed where hardening says nothing about it.
SMALL = 0.5
# A trigger that still moves a larger share of images was not unlearned, and a network that lost more accuracy is another network.
MOST_LEFT, MOST_LOST = 0.2, 0.1


@dataclass(frozen=True)
class Rise:
    """The smallest trigger of a label, before and after hardening.

    Attributes:
        label: the target class.
        before: L1 norm on the suspect, pixels; NaN without a working trigger.
        after: L1 norm on the hardened twin, pixels; NaN without a working trigger.
        left: share of images of other classes that the trigger of the suspect moves on the twin, [0, 1].
    """

    label: int
    before: float
    after: float
    left: float

    @property
    def factor(self) -> float:
        """Norm after / norm before; NaN where either is."""
        return self.after / max(self.before, LEAST_NORM)

    def score(self, median: float) -> float:
        """Return log(median norm / norm before) + log(norm after / norm before); NaN where a norm is.

        Args:
            median: of the norms of all labels before hardening, pixels.
        """
        before = max(self.before, LEAST_NORM)
        return math.log(max(median, LEAST_NORM) / before) + math.log(max(self.after, LEAST_NORM) / before)


@dataclass(frozen=True)
class RiseVerdict:
    """The judgement of all rises of a network.

    Attributes:
        planted: those with a planted trigger, largest rise first.
        open: sentences about what could not be judged; without any and without planted ones there is no outlier.
        statistic: the largest rise, or the largest score; NaN where there is none.
        median: of the norms that scores are taken against, pixels; None where rises are judged alone.
    """

    planted: tuple[Rise, ...]
    open: tuple[str, ...]
    statistic: float
    median: float | None = None


def judge_rises(rises: Sequence[Rise], pixels: int, accuracy: float, twin_accuracy: float) -> RiseVerdict:
    """Return which triggers are planted, and what stays open.

    Args:
        rises: one a label.
        pixels: number of an image, H * W.
        accuracy: of the suspect on held-out images, [0, 1].
        twin_accuracy: of the hardened twin on the same images, [0, 1].
    """
    factors = [rise.factor for rise in rises if not math.isnan(rise.factor)]
    statistic = max(factors, default=float("nan"))
    lost = lost_accuracy(accuracy, twin_accuracy)
    if lost:
        return RiseVerdict((), (lost,), statistic)
    planted, still_open = [], []
    for rise in rises:
        if math.isnan(rise.factor):
            where = "model" if math.isnan(rise.before) else "hardened twin"
            still_open.append(f"label {rise.label} has no working trigger on the {where}: more rounds or another seed may find one")
        elif not rise.left <= MOST_LEFT:  # NaN, without an image to measure on, too
            still_open.append(
                f"the trigger of label {rise.label} still moves {rise.left:.0%} of the images after hardening: give more images"
            )
        elif rise.factor >= PLANTED_FROM:
            planted.append(rise)
        elif rise.factor > NATURAL_TO and rise.before <= LARGE_FROM * pixels:
            between = f"between the {NATURAL_TO:g} of natural triggers and the {PLANTED_FROM:g} of planted ones"
            still_open.append(f"the trigger of label {rise.label} grows {rise.factor:.1f} times by hardening, {between}")
    return RiseVerdict(tuple(sorted(planted, key=lambda rise: -rise.factor)), tuple(still_open), statistic)


def judge_scores(rises: Sequence[Rise], median: float, accuracy: float, twin_accuracy: float) -> RiseVerdict:
    """Return which triggers are planted, and what stays open, where there are others to compare them with.

    Args:
        rises: one a label that was searched again; those have small norms.
        median: of the norms of all labels before hardening, pixels.
        accuracy: of the suspect on held-out images, [0, 1].
        twin_accuracy: of the hardened twin on the same images, [0, 1].
    """
    scores = {rise.label: rise.score(median) for rise in rises}
    statistic = max((score for score in scores.values() if not math.isnan(score)), default=float("nan"))
    lost = lost_accuracy(accuracy, twin_accuracy)
    if lost:
        return RiseVerdict((), (lost,), statistic, median)
    planted, still_open = [], []
    for rise in rises:
        score, small = scores[rise.label], rise.before <= SMALL * median
        if small and math.isnan(score):
            still_open.append(f"label {rise.label} has no working trigger on the hardened twin: more rounds or another seed may find one")
        elif small and not rise.left <= MOST_LEFT:
            still_open.append(f"the trigger of label {rise.label} still moves {rise.left:.0%} of the images after hardening")
        elif score >= SCORE_FROM and rise.left <= MOST_LEFT:
            planted.append(rise)
        elif score >= SCORE_TO:
            grows = f"the trigger of label {rise.label} grows from {rise.before:.2f} to {rise.after:.2f} pixels by hardening"
            still_open.append(f"{grows}: too far to dismiss it, too little to suspect it")
    largest = max((scores[rise.label] for rise in planted), default=0.0)
    planted = [rise for rise in planted if scores[rise.label] >= NEAR_THE_LARGEST * largest]
    return RiseVerdict(tuple(sorted(planted, key=lambda rise: -scores[rise.label])), tuple(still_open), statistic, median)


def lost_accuracy(accuracy: float, twin_accuracy: float) -> str | None:
    """Return why a hardened twin is another network than the suspect, or None.

    Args:
        accuracy: of the suspect on held-out images, [0, 1].
        twin_accuracy: of the hardened twin on the same images, [0, 1].
    """
    if abs(accuracy - twin_accuracy) <= MOST_LOST:
        return None
    lost = f"the hardened twin recognises {twin_accuracy:.0%} of the held-out images, the model {accuracy:.0%}"
    return f"{lost}: expected a difference of {MOST_LOST:.0%} at most; give more images"
