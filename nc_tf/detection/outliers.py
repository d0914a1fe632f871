"""Outliers among mask norms by their median absolute deviation (paper section IV-B), and the same under chance alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

# Makes the MAD of a normal sample estimate its standard deviation.
CONSISTENCY = 1.4826
PAPER_INDEX = 2.0
# A logarithm needs a norm above zero; a hundredth of a pixel is as good as none.
LEAST_NORM = 0.01
# Spread of the natural logarithms of norms in networks without a backdoor: the MAD of sixteen scans of eight clean networks on GTSRB is
# .16 to .27, and of infected ones up to .34 (docs/explanation/statistics.md). Other networks may spread by more, so the weight, in
# degrees of freedom, is low: with five of them one network in ten spreads by .44 or more.
USUAL_SPREAD, USUAL_WEIGHT = 0.25, 5.0
# Statistical efficiency of the MAD against the standard deviation of the same number of normal numbers.
EFFICIENCY = 0.37
# Networks simulated for an index, and random numbers drawn for them at most. The standard error of a rate of .01 is .0003 up to 80 labels
# and .0013 with 1,283; that of .0022, two ninths of one per cent, is .00015 and .0006.
INDEX_DRAWS, DRAWS = 100_000, 8_000_000
# Simulated networks, where each takes more than a random number a label.
GROUP_DRAWS = 20_000
# Labels that median and MAD are taken over at least, also where those of a lower group are left out.
FEWEST_LABELS = 5
# A lower group is smaller than all others by a factor of 1 + this over the number of labels: 2.5 with ten, 1.35 with 43. The more labels,
# the closer neighbours are. Clean networks show up to 1.36 with ten labels and 1.13 with 43 (docs/explanation/statistics.md).
GROUP_GAP = 15.0


@dataclass(frozen=True, eq=False)
class Outliers:
    """The norms of all labels, measured against their median.

    Attributes:
        median: median of the norms.
        mad: 1.4826 times the median distance from it.
        index: (N,) float64, distance from the median in units of MAD; with a MAD of zero 0 at the median and infinite elsewhere.
        flagged: positions below the median with an index above `PAPER_INDEX`, smallest norm first.
    """

    median: float
    mad: float
    index: np.ndarray
    flagged: tuple[int, ...]


def find_outliers(norms: Sequence[float] | np.ndarray, *, reference: Sequence[float] | np.ndarray | None = None) -> Outliers:
    """Flag the norms that are too small to belong to the others.

    The median of an even number of norms is the mean of the middle two.

    Args:
        norms: (N,), N >= 1, finite.
        reference: (M,), M >= 1, finite: norms that median and MAD are taken over; `norms` by default.

    Raises:
        ValueError: no norms, or one that is not finite.
    """
    values = np.asarray(norms, np.float64)
    sample = values if reference is None else np.asarray(reference, np.float64)
    for part in (values, sample):
        if part.size == 0 or not np.isfinite(part).all():
            raise ValueError(f"norms {part}: expected at least one, all finite; leave out labels whose search failed")
    median = float(np.median(sample))
    mad = float(CONSISTENCY * np.median(np.abs(sample - median)))
    distance = np.abs(values - median)
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where(distance == 0.0, 0.0, distance / mad)
    order = np.argsort(values, kind="stable")
    flagged = tuple(int(position) for position in order if values[position] < median and index[position] > PAPER_INDEX)
    return Outliers(median, mad, index, flagged)


def log_norms(norms: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return the natural logarithms of norms; those below `LEAST_NORM` count as that."""
    return np.asarray(np.log(np.maximum(norms, LEAST_NORM)))


def moderated_spread(mad: float | np.ndarray, sample: int) -> np.ndarray:
    """Return the spread of log norms, their MAD shrunk towards `USUAL_SPREAD`.

    The fewer labels the MAD is taken over, the more it is shrunk. A MAD of ten numbers is often half or twice the spread that they were
    drawn with. A MAD that is too small makes false outliers, and one that is too large hides true ones. Networks do not differ as much:
    see `USUAL_SPREAD`. The mean of the two variances, each weighed by its degrees of freedom, is Smyth's (2004, "Linear models and
    empirical Bayes methods", section 3).

    Args:
        mad: MAD of the natural logarithms, 0 or greater, as `find_outliers` returns it.
        sample: number of labels that the MAD is taken over, 3 or more.
    """
    weight = EFFICIENCY * (sample - 1)
    return np.sqrt((USUAL_WEIGHT * USUAL_SPREAD**2 + weight * np.square(mad)) / (USUAL_WEIGHT + weight))


