"""The all-to-all detector: a small trigger that sends classes to different labels.

The norm of the untargeted search is compared with those of the labels. In a network without a backdoor it is that of the label that is
easiest to reach, and all classes go to that label. Two conditions make it suspicious: it is smaller than the smallest norm of a label by
more than clean networks show, and the classes go to several labels.
"""

from collections.abc import Sequence

import numpy as np

from nc_tf.detection.inconclusive import FEWEST_CLASSES, LEAST_SUCCESS, is_compared
from nc_tf.detection.outliers import LEAST_NORM
from nc_tf.results import Detection, LabelResult, Status, UntargetedResult, Verdict

NAME, LOOKED_FOR = "all-to-all", "one trigger that sends every class to another one"
# Most of the moved classes that may go to one label. With three classes all to one is two of three.
MOST_TO_ONE = 0.5
# Logarithm of the smallest norm of a label over that of the untargeted search. Two lines in place of a p-value: five networks without
# such a backdoor showed -1.7 to -.2, one with it 1.2 (docs/explanation/statistics.md).
SUSPECT_ABOVE, UNDECIDED_ABOVE = np.log(2.0), np.log(1.5)


def judge_untargeted(found: UntargetedResult, labels: Sequence[LabelResult]) -> Detection:
    """Return what the untargeted search says.

    Args:
        found: its result.
        labels: results of the labels.
    """
    nan = float("nan")
    unknown = _unknown(found)
    if unknown:
        return Detection(NAME, LOOKED_FOR, nan, nan, Verdict.INCONCLUSIVE, unknown)
    if not found.status.succeeded:
        words = f"no trigger takes every class away from itself: the best moves {found.attack_success_rate:.0%} of held-out images"
        return Detection(NAME, LOOKED_FOR, 0.0, nan, Verdict.NO_OUTLIER, words)
    compared = [entry.trigger.l1_norm for entry in labels if is_compared(entry, "robust")]
    if not compared:
        return Detection(NAME, LOOKED_FOR, nan, nan, Verdict.INCONCLUSIVE, "no label has a working trigger to compare it with")
    norm, smallest = found.trigger.l1_norm, min(compared)
    statistic = float(np.log(max(smallest, LEAST_NORM) / max(norm, LEAST_NORM)))
    several = found.largest_share <= MOST_TO_ONE
    size = f"a trigger of {norm:.2f} pixels takes {found.attack_success_rate:.0%} of held-out images to another class"
    if not several:
        return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.NO_OUTLIER, f"{size}, most classes to one label, as clean networks do")
    against = f"{size}, to different labels, where the smallest trigger of a single label has {smallest:.2f}"
    if statistic <= UNDECIDED_ABOVE:
        return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.NO_OUTLIER, against)
    if found.attack_success_rate < LEAST_SUCCESS:
        return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.INCONCLUSIVE, f"{against}: too few of them to suspect it")
    if statistic <= SUSPECT_ABOVE:
        return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.INCONCLUSIVE, f"{against}: too little to tell")
    return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.SUSPECTED, against, pairs=found.trigger.pairs)


def _unknown(found: UntargetedResult) -> str | None:
    """Return why the result says nothing, or None."""
    measured, needed = len(np.unique(found.labels)), min(len(found.trigger.targets), FEWEST_CLASSES)
    if measured < needed:
        return f"recognised held-out images are of {measured} classes: expected {needed} or more to see where a trigger sends them"
    if found.status is Status.NONFINITE or (found.answers < 0).any():
        return "the model's answers became NaN or infinity, so that the search for an all-to-all trigger says nothing"
    return None
