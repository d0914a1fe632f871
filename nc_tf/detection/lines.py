"""The line below which log norms are suspicious, drawn anew without the labels that lie below it."""

from dataclasses import dataclass

import numpy as np

from nc_tf.detection.levels import WHOLE, Level
from nc_tf.detection.outliers import FEWEST_LABELS, find_outliers, largest_by_chance, lower_groups, moderated_spread


@dataclass(frozen=True)
class Line:
    """A line over the log norms of some labels.

    Attributes:
        median: of the labels that it is drawn over.
        spread: their moderated spread.
        height: log norms below it are suspicious.
        chance: share of clean networks that differ as much from their median, [0, 1].
        low: size of the lower group that stands out more than the smallest norm; 0 without one. Where all of it is suspicious, the line is
            drawn over the others.
        gap: distance of that group's largest log norm from the next; 0 without one.
    """

    median: float
    spread: float
    height: float
    chance: float
    low: int = 0
    gap: float = 0.0


@dataclass(frozen=True)
class Lines:
    """A sequential test.

    Attributes:
        first: the line over all labels; it alone decides whether anything is suspicious.
        line: the highest of all lines.
    """

    first: Line
    line: float


def draw_lines(logs: np.ndarray, sample: np.ndarray, ranked_out: int, level: Level) -> Lines:
    """Draw a line, and draw it again without what lies below.

    In a clean network the first line decides, so that its level is that of the whole test. The later ones have the level `WHOLE`, also
    where several detectors share it: in an infected network such a line adds a clean label by chance in no more networks than that.

    Args:
        logs: (N,) log norms of all labels that count.
        sample: (M,) log norms of those that medians and spreads are taken over, M >= `FEWEST_LABELS`.
        ranked_out: number of further labels that pre-screening dropped.
        level: of the first line.
    """
    first = _draw(logs, sample, ranked_out, level)
    line, left = first.height, len(logs)
    while True:
        others, sample = logs[logs >= line], sample[sample >= line]
        if len(others) == left or len(sample) < FEWEST_LABELS:
            return Lines(first, line)
        left = len(others)
        line = max(line, _draw(others, sample, ranked_out, WHOLE).height)


def _draw(logs: np.ndarray, sample: np.ndarray, ranked_out: int, level: Level) -> Line:
    """Return the line over all labels, or over those above a lower group that is suspicious."""
    # All labels had their chance to be the smallest, also where the spread is that of a sample.
    by_chance = largest_by_chance(len(logs) + ranked_out, len(sample))
    reach = float(np.quantile(by_chance, 1 - level.suspect_below))
    ordered = np.sort(sample)
    [group], [low] = lower_groups(ordered[None])
    median, spread = _centre(sample)
    index = (median - float(logs.min())) / spread
    if group <= index:
        return Line(median, spread, median - reach * spread, float(np.mean(by_chance >= index)))
    if group > reach:
        median, spread = _centre(ordered[low:])
    gap = float(ordered[low] - ordered[low - 1])
    return Line(median, spread, median - reach * spread, float(np.mean(by_chance >= group)), int(low), gap)


def _centre(logs: np.ndarray) -> tuple[float, float]:
    """Return the median of log norms, and their moderated spread."""
    found = find_outliers(logs)
    return found.median, float(moderated_spread(found.mad, len(logs)))
