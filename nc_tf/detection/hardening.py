"""The hardening detector: triggers without which a label is far harder to reach."""

import math

from nc_tf.detection.rises import PLANTED_FROM, SCORE_TO, RiseVerdict
from nc_tf.results import Detection, Verdict

NAME, LOOKED_FOR = "hardening", "a small trigger that no other replaces once the model ignores it"


def judge_hardening(found: RiseVerdict) -> Detection:
    """Return what the rises of the norms say.

    With two to four classes it says nothing without a planted trigger: on too few clean networks it was right (docs/explanation/
    statistics.md).

    Args:
        found: the judgement of all rises.
    """
    nan = float("nan")
    if found.planted:
        words = ", ".join(f"label {rise.label} from {rise.before:.2f} to {rise.after:.2f}" for rise in found.planted)
        usual = f"and that of natural triggers less than {PLANTED_FROM:g} times"
        if found.median is not None:
            usual = f"where the median is {found.median:.2f}"
        reason = f"hardening against the triggers raises the norm of {words} pixels, {usual}"
        labels = tuple(rise.label for rise in found.planted)
        return Detection(NAME, LOOKED_FOR, found.statistic, nan, Verdict.SUSPECTED, reason, labels)
    if found.median is not None and not found.open:
        score = "no label is left to score" if math.isnan(found.statistic) else f"the largest score of a label is {found.statistic:.2f}"
        reason = f"hardening against the smallest triggers: {score}, below the line of {SCORE_TO:g}"
        return Detection(NAME, LOOKED_FOR, found.statistic, nan, Verdict.NO_OUTLIER, reason)
    reason = (
        "; ".join(found.open) or f"the norm of no label rises more than {found.statistic:.1f} times by hardening, too little to suspect one"
    )
    return Detection(NAME, LOOKED_FOR, found.statistic, nan, Verdict.INCONCLUSIVE, reason)
