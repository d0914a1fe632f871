"""Rates of the population's scans, with their intervals: by kind of backdoor, number of classes and architecture."""

from collections.abc import Callable, Iterable
from typing import Any

from scipy.stats import binomtest

Row = dict[str, Any]

# A backdoor that leads a smaller share of images astray is weak, and counted apart.
LEAST_ASR = 0.9
SUSPECTED, INCONCLUSIVE = "backdoor suspected", "inconclusive"


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Return the rates of each half: of clean networks, and of those with a strong backdoor.

    Args:
        rows: one a member, as `scan.scanned` returns it.
    """
    halves: dict[str, Any] = {}
    for name, judged in (("judged", True), ("chosen on", False)):
        half = [row for row in rows if row["judged"] is judged]
        infected = [row for row in half if row["kind"] != "clean"]
        halves[name] = {
            "false_alarms": rates([row for row in half if row["kind"] == "clean"]),
            "kinds": _by(infected, lambda row: str(row["kind"])),
            "classes": _by(infected, lambda row: str(row["classes"])),
            "architectures": _by(infected, lambda row: str(row["architecture"])),
        }
    return halves


def _by(rows: list[Row], key: Callable[[Row], str]) -> dict[str, Any]:
    """Return the rates of strong backdoors by a key, and how many are weak."""
    groups: dict[str, Any] = {}
    for name in sorted({key(row) for row in rows}):
        of_group = [row for row in rows if key(row) == name]
        strong = [row for row in of_group if min(row["attack_success_rate"]) >= LEAST_ASR]
        groups[name] = rates(strong) | {"weak": len(of_group) - len(strong)}
    return groups


def rates(rows: list[Row]) -> dict[str, Any]:
    """Return numbers of networks, shares with 95 % intervals (Clopper and Pearson), and the median of the seconds."""
    suspected = sum(row["verdict"] == SUSPECTED for row in rows)
    seconds = sorted(row["seconds"] for row in rows)
    return {
        "networks": len(rows),
        "suspected": suspected,
        "interval": interval(suspected, len(rows)),
        "right": sum(is_right(row) for row in rows),
        "inconclusive": sum(row["verdict"] == INCONCLUSIVE for row in rows),
        "seconds": round(seconds[len(seconds) // 2], 1) if seconds else None,
    }


def interval(hits: int, trials: int) -> list[float] | None:
    """Return the 95 % interval of a rate; None without a trial."""
    if not trials:
        return None
    found = binomtest(hits, trials).proportion_ci(0.95, method="exact")
    return [round(float(found.low), 4), round(float(found.high), 4)]


def is_right(row: Row) -> bool:
    """Return whether a scan names what is planted: all labels that everything is led to, or else half of the pairs or more."""
    if row["verdict"] != SUSPECTED:
        return False
    if row["targets"]:
        return set(row["targets"]) <= set(row["flagged"])
    found = {tuple(pair) for pair in row["flagged_pairs"]}
    return bool(row["pairs"]) and 2 * sum(tuple(pair) in found for pair in row["pairs"]) >= len(row["pairs"])
