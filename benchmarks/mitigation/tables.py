"""The results of the mitigation benchmark as Markdown, and the pruning curve as a picture."""

from pathlib import Path
from typing import Any

from nc_tf.storage.files import whole_file

UNLEARNING = "none: unlearning"  # the name in place of a pruned layer
# The paper's false negatives of the filter on GTSRB at each false positive rate (figure 8).
PAPER_FILTER = {0.001: 0.041, 0.005: 0.032, 0.01: 0.028, 0.05: 0.017}
# NFT's table 1, CIFAR-10 with PreAct-ResNet18, 1 % of the images: ASR and clean accuracy before and after.
PUBLISHED_NFT = {
    "badnets": ((100.0, 92.96), (1.74, 90.82)),
    "blend": ((100.0, 94.11), (0.31, 93.17)),
    "SIG": ((100.0, 88.64), (0.12, 87.16)),
    "TrojanNet": ((100.0, 89.57), (1.64, 87.71)),
    "CLB": ((100.0, 92.78), (1.04, 90.37)),
    "WaNet": ((98.64, 92.29), (2.38, 89.65)),
    "benign": ((0.0, 95.21), (0.0, 94.10)),
}


def tables(results: dict[str, Any]) -> str:
    """Return the tables of docs/results/gtsrb-repairs.md, of the steps with results."""
    drawn = {
        "gtsrb": lambda jobs: [_pruning(jobs), _filter(jobs["filter"]), _unlearning(jobs)],
        "pruning": lambda jobs: [_population(jobs)],
        "cifar10": lambda jobs: [_attacks(jobs)],
        "nft": lambda jobs: [_variants(jobs)],
    }
    return "\n\n".join(table for step, result in results.items() for table in drawn[step](result["jobs"]))