def lower_groups(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Measure the lower group of labels that stands out most against the others.

    A group has two labels or more, and at most half of them. Several planted labels move the median and widen the MAD of all; they do not
    where these are taken over the others alone.

    Args:
        rows: (R, N) log norms, each row ascending.

    Returns:
        (R,) float64 index of the group's largest norm, in units of the others' `moderated_spread` below their median, -inf without such a
        group; (R,) int sizes of the groups, 0 without one.
    """
    count = rows.shape[1]
    index, low = np.full(len(rows), -np.inf), np.zeros(len(rows), int)
    for size in range(2, min(count // 2, count - FEWEST_LABELS) + 1):
        apart = np.flatnonzero(rows[:, size] - rows[:, size - 1] >= np.log(1 + GROUP_GAP / count))
        if apart.size:
            others = rows[apart, size:]
            median = np.median(others, axis=1)
            mad = CONSISTENCY * np.median(np.abs(others - median[:, None]), axis=1)
            found = (median - rows[apart, size - 1]) / moderated_spread(mad, count - size)
            better = found > index[apart]
            index[apart[better]], low[apart[better]] = found[better], size
    return index, low


@lru_cache(maxsize=32)
def largest_by_chance(num_labels: int, sample: int | None = None) -> np.ndarray:
    """Simulate clean networks, and return the largest index of each, sorted.

    An index is a distance below the median in units of `moderated_spread`: that of the smallest norm, or of a lower group if it is larger
    (`lower_groups`). The log norms of a simulated network are normal. Their spread differs from network to network as `USUAL_SPREAD` and
    `USUAL_WEIGHT` say. The share of draws above an index is the probability that a clean network shows such an index by chance.

    Args:
        num_labels: 3 or more.
        sample: number of labels that median and MAD are taken over, 3 or more; all by default. The fewer, the less precise both are.
    """
    sample = num_labels if sample is None else sample
    rng = np.random.default_rng(num_labels)
    draws = rng.normal(size=(min(INDEX_DRAWS, DRAWS // sample), sample))
    median, smallest = np.median(draws, axis=1), draws.min(axis=1)
    mad = CONSISTENCY * np.median(np.abs(draws - median[:, None]), axis=1)
    if sample < num_labels:
        # The smallest of the others, each in one draw: by the inverse of its distribution, 1 - (1 - F)^n.
        shares = -np.expm1(np.log1p(-rng.random(len(draws))) / (num_labels - sample))
        smallest = np.minimum(smallest, [NormalDist().inv_cdf(max(share, 1e-300)) for share in shares])
    spread = USUAL_SPREAD * np.sqrt(USUAL_WEIGHT / rng.chisquare(USUAL_WEIGHT, len(draws)))
    groups, _ = lower_groups(np.sort(draws * spread[:, None], axis=1))
    return np.sort(np.maximum(spread * (median - smallest) / moderated_spread(spread * mad, sample), groups))


@lru_cache(maxsize=16)
def _spread_by_chance(sample: int) -> np.ndarray:
    """Return the MADs of log norms of simulated clean networks, sorted."""
    rng = np.random.default_rng(sample)
    spread = USUAL_SPREAD * np.sqrt(USUAL_WEIGHT / rng.chisquare(USUAL_WEIGHT, GROUP_DRAWS))
    draws = rng.normal(size=(GROUP_DRAWS, sample))
    return np.sort(spread * CONSISTENCY * np.median(np.abs(draws - np.median(draws, axis=1, keepdims=True)), axis=1))


def spread_chance(mad: float, sample: int) -> float:
    """Return the share of clean networks with at least this spread.

    Args:
        mad: MAD of the natural logarithms of the norms.
        sample: number of labels that the MAD is taken over, 3 or more.

    Returns:
        A share of networks, [0, 1].
    """
    return float(np.mean(_spread_by_chance(sample) >= mad))


@dataclass(frozen=True)
class Groups:
    """The split of values into a lower and an upper group, two or more each, that leaves the least variance within them.

    Attributes:
        low: size of the lower group.
        distance: difference of the groups' means.
        chance: share of normal samples of the same size that split as cleanly, [0, 1].
    """

    low: int
    distance: float
    chance: float


def split_groups(values: np.ndarray) -> Groups:
    """Split values into the two groups that explain most variance.

    This is Fisher's natural breaks with two classes.

    Args:
        values: (N,), N >= 4, finite, not all equal.
    """
    explained, low, distance = _best_split(np.sort(np.asarray(values, np.float64))[None])
    return Groups(int(low[0]), float(distance[0]), float(np.mean(_explained_by_chance(len(values)) >= explained[0])))


@lru_cache(maxsize=16)
def _explained_by_chance(count: int) -> np.ndarray:
    """Return the variance explained in each of many normal samples.

    It is the share that the best split explains.
    """
    draws = np.sort(np.random.default_rng(count).normal(size=(min(GROUP_DRAWS, DRAWS // count), count)), axis=1)
    return _best_split(draws)[0]


def _best_split(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Split each sorted row at its best place.

    Args:
        rows: (R, N), each row ascending.

    Returns:
        For each row, (R,) each: the share of the variance that the split explains, the size of the lower group, the distance.
    """
    count = rows.shape[1]
    low = np.arange(2, count - 1)
    sums = np.cumsum(rows, axis=1)
    below = sums[:, low - 1] / low
    above = (sums[:, -1:] - sums[:, low - 1]) / (count - low)
    between = (above - below) ** 2 * low * (count - low) / count
    best = np.argmax(between, axis=1)
    chosen = np.arange(len(rows)), best
    return between[chosen] / np.maximum(np.var(rows, axis=1) * count, 1e-300), low[best], (above - below)[chosen]


def index_interval(norms: Sequence[float] | np.ndarray, sample: Sequence[float] | np.ndarray, *, draws: int = 2000) -> tuple[float, float]:
    """Return a 90 % bootstrap interval of the smallest norm's index.

    The interval tells how far the index depends on the labels that median and MAD are taken over.

    Args:
        norms: (N,), N >= 1.
        sample: (M,), M >= 3, resampled with replacement.
        draws: number of resamples, drawn with a fixed seed.

    Returns:
        The 5 % and the 95 % quantile; infinite where the MAD of resamples is zero.
    """
    values = np.asarray(sample, np.float64)
    drawn = values[np.random.default_rng(0).integers(0, len(values), (draws, len(values)))]
    median = np.median(drawn, axis=1)
    mad = CONSISTENCY * np.median(np.abs(drawn - median[:, None]), axis=1)
    distance = np.abs(median - np.min(norms))
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where(distance == 0.0, 0.0, distance / mad)
    low, high = np.quantile(index, [0.05, 0.95], method="nearest")
    return float(low), float(high)
