"""Outliers among the opacities of triggers that cover the whole image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nc_tf.detection.outliers import USUAL_SPREAD, find_outliers, largest_by_chance, log_norms, moderated_spread

# Spread of the natural logarithms of opacities in networks without such a backdoor; benchmarks/results/candidates.json has the networks.
# It is lower than that of mask norms, because no label has an area of its own that a faint picture could save.
USUAL_OPACITY_SPREAD = 0.2
# A percent, so that `log_norms` cuts off below an opacity of .0001, which no eight-bit image can show.
PERCENT = 100.0


@dataclass(frozen=True, eq=False)
class Faint:
    """The opacities of all labels, measured against their median.

    Attributes:
        median: median opacity, [0, 1].
        mad: MAD of the natural logarithms.
        index: (K,) float64, distance below the median in units of the moderated spread; negative above the median.
        chance: (K,) float64, share of clean networks with K labels whose largest index reaches this one, [0, 1].
    """

    median: float
    mad: float
    index: np.ndarray
    chance: np.ndarray


def judge_opacities(opacities: Sequence[float] | np.ndarray) -> Faint:
    """Measure each label's opacity against the median of all.

    The rule is that of mask norms (`nc_tf.detection.outliers`), with a usual spread of its own.

    Args:
        opacities: (K,), K >= 3, in [0, 1]: smallest opacity of a picture that sends nine of ten images to the label.

    Raises:
        ValueError: fewer than three labels, or an opacity that is not finite.
    """
    if len(opacities) < 3:
        raise ValueError(f"{len(opacities)} opacities: expected three or more; with fewer none is usual")
    # In these units the usual spread is the one that the rule was made for.
    unit = USUAL_OPACITY_SPREAD / USUAL_SPREAD
    logs = log_norms(PERCENT * np.asarray(opacities, np.float64)) / unit
    found = find_outliers(logs)
    index = (found.median - logs) / moderated_spread(found.mad, len(logs))
    by_chance = largest_by_chance(len(logs))
    chance = 1.0 - np.searchsorted(by_chance, index, side="left") / len(by_chance)
    return Faint(float(np.median(opacities)), found.mad * unit, index, chance)