def _pruning(jobs: dict[str, Any]) -> str:
    lines = ["| layer | pruned | | clean accuracy | ASR, reversed trigger | ASR, true trigger |", "| --- | ---: | --- |" + " ---: |" * 3]
    for name, row in jobs.items():
        if name.startswith("pruning"):
            curve = row["details"]["curve"]
            dead_at = row["details"]["dead_at"]
            points = [(curve[0], "nothing")] + ([(_at(curve, dead_at), "the reversed trigger is dead")] if dead_at is not None else [])
            points += [(_at(curve, row["pruned"]), f"{row['margin']:g} times as many"), (_at(curve, 0.3), "the paper's share")]
            for point, words in points:
                rates = [f"{point['attack_success_rate'][key]:.2%}" for key in ("reversed", "true")]
                cells = [name.removeprefix("pruning, "), f"{point['pruned']:.1%}", words, f"{point['clean_accuracy']:.2%}", *rates]
                lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _population(jobs: dict[str, Any]) -> str:
    """Return the ASR of the true triggers, of several the largest."""
    heads = ("trigger", "layer pruned", "pruned", "clean accuracy", "true ASR: before", "reversed dead", "at the end")
    lines = [f"| {' | '.join(heads)} |", "| --- | --- |" + " ---: |" * 5]
    for row in jobs.values():
        if "nothing flagged" in row:
            lines.append(f"| {row['kind']} | {row['place']} | nothing flagged |" + " |" * 4)
            continue
        first, last, pruned, dead = row["before"], row["after"], "", ""
        if row["place"] != UNLEARNING:
            dead_at = row["details"]["dead_at"]
            pruned, dead = f"{row['pruned']:.1%}", "never" if dead_at is None else _true_rate(_at(row["details"]["curve"], dead_at))
        accuracy = f"{first['clean_accuracy']:.2%} -> {last['clean_accuracy']:.2%}"
        cells = [row["kind"], row["place"], pruned, accuracy, _true_rate(first), dead, _true_rate(last)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _true_rate(point: dict[str, Any]) -> str:
    return f"{max(rate for key, rate in point['attack_success_rate'].items() if key.startswith('true')):.2%}"


def _at(curve: list[dict[str, Any]], share: float) -> dict[str, Any]:
    """Return the row nearest to a share of pruned units."""
    return min(curve, key=lambda point: abs(point["pruned"] - share))


def _filter(row: dict[str, Any]) -> str:
    heads = ("false positives, calibrated", "measured", "missed, reversed trigger", "true", "paper", "missed and obeyed, reversed", "true")
    lines = [f"| {' | '.join(heads)} |", "|" + " ---: |" * 7]
    for rate in row["details"]["rates"]:
        missed, asked = rate["false_negative_rate"], rate["false_positive_rate"]
        measured = f"{rate['measured_false_positive_rate']:.2%}"
        obeyed = " | ".join(f"{rate['attack_success_rate'][key]:.3f}" for key in ("reversed", "true"))
        cells = [f"{asked:.1%}", measured, f"{missed['reversed']:.3f}", f"{missed['true']:.3f}", f"{PAPER_FILTER[asked]:.3f}", obeyed]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _unlearning(jobs: dict[str, Any]) -> str:
    lines = ["| images used | stamped | clean accuracy | ASR, reversed trigger | ASR, true trigger |", "| ---: |" + " ---: |" * 4]
    for name, row in jobs.items():
        if name.startswith("unlearning"):
            after = row["after"]
            rates = [f"{after['attack_success_rate'][key]:.2%}" for key in ("reversed", "true")]
            lines.append(f"| {row['images']} | {row['ratio']:.0%} | {after['clean_accuracy']:.2%} | {' | '.join(rates)} |")
    return "\n".join(lines)


def _attacks(jobs: dict[str, Any]) -> str:
    defences = list(dict.fromkeys(name.partition("/")[2] for name in jobs))[1:]
    heads = ("attack", "scan: flagged", "before", *defences, "NFT as published")
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for attack in dict.fromkeys(name.partition("/")[0] for name in jobs):
        found = jobs[f"{attack}/scan"]
        before = jobs[f"{attack}/{defences[0]}"]["before"]
        cells = [", ".join(map(str, found["flagged"])) or found["verdict"], _pair(before)]
        for defence in defences:
            row = jobs[f"{attack}/{defence}"]
            cells.append("nothing flagged" if "nothing flagged" in row else _pair(row["after"]))
        cells.append(" -> ".join(f"{rate:.1f} % / {accuracy:.1f} %" for rate, accuracy in PUBLISHED_NFT[attack]))
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _variants(jobs: dict[str, Any]) -> str:
    heads = ("badnets, NFT with 1 %", "ASR / clean accuracy", "mean mask, by layer")
    lines = [f"| {' | '.join(heads)} |", "| --- | --- | --- |", f"| before | {_pair(next(iter(jobs.values()))['before'])} | |"]
    for name, row in jobs.items():
        means = " ".join(f"{mask['mean']:.2f}" for mask in row["details"]["masks"])
        lines.append(f"| {name} | {_pair(row['after'])} | {means} |")
    return "\n".join(lines)


def _pair(measured: dict[str, Any]) -> str:
    return f"{measured['attack_success_rate']['true']:.1%} / {measured['clean_accuracy']:.1%}"


def figure(results: dict[str, Any], path: Path) -> None:
    """Draw clean accuracy and ASR against the share of pruned units.

    There is one panel a layer.
    """
    from matplotlib.figure import Figure

    rows = {name.removeprefix("pruning, "): row for name, row in results["jobs"].items() if name.startswith("pruning")}
    drawn = Figure(figsize=(9, 3.6), layout="constrained")
    panels = drawn.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for axes, (name, row) in zip(panels, rows.items(), strict=True):
        curve = row["details"]["curve"]
        shares = [step["pruned"] for step in curve]
        axes.plot(shares, [step["clean_accuracy"] for step in curve], label="clean accuracy")
        for key in curve[0]["attack_success_rate"]:
            axes.plot(shares, [step["attack_success_rate"][key] for step in curve], label=f"ASR, {key} trigger")
        axes.axvline(row["pruned"], color="0.5", linestyle=":", label="stopped here")
        axes.set_title(f"{name}: {row['layer']}")
        axes.set_xlabel("share of units pruned")
    panels[0].legend()
    with whole_file(path) as temporary:
        drawn.savefig(temporary, dpi=110)
