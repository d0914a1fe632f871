"""Outliers among the sizes of changes to the whole image: opacities of pictures, or lengths of warps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nc_tf.detection.outliers import USUAL_SPREAD, find_outliers, largest_by_chance, log_norms, moderated_spread

# Usual spread of the natural logarithms of both: in clean networks of ten classes the MAD of opacities is .13 to .27, that of lengths
# .04 to .07 (`python -m benchmarks.population.candidates`). It is lower than that of mask norms, because no label has an area of its own.
USUAL_SIZE_SPREAD = 0.2
# `log_norms` then cuts off below an opacity, or a length, of .0001, which no eight-bit image can show.
PERCENT = 100.0


@dataclass(frozen=True, eq=False)
class Sizes:
    """The sizes of all labels, measured against their median.

    Attributes:
        median: median size.
        mad: MAD of the natural logarithms.
        index: (K,) float64, distance below the median in units of the moderated spread; negative above the median.
        chance: (K,) float64, share of clean networks with K labels whose largest index reaches this one, [0, 1].
    """

    median: float
    mad: float
    index: np.ndarray
    chance: np.ndarray


def judge_sizes(sizes: Sequence[float] | np.ndarray, worked: np.ndarray | None = None) -> Sizes:
    """Measure each label's size against the median of all.

    The rule is that of mask norms (`nc_tf.detection.outliers`), with a usual spread of its own.

    Args:
        sizes: (K,), K >= 3: smallest opacity of a picture, [0, 1], or smallest length of a warp, pixels, that sends nine of ten images
            to the label.
        worked: (K,) bool, whether the label's search found one; all by default. A size that never worked is no evidence of a short way,
            and counts as the largest of all: a SIG network had 1.3 pixels where its other warps have 2.8 to 3.9.

    Raises:
        ValueError: fewer than three labels, or a size that is not finite.
    """
    if len(sizes) < 3:
        raise ValueError(f"{len(sizes)} sizes: expected three or more; with fewer none is usual")
    values = np.asarray(sizes, np.float64)
    if worked is not None:
        values = np.where(worked, values, values.max())
    # In these units the usual spread is the one that the rule was made for.
    unit = USUAL_SIZE_SPREAD / USUAL_SPREAD
    logs = log_norms(PERCENT * values) / unit
    found = find_outliers(logs)
    index = (found.median - logs) / moderated_spread(found.mad, len(logs))
    by_chance = largest_by_chance(len(logs))
    chance = 1.0 - np.searchsorted(by_chance, index, side="left") / len(by_chance)
    return Sizes(float(np.median(values)), found.mad * unit, index, chance)
