"""The results of the mitigation benchmark as Markdown, and the pruning curve as a picture."""

from pathlib import Path
from typing import Any

from nc_tf.files import whole_file

# Of the paper: false negatives of the filter on GTSRB at each false positive rate (figure 8).
PAPER_FILTER = {0.001: 0.041, 0.005: 0.032, 0.01: 0.028, 0.05: 0.017}


def tables(results: dict[str, Any]) -> str:
    """All tables of docs/mitigation.md."""
    gtsrb, cifar10 = results["gtsrb"]["jobs"], results["cifar10"]["jobs"]
    return "\n\n".join([_pruning(gtsrb), _filter(gtsrb["filter"]), _unlearning(gtsrb), _attacks(cifar10)])


def _pruning(jobs: dict[str, Any]) -> str:
    lines = ["| layer | pruned | stopped because | clean accuracy | ASR, reversed trigger | ASR, true trigger |", "| --- |" + " ---: |" * 5]
    for name, row in jobs.items():
        if name.startswith("pruning"):
            before, after = row["before"], row["after"]
            rates = [f"{before['attack_success_rate'][key]:.2%} -> {after['attack_success_rate'][key]:.2%}" for key in ("reversed", "true")]
            accuracy = f"{before['clean_accuracy']:.2%} -> {after['clean_accuracy']:.2%}"
            cells = [name.removeprefix("pruning, "), f"{row['pruned']:.1%}", row["stopped"], accuracy, *rates]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _filter(row: dict[str, Any]) -> str:
    lines = ["| false positives, calibrated | measured | missed, reversed trigger | missed, true trigger | paper |"]
    lines += ["| ---: |" + " ---: |" * 4]
    for rate in row["details"]["rates"]:
        missed, asked = rate["false_negative_rate"], rate["false_positive_rate"]
        measured = f"{rate['measured_false_positive_rate']:.2%}"
        lines.append(f"| {asked:.1%} | {measured} | {missed['reversed']:.3f} | {missed['true']:.3f} | {PAPER_FILTER[asked]} |")
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
    lines = ["| attack | scan: flagged | before | " + " | ".join(defences) + " |", "| --- |" + " --- |" * (2 + len(defences))]
    for attack in dict.fromkeys(name.partition("/")[0] for name in jobs):
        found = jobs[f"{attack}/scan"]
        before = jobs[f"{attack}/{defences[0]}"]["before"]
        cells = [", ".join(map(str, found["flagged"])) or found["verdict"], _pair(before)]
        for defence in defences:
            row = jobs[f"{attack}/{defence}"]
            cells.append("nothing flagged" if "nothing flagged" in row else _pair(row["after"]))
        lines.append(f"| {attack} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _pair(measured: dict[str, Any]) -> str:
    return f"{measured['attack_success_rate']['true']:.1%} / {measured['clean_accuracy']:.1%}"


def figure(results: dict[str, Any], path: Path) -> None:
    """Clean accuracy and attack success rate against the share of pruned units, a panel a layer."""
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
