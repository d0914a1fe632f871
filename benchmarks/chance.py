"""The figures of docs/scan-presets.md about chance: how large an index it makes, and how often the paper's rule falls for it.

    python benchmarks/chance.py            seconds
"""

import numpy as np

from nc_tf.outliers import PAPER_INDEX, largest_by_chance

LABELS = (5, 6, 8, 10, 20, 43, 100, 200, 1283)


def main() -> None:
    """Print the lines of the table, and two rates."""
    for share in (0.05, 0.01):
        cells = [f"{np.quantile(largest_by_chance(labels), 1 - share):.1f}" for labels in LABELS]
        print(f"| index that {share:.0%} of clean networks exceed | " + " | ".join(cells) + " |")
    print(f"index above {PAPER_INDEX:g}, 43 labels, normal norms: {np.mean(largest_by_chance(43) > PAPER_INDEX):.0%} of clean networks")
    norms = np.exp(np.random.default_rng(0).normal(0.0, 0.2, (20_000, 43)))
    distance = np.median(norms, axis=1, keepdims=True) - norms
    index = distance.max(axis=1) / (1.4826 * np.median(np.abs(distance), axis=1))
    print(f"the same, lognormal norms with a spread of .2: {np.mean(index > PAPER_INDEX):.0%}")


if __name__ == "__main__":
    main()
