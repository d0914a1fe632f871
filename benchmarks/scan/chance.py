"""The figures of docs/explanation/statistics.md about chance: the index that chance makes, error rates of either rule, several targets.

python -m benchmarks.scan.chance            half a minute
"""

from collections.abc import Callable, Sequence

import numpy as np

from nc_tf.detection.levels import NOTHING_ABOVE, SUSPECT_BELOW, split_level
from nc_tf.detection.lines import draw_lines
from nc_tf.detection.outliers import CONSISTENCY, DRAWS, PAPER_INDEX, USUAL_SPREAD, largest_by_chance, lower_groups, moderated_spread

# Level of the one-label detector beside three others.
ONE_OF_FOUR = split_level(("one-label", "all-to-all", "picture", "warp"))["one-label"]
LABELS = (5, 6, 8, 10, 20, 43, 100, 200, 1283)
FEW, SPREADS = (5, 10, 43), (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 1.0)
# Simulated networks with several targets, how much smaller the targets' norms are, and the spread of their logarithms.
NETWORKS, FACTORS, SPREAD_OF_TARGETS = 500, (4, 8), 0.3


def main() -> None:
    """Print the lines of three tables, and two rates."""
    for share in (NOTHING_ABOVE, SUSPECT_BELOW, ONE_OF_FOUR.suspect_below):
        print(_line(f"index that {share:.1%} of clean networks exceed", [largest_by_chance(labels) for labels in LABELS], share))
    print(_line("the same 1% in units of the MAD alone", [_by_mad(labels, lambda normal: normal) for labels in LABELS], 0.01))
    for labels in FEW:
        rates = [f"{_false_alarms(labels, spread):.1%}" for spread in SPREADS]
        print(f"| {labels} labels: suspected | " + " | ".join(rates) + " |")
    print(f"index above {PAPER_INDEX:g}, 43 labels, normal norms: {np.mean(_by_mad(43, lambda normal: normal) > PAPER_INDEX):.0%}")
    lognormal = np.mean(_by_mad(43, lambda normal: np.exp(0.2 * normal)) > PAPER_INDEX)
    print(f"the same, lognormal norms with a spread of .2: {lognormal:.0%}")
    for labels in FEW[1:]:
        for targets in (1, 2, 3, labels // 2):
            for factor in FACTORS:
                print(f"| {labels} | {targets} | {factor} | {_several(labels, targets, factor)} |", flush=True)


def _several(labels: int, targets: int, factor: int) -> str:
    """Return how often any label is flagged, all targets by one line alone, and all targets by lines drawn anew."""
    rng = np.random.default_rng(labels)
    logs = rng.normal(0.0, USUAL_SPREAD, (NETWORKS, labels))
    logs[:, :targets] = rng.normal(-np.log(factor), SPREAD_OF_TARGETS, (NETWORKS, targets))
    counts = np.zeros(3)
    for row in logs:
        drawn = draw_lines(row, row, 0, ONE_OF_FOUR)
        first, below = row < _one_line(row), row < drawn.line
        counts += [below.any(), first[:targets].all(), below[:targets].all()]
    return " | ".join(f"{count / NETWORKS:.0%}" for count in counts)


def _one_line(logs: np.ndarray) -> float:
    """Return the height of one line over all labels, without a look at lower groups."""
    median = float(np.median(logs))
    spread = float(moderated_spread(CONSISTENCY * np.median(np.abs(logs - median)), len(logs)))
    return median - float(np.quantile(largest_by_chance(len(logs)), 1 - ONE_OF_FOUR.suspect_below)) * spread


def _false_alarms(labels: int, spread: float) -> float:
    """Return the robust rule's false-positive rate for this spread of norms."""
    logs = np.random.default_rng(0).normal(0.0, spread, (20_000, labels))
    distance = np.median(logs, axis=1, keepdims=True) - logs
    mads = CONSISTENCY * np.median(np.abs(distance), axis=1)
    groups, _ = lower_groups(np.sort(logs, axis=1))
    index = np.maximum(distance.max(axis=1) / moderated_spread(mads, labels), groups)
    return float(np.mean(index > np.quantile(largest_by_chance(labels), 1 - SUSPECT_BELOW)))


def _by_mad(labels: int, norms: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the paper's index of the smallest norm in random draws.

    `norms` makes norms of normal numbers.
    """
    drawn = norms(np.random.default_rng(labels).normal(size=(min(20_000, DRAWS // labels), labels)))
    distance = np.median(drawn, axis=1, keepdims=True) - drawn
    return distance.max(axis=1) / (CONSISTENCY * np.median(np.abs(distance), axis=1))


def _line(name: str, indices: Sequence[np.ndarray], share: float) -> str:
    return f"| {name} | " + " | ".join(f"{np.quantile(index, 1 - share):.1f}" for index in indices) + " |"


if __name__ == "__main__":
    main()
