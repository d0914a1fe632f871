"""Median absolute deviation over mask norms (paper section IV-B), and what chance alone does to it. Knows neither models nor files."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np

# Makes the MAD of a normal sample estimate its standard deviation.
CONSISTENCY = 1.4826
PAPER_INDEX = 2.0
# By how much natural logarithms of norms spread in networks without a backdoor: the MAD of sixteen scans of eight clean networks on GTSRB
# is .16 to .27, and of infected ones up to .34 (docs/scan-presets.md). Other networks may spread by more, so the weight, in degrees of
# freedom, is low: by five of them one network in ten spreads by .44 or more.
USUAL_SPREAD, USUAL_WEIGHT = 0.25, 5.0
# Of a MAD, against the standard deviation of as many normal numbers.
EFFICIENCY = 0.37
# Random numbers drawn to learn what chance does: the standard error of a rate of .01 is .0007 up to 200 labels, .0018 with 1,283.
DRAWS = 4_000_000
# Simulated networks, where each takes more than a random number a label.
GROUP_DRAWS = 20_000


@dataclass(frozen=True, eq=False)
class Outliers:
    """Attributes:
    median: of the norms.
    mad: 1.4826 times the median distance from it.
    index: (N,) float64, distance from the median in units of MAD; with a MAD of zero 0 at the median and infinite elsewhere.
    flagged: positions below the median with an index above `PAPER_INDEX`, smallest norm first.
    """

    median: float
    mad: float
    index: np.ndarray
    flagged: tuple[int, ...]


def find_outliers(norms: Sequence[float] | np.ndarray, *, reference: Sequence[float] | np.ndarray | None = None) -> Outliers:
    """Flag the norms that are too small to belong. The median of an even number of norms is the mean of the middle two.

    Args:
        norms: (N,), N >= 1, finite.
        reference: (M,), M >= 1, finite: what median and MAD are taken of, where that is not `norms` itself.

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


def moderated_spread(mad: float | np.ndarray, sample: int) -> np.ndarray:
    """What the logarithms of norms are taken to spread by: their MAD, held to what is usual, the more the fewer labels it is of.

    A MAD of ten numbers is often half or twice the spread that they were drawn with; one that comes out small makes an outlier of what
    is none, one that comes out large hides one. Networks do not differ as much: see `USUAL_SPREAD`. The mean of the two variances, each
    weighed by how much is known of it, is Smyth's (2004, "Linear models and empirical Bayes methods", section 3).

    Args:
        mad: of the natural logarithms, 0 or greater; `find_outliers` has it.
        sample: number of labels that it is of, 3 or more.
    """
    known = EFFICIENCY * (sample - 1)
    return np.sqrt((USUAL_WEIGHT * USUAL_SPREAD**2 + known * np.square(mad)) / (USUAL_WEIGHT + known))


@lru_cache(maxsize=16)
def largest_by_chance(num_labels: int, sample: int | None = None) -> np.ndarray:
    """The largest index below the median, by `moderated_spread`, in each of many draws of networks without any outlier; sorted.

    Their logarithms of norms are normal, with a spread that differs from network to network as `USUAL_SPREAD` and `USUAL_WEIGHT` say. A
    share of the draws above an index is the probability that a clean network shows such an index by chance.

    Args:
        num_labels: 3 or more.
        sample: how many of them median and MAD are taken of, 3 or more: the fewer, the shakier these are; all by default.
    """
    sample = num_labels if sample is None else sample
    rng = np.random.default_rng(num_labels)
    draws = rng.normal(size=(min(20_000, DRAWS // sample), sample))
    median, smallest = np.median(draws, axis=1), draws.min(axis=1)
    mad = CONSISTENCY * np.median(np.abs(draws - median[:, None]), axis=1)
    if sample < num_labels:
        # The smallest of the others, each in one draw: by the inverse of its distribution, 1 - (1 - F)^n.
        shares = -np.expm1(np.log1p(-rng.random(len(draws))) / (num_labels - sample))
        smallest = np.minimum(smallest, [NormalDist().inv_cdf(max(share, 1e-300)) for share in shares])
    spread = USUAL_SPREAD * np.sqrt(USUAL_WEIGHT / rng.chisquare(USUAL_WEIGHT, len(draws)))
    return np.sort(spread * (median - smallest) / moderated_spread(spread * mad, sample))


@lru_cache(maxsize=16)
def _spread_by_chance(sample: int) -> np.ndarray:
    """The MAD of the logarithms of so many norms in each of many draws of networks without any outlier; sorted."""
    rng = np.random.default_rng(sample)
    spread = USUAL_SPREAD * np.sqrt(USUAL_WEIGHT / rng.chisquare(USUAL_WEIGHT, GROUP_DRAWS))
    draws = rng.normal(size=(GROUP_DRAWS, sample))
    return np.sort(spread * CONSISTENCY * np.median(np.abs(draws - np.median(draws, axis=1, keepdims=True)), axis=1))


def spread_chance(mad: float, sample: int) -> float:
    """Tell how many networks without a backdoor have norms that spread by as much.

    Args:
        mad: of the natural logarithms of the norms.
        sample: number of labels that it is of, 3 or more.

    Returns:
        A share of networks, [0, 1].
    """
    return float(np.mean(_spread_by_chance(sample) >= mad))


@dataclass(frozen=True)
class Groups:
    """The split of values into a lower and an upper group, two or more each, that leaves the least variance within them.

    Attributes:
        low: size of the lower group.
        distance: of the groups' means.
        chance: share of normal samples of the same size that split as cleanly, [0, 1].
    """

    low: int
    distance: float
    chance: float


def split_groups(values: np.ndarray) -> Groups:
    """Split values into the two groups that explain most of their variance (Fisher's natural breaks, two classes).

    Args:
        values: (N,), N >= 4, finite, not all equal.
    """
    explained, low, distance = _best_split(np.sort(np.asarray(values, np.float64))[None])
    return Groups(int(low[0]), float(distance[0]), float(np.mean(_explained_by_chance(len(values)) >= explained[0])))


@lru_cache(maxsize=16)
def _explained_by_chance(count: int) -> np.ndarray:
    draws = np.sort(np.random.default_rng(count).normal(size=(min(GROUP_DRAWS, DRAWS // count), count)), axis=1)
    return _best_split(draws)[0]


def _best_split(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each sorted row: the share of the variance that its best split explains, the size of the lower group, the distance."""
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
    """How far the smallest norm's index moves with the labels that median and MAD happen to be taken of: 90 % of a bootstrap.

    Args:
        norms: (N,), N >= 1; the index of the smallest is meant.
        sample: (M,), M >= 3, resampled with replacement.
        draws: resamples, with a seed of their own.

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
