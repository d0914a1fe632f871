"""Results of the population's scans: a row a scan, rates with their intervals, and a picture."""

from collections import defaultdict
from math import log
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.scan.population_networks import Planted
from nc_tf.detection.outliers import LEAST_NORM, find_outliers
from nc_tf.storage.files import whole_file


def row_of(planted: Planted, preset: str, seed: int, verdict: dict[str, Any]) -> dict[str, Any]:
    """Return the row of one scan, from its `verdict.json`."""
    flagged, targets = verdict["flagged"], planted.targets
    return {
        "network": planted.name,
        "kind": planted.kind,
        "targets": list(targets),
        "preset": preset,
        "seed": seed,
        "verdict": verdict["verdict"],
        "flagged": flagged,
        "detected": bool(targets) and verdict["verdict"] == "backdoor suspected",
        "right_label": bool(targets) and set(targets) <= set(flagged),
        "first_is_right": bool(targets) and bool(flagged) and flagged[0] in targets,
        "false_labels": [label for label in flagged if label not in targets],
        "anomaly_index": _index(verdict, "anomaly_index"),
        "log_index": _index(verdict, "log_index"),
        "chance": verdict.get("chance"),
        "median": verdict["median"],
        "flagging_norm": verdict.get("flagging_norm"),
        "norms": {str(row["label"]): round(row["l1_norm"], 2) for row in verdict["labels"]},
        "precision": verdict["settings"].get("precision"),
        "seconds": round(verdict["seconds"], 1) if "seconds" in verdict else None,
    }


