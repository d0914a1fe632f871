"""The tables about the population of 240 networks, from `population-members.json`."""

from typing import Any

Row = dict[str, Any]

# Columns of the table of members: detectors, and what their statistic is called.
DETECTORS = ("one-label", "all-to-all", "hardening", "source-specific", "picture", "warp")


def rate_rows(summary: Row) -> list[list[Any]]:
    """Rows of the rates: clean networks first, then every kind of backdoor, for each half."""
    rows = []
    for half, found in summary.items():
        kinds = {"clean": found["false_alarms"], **found["kinds"]}
        for kind, rates in kinds.items():
            if rates["networks"] or rates.get("weak"):
                interval = "" if rates["interval"] is None else " to ".join(f"{end:.0%}" for end in rates["interval"])
                counted = [rates[key] for key in ("networks", "suspected", "right", "inconclusive")]
                rows.append([half, kind, *counted, interval, rates.get("weak", ""), rates["seconds"] or ""])
    return rows


def member_rows(members: list[Row]) -> list[list[Any]]:
    """Rows of single networks: what is planted, the verdict, and the statistic of every detector that ran."""
    rows = []
    for row in members:
        reached = ", ".join(f"{rate:.2f}" for rate in row["attack_success_rate"])
        statistics = [row["detectors"].get(name, [None])[0] for name in DETECTORS]
        half = "judged" if row["judged"] else "chosen on"
        rows.append([row["member"], half, reached, row["verdict"], *("" if value is None else f"{value:.2f}" for value in statistics)])
    return rows
