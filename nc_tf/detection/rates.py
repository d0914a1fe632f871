"""An exact binomial bound of a measured rate."""

import math

from scipy.special import betaincinv

CONFIDENCE = 0.95


def upper_bound(rate: float, count: int | None) -> float:
    """Return the largest true rate that a measured one is compatible with.

    The bound is that of Clopper and Pearson (1934), one-sided, 95 %.

    Args:
        rate: share of successes, [0, 1], or NaN where nothing was measured.
        count: number of trials; None where it is not known, and the rate is taken for the true one.

    Returns:
        A rate in [0, 1]; 1 where nothing was measured.
    """
    if math.isnan(rate) or count == 0:
        return 1.0
    if count is None:
        return rate
    hits = round(rate * count)
    return 1.0 if hits == count else float(betaincinv(hits + 1, count - hits, CONFIDENCE))
