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
        rises: one a label.
        pixels: number of an image, H * W.
        accuracy: of the suspect on held-out images, [0, 1].
        twin_accuracy: of the hardened twin on the same images, [0, 1].
    """
    factors = [rise.factor for rise in rises if not math.isnan(rise.factor)]
    statistic = max(factors, default=float("nan"))
    if not abs(twin_accuracy - accuracy) <= MOST_LOST:
        lost = f"the hardened twin recognises {twin_accuracy:.0%} of the images, the model {accuracy:.0%}"
        return RiseVerdict((), (f"{lost}: expected a difference of {MOST_LOST:.0%} at most; give more images",), statistic)
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
