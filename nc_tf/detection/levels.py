"""Levels: the false-positive rate of a whole scan, split over its detectors (Bonferroni)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Share of clean networks that a scan suspects, over all its detectors.
SUSPECT_BELOW = 0.01
# "no outlier" is said only where chance does as much in more than this share of clean networks.
NOTHING_ABOVE = 0.05
# Weights of the detectors, by name. Most backdoors lead to one label by a small trigger. Detectors with lines in place of p-values have
# a small reserve: their false-positive rate is that of their lines.
WEIGHTS: Mapping[str, float] = MappingProxyType(
    {"one-label": 4.0, "picture": 2.0, "warp": 2.0, "all-to-all": 0.5, "hardening": 0.5, "source-specific": 0.5}
)


@dataclass(frozen=True)
class Level:
    """The share of clean networks up to which one detector decides.

    Attributes:
        suspect_below: p-values below it are suspicious.
        nothing_above: p-values above it are those of clean networks; between the two nothing is said.
    """

    suspect_below: float = SUSPECT_BELOW
    nothing_above: float = NOTHING_ABOVE


# Level of a detector that stands alone.
WHOLE = Level()


def split_level(names: Collection[str]) -> dict[str, Level]:
    """Return the level of each detector of a scan; their shares of suspicion add up to that of the scan.

    The share for "no outlier" is not split: to dismiss a label takes as much beside other detectors as alone.

    Args:
        names: of the detectors that run, each one of `WEIGHTS`.
    """
    total = sum(WEIGHTS[name] for name in names)
    return {name: Level(SUSPECT_BELOW * WEIGHTS[name] / total) for name in names}


def chance_words(chance: float) -> str:
    """Return a p-value in words; a level may be a fraction of one per cent."""
    if chance < 0.001:
        return "less than 0.1%"
    return f"about {chance:.1%}" if chance < 0.0095 else f"about {chance:.0%}"