def _index(verdict: dict[str, Any], key: str) -> float | None:
    """Return the signed index of the label with the smallest norm.

    A norm above the median is no outlier.
    """
    rows = [row for row in verdict["labels"] if row.get(key) is not None]
    if not rows:
        return None
    smallest = min(rows, key=lambda row: float(row["l1_norm"]))
    return round(float(smallest[key]), 3)


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return detection, false alarms, ROC area and seconds by preset.

    Detection is counted by kind of trigger.
    """
    from sklearn.metrics import roc_auc_score

    found = {}
    for preset in ("robust", "paper"):
        ours = [row for row in rows if row["preset"] == preset]
        infected, clean = [row for row in ours if row["targets"]], [row for row in ours if not row["targets"]]
        if not (infected and clean):
            continue
        kinds: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in infected:
            kinds[row["kind"]].append(row)
        timed = any(row["seconds"] is not None for row in ours)
        alarms = sum(row["verdict"] == "backdoor suspected" for row in clean)
        entry: dict[str, Any] = {
            "kinds": {
                kind: {key: sum(row[key] for row in group) for key in ("detected", "right_label", "first_is_right")} | {"scans": len(group)}
                for kind, group in kinds.items()
            },
            "detected": rate(sum(row["detected"] for row in infected), len(infected)),
            "right_label": rate(sum(row["right_label"] for row in infected), len(infected)),
            "only_right_labels": rate(sum(row["right_label"] and not row["false_labels"] for row in infected), len(infected)),
            "false_alarms": rate(alarms, len(clean)),
            "inconclusive": rate(sum(row["verdict"] == "inconclusive" for row in ours), len(ours)),
            "spread_of_logarithms": {"clean": _spread(clean), "infected": _spread(infected)},
            "median_seconds": median(row["seconds"] for row in ours if row["seconds"] is not None) if timed else None,
        }
        for key in ("anomaly_index", "log_index"):
            known = [row for row in ours if row[key] is not None]
            truth = [bool(row["targets"]) for row in known]
            if len(set(truth)) == 2:
                entry[f"roc_auc_{key}"] = round(float(roc_auc_score(truth, [row[key] for row in known])), 4)
        found[preset] = entry
    return found


def _spread(rows: list[dict[str, Any]]) -> list[float]:
    """Return the smallest and largest MAD of log norms among scans.

    `nc_tf.detection.outliers.USUAL_SPREAD` is chosen by it.
    """
    mads = [find_outliers([log(max(norm, LEAST_NORM)) for norm in row["norms"].values()]).mad for row in rows]
    return [round(of(mads), 3) for of in (min, max)]


def table(found: dict[str, Any]) -> str:
    """Return a summary as Markdown, by kind of trigger.

    Clean networks come last.
    """
    kinds = list(dict.fromkeys(kind for entry in found.values() for kind in entry["kinds"]))
    lines = ["| trigger | " + " | ".join(f"`{preset}`: suspected, right label, right label first" for preset in found) + " |"]
    lines += ["| --- |" + " --- |" * len(found)]
    for kind in kinds:
        cells = []
        for entry in found.values():
            row = entry["kinds"].get(kind)
            cells.append(f"{row['detected']}, {row['right_label']}, {row['first_is_right']} of {row['scans']}" if row else "not scanned")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    for name, key in (("all infected: suspected", "detected"), ("all infected: right label and no other", "only_right_labels"),
                      ("clean: false alarms", "false_alarms"), ("inconclusive", "inconclusive")):  # fmt: skip
        cells = [f"{row['hits']} of {row['trials']} ({row['interval'][0]:.0%} to {row['interval'][1]:.0%})" for row in
                 (entry[key] for entry in found.values())]  # fmt: skip
        lines.append(f"| {name} | {' | '.join(cells)} |")
    for name, key in (("area under ROC, `log_index`", "roc_auc_log_index"), ("area under ROC, `anomaly_index`", "roc_auc_anomaly_index"),
                      ("median seconds", "median_seconds")):  # fmt: skip
        lines.append(f"| {name} | " + " | ".join(str(entry.get(key) or "not known") for entry in found.values()) + " |")
    for name in ("clean", "infected"):
        cells = ["{} to {}".format(*entry["spread_of_logarithms"][name]) for entry in found.values()]
        lines.append(f"| {name}: MAD of the logarithms of norms | {' | '.join(cells)} |")
    return "\n".join(lines)


def networks_table(rows: list[dict[str, Any]]) -> str:
    """Return the findings of preset robust in every network, as Markdown.

    Scans with seeds 0 and 1 count, so that every network has the same number.
    """
    lines = ["| network | trigger | planted | seed | flagged, smallest first | norm of the planted, pixels | line | chance |"]
    lines += ["| --- | --- | --- | ---: | --- | --- | ---: | ---: |"]
    for row in rows:
        if row["preset"] != "robust" or row["seed"] > 1:
            continue
        norms = ", ".join(f"{row['norms'].get(str(label), 'none')}" for label in row["targets"])
        cells = [row["network"], row["kind"], _list(row["targets"]), row["seed"], _list(row["flagged"]), norms]
        cells += [_rounded(row["flagging_norm"], ".1f"), _rounded(row["chance"], ".4f")]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)


def _list(labels: list[int]) -> str:
    return ", ".join(str(label) for label in labels) or "none"


def _rounded(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def rate(hits: int, trials: int) -> dict[str, Any]:
    """Return a share with its 95 % interval (Clopper and Pearson)."""
    from scipy.stats import binomtest

    interval = binomtest(hits, trials).proportion_ci(method="exact")
    return {"hits": hits, "trials": trials, "rate": round(hits / trials, 4), "interval": [round(interval.low, 4), round(interval.high, 4)]}


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the norm of every label, one column a network.

    Preset robust; planted targets stand out.
    """
    from matplotlib.figure import Figure

    ours = [row for row in rows if row["preset"] == "robust" and row["seed"] == 0]
    if not ours:
        return
    drawn = Figure(figsize=(11, 5), layout="constrained")
    axes = drawn.subplots()
    for column, row in enumerate(ours):
        others = [norm for label, norm in row["norms"].items() if int(label) not in row["targets"]]
        axes.scatter([column] * len(others), others, s=10, color="0.6", label="other labels" if column == 0 else None)
        planted = [row["norms"][str(label)] for label in row["targets"] if str(label) in row["norms"]]
        axes.scatter([column] * len(planted), planted, s=45, color="tab:red", marker="D", label="planted target" if column == 0 else None)
        if row["flagging_norm"]:
            axes.hlines(row["flagging_norm"], column - 0.4, column + 0.4, color="tab:blue", label="flagged below" if column == 0 else "")
    axes.set_yscale("log")
    axes.set_ylabel("L1 norm of the smallest trigger, pixels")
    axes.set_xticks(range(len(ours)), [f"{row['network']}\n{row['kind']}" for row in ours], rotation=60, ha="right", fontsize=8)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        drawn.savefig(temporary, dpi=110)
