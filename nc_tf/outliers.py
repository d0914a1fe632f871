"""Median absolute deviation over mask norms (paper section IV-B). Knows neither models nor files."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Makes the MAD of a normal sample estimate its standard deviation.
CONSISTENCY = 1.4826
PAPER_INDEX = 2.0


@dataclass(frozen=True, eq=False)
class Outliers:
    """Attributes:
    median: of the norms.
    mad: 1.4826 times the median distance from it.
    index: (N,) float64, distance from the median in units of MAD; with a MAD of zero 0 at the median and infinite elsewhere.
    flagged: positions below the median with an index above the threshold, smallest norm first.
    """

    median: float
    mad: float
    index: np.ndarray
    flagged: tuple[int, ...]


def find_outliers(norms: Sequence[float] | np.ndarray, threshold: float = PAPER_INDEX) -> Outliers:
    """Flag the norms that are too small to belong. The median of an even number of norms is the mean of the middle two.

    Args:
        norms: (N,), N >= 1, finite.
        threshold: index above which a norm below the median is flagged.

    Raises:
        ValueError: no norms, or one that is not finite.
    """
    values = np.asarray(norms, np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise ValueError(f"norms {values}: expected at least one, all finite; leave out labels whose search failed")
    median = float(np.median(values))
    distance = np.abs(values - median)
    mad = float(CONSISTENCY * np.median(distance))
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where(distance == 0.0, 0.0, distance / mad)
    order = np.argsort(values, kind="stable")
    flagged = tuple(int(position) for position in order if values[position] < median and index[position] > threshold)
    return Outliers(median, mad, index, flagged)
