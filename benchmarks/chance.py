"""The figures of docs/scan-presets.md about chance: how large an index it makes, and how often the paper's rule falls for it.

    python benchmarks/chance.py            seconds
"""

from collections.abc import Callable, Sequence

import numpy as np

from nc_tf.outliers import CONSISTENCY, PAPER_INDEX, largest_by_chance

LABELS = (5, 6, 8, 10, 20, 43, 100, 200, 1283)


def main() -> None:
    """Print the lines of the table, and two rates."""
    for share in (0.05, 0.01):
        print(_line(f"index that {share:.0%} of clean networks exceed", [largest_by_chance(labels) for labels in LABELS], share))
    print(_line("the same 1% in units of the MAD alone", [_by_mad(labels, lambda normal: normal) for labels in LABELS], 0.01))
    print(f"index above {PAPER_INDEX:g}, 43 labels, normal norms: {np.mean(_by_mad(43, lambda normal: normal) > PAPER_INDEX):.0%}")
    lognormal = np.mean(_by_mad(43, lambda normal: np.exp(0.2 * normal)) > PAPER_INDEX)
    print(f"the same, lognormal norms with a spread of .2: {lognormal:.0%}")


def _by_mad(labels: int, norms: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The paper's index of the smallest of so many norms, in draws of normal numbers that a function makes norms of."""
    drawn = norms(np.random.default_rng(labels).normal(size=(min(20_000, 4_000_000 // labels), labels)))
    distance = np.median(drawn, axis=1, keepdims=True) - drawn
    return distance.max(axis=1) / (CONSISTENCY * np.median(np.abs(distance), axis=1))


def _line(name: str, indices: Sequence[np.ndarray], share: float) -> str:
    return f"| {name} | " + " | ".join(f"{np.quantile(index, 1 - share):.1f}" for index in indices) + " |"


if __name__ == "__main__":
    main()
