"""The results of the video benchmark as Markdown."""

from typing import Any

from benchmarks.harness.tables import title
from benchmarks.scan.population_summary import rate
from nc_tf.detection.inconclusive import LEAST_SUCCESS
from nc_tf.results import Status, Verdict

SUSPECTED, FAILED = str(Verdict.SUSPECTED), [str(status) for status in Status if not status.succeeded]
Rows = dict[str, dict[str, Any]]


def tables(results: dict[str, Any]) -> str:
    """Return the tables of docs/results/video.md, of the steps with results.

    A line above each gives machine and date.
    """
    jobs: dict[str, Rows] = {step: result["jobs"] for step, result in results.items()}
    parts = []
    if "clean" in jobs or "infect" in jobs:
        scans = jobs.get("scan", {})
        parts += [_where(results, ("clean", "infect", "scan")), _networks(jobs.get("clean", {}) | jobs.get("infect", {}), scans)]
        parts += [counts(scans)] if scans else []
    if "mitigate" in jobs:
        parts += [_where(results, ("mitigate",)), _defences(jobs["mitigate"])]
    if "speed" in jobs:
        parts += [_where(results, ("speed",)), _speed(results["speed"])]
    if "demo" in jobs:
        parts += [_where(results, ("demo",)), _demo(jobs["demo"])]
    return "\n\n".join(parts)


def counts(scans: Rows) -> str:
    """Return the rates of right scans, in one sentence.

    The intervals treat networks as independent, which those of one seed are not.
    """
    infected, clean = [row for row in scans.values() if row["kind"]], [row for row in scans.values() if not row["kind"]]
    right = sum(row["flagged"] == [row["target"]] for row in infected)
    among = sum(row["target"] in row["flagged"] for row in infected)
    smallest = sum(_smallest(row) == str(row["target"]) for row in infected)
    alarms = sum(row["verdict"] == SUSPECTED for row in clean)
    return (
        f"The right label and no other was flagged in {_of(right, infected)} infected networks, the right one among others in "
        f"{among - right}; it had the smallest norm in {smallest}. False alarms: {_of(alarms, clean)} clean networks."
    )


def _of(hits: int, rows: list[dict[str, Any]]) -> str:
    if not rows:
        return "0 of 0"
    low, high = rate(hits, len(rows))["interval"]
    return f"{hits} of {len(rows)} ({low:.0%} to {high:.0%})"


def _smallest(row: dict[str, Any]) -> str | None:
    """Return the label with the smallest trigger that works on unseen clips."""
    working = [label for label, status in row["status"].items() if status not in FAILED and _works(row["attack_success_rate"][label])]
    return min(working, key=lambda label: float(row["norms"][label]), default=None)


def _works(measured: float | None) -> bool:
    return measured is None or measured >= LEAST_SUCCESS


def _where(results: dict[str, Any], steps: tuple[str, ...]) -> str:
    """Return machine, versions, seeds, and each step's command and date."""
    there = {step: results[step] for step in steps if step in results}
    last = list(there.values())[-1]
    machine, versions = last["machine"], last["versions"]
    words = ", ".join(machine.get("instructions", [])) or machine["system"]
    commands = "; ".join(f"{step}: `{result['command']}`, {result['date'][:10]}, seeds {result['seed']}" for step, result in there.items())
    named = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{machine['cpu']}, {machine['cores']} cores ({words}); {named}. {commands}"


def _networks(networks: Rows, scans: Rows) -> str:
    heads = ["network", "seed", "target", "clean accuracy", "ASR", "verdict", "flagged"]
    heads += ["norm of the target", "median", "chance", "scan, s"]
    lines = [_line(heads), "| --- | ---: | ---: | ---: | ---: | --- | --- |" + " ---: |" * 4]
    for name, row in networks.items():
        cells = [row["kind"] or "clean", row["seed"], _or_blank(row["target"], "d")]
        cells += [_change(row.get("clean_accuracy_before"), row["clean_accuracy"]), _or_blank(row["attack_success_rate"], ".1%")]
        found = scans.get(name)
        if found is None:
            cells += ["not scanned", *[""] * 5]
        else:
            cells += [found["verdict"], ", ".join(map(str, found["flagged"])) or "none", _norm(found, row["target"])]
            cells += [_or_blank(found["median"], ".1f"), _or_blank(found["chance"], ".4f"), _or_blank(found["seconds"], ".0f")]
        lines.append(_line(cells))
    return "\n".join(lines)


def _norm(found: dict[str, Any], target: int | None) -> str:
    """Return the norm of the planted label's trigger, if it works."""
    if target is None:
        return ""
    return "no trigger" if found["status"][str(target)] in FAILED else f"{found['norms'][str(target)]:.1f}"


def _defences(rows: Rows) -> str:
    heads = ["network", "seed", "target", "defence", "clean accuracy", "ASR, found trigger", "ASR, true trigger", "the clean network's"]
    lines = [_line(heads), "| --- | ---: | ---: | --- |" + " ---: |" * 4]
    for row in rows.values():
        cells = [row["kind"], row["seed"], row["target"], row["defence"]]
        if "nothing flagged" in row:
            cells += ["nothing flagged", "", "", ""]
        else:
            cells += [*_measured(row["before"], row["after"]), f"{row['rate_of_clean_network']:.1%}"]
        lines.append(_line(cells))
    return "\n".join(lines)


def _rate(measured: dict[str, Any], name: str) -> float | None:
    """Return the ASR of a trigger, of several the largest, or None."""
    return max((rate for key, rate in measured["attack_success_rate"].items() if key.startswith(name)), default=None)


def _speed(results: dict[str, Any]) -> str:
    heads = ["clips", "minibatches", "contender", "s a label-round", "least", "times nc_tf's, the same precision", "clips a second"]
    lines = [_line([*heads, "memory, MiB", "of that, imports"]), "| --- | ---: | --- |" + " ---: |" * 6]
    cases = results["jobs"].values()
    for case in cases:
        ours = {row["precision"]: row["median"] for row in case["contenders"] if row["kind"] == "ours"}
        for row in case["contenders"]:
            cells = [f"{row['frames']} frames of {row['size']}x{row['size']}", row["minibatches"], title(row, results)]
            cells += [f"{row['median']:.3f}", f"{min(row['seconds']):.3f}", f"{row['median'] / ours[row['precision']]:.2f}"]
            cells += [f"{row['clips_a_second']:.1f}", f"{row['peak_mib']:.0f}", f"{row['imported_mib']:.0f}"]
            lines.append(_line(cells))
    lines += [_line([text, *[""] * 8]) for text in dict.fromkeys(text for case in cases for text in case["missing"])]
    busy = max((row["other_cores"] or 0.0 for case in cases for row in case["contenders"]), default=0.0)
    return "\n".join([*lines, "", f"Cores that others kept busy meanwhile: {busy:.2f} at most."])


def _demo(rows: Rows) -> str:
    heads = ["seed", "planted", "flagged", "norm", "median", "method", "clean accuracy", "ASR, found trigger", "ASR, true trigger", "s"]
    lines = [_line(heads), "| ---: | ---: | --- | ---: | ---: | --- |" + " ---: |" * 4]
    for row in rows.values():
        about = [row["seed"], row["target"], ", ".join(map(str, row["flagged"])) or "none"]
        about += [_norm(row, row["target"]), _or_blank(row["median"], ".1f")]
        for method, measured in (row["methods"] or {"": {}}).items():
            cells = _measured(**measured) if measured else ["", "", ""]
            lines.append(_line([*about, method, *cells, f"{row['seconds']:.0f}"]))
    return "\n".join(lines)


def _measured(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return clean accuracy and ASRs before and after.

    The ASRs are those of the found and the true trigger.
    """
    rates = [_change(_rate(before, name), _rate(after, name)) for name in ("reversed", "true")]
    return [_change(before["clean_accuracy"], after["clean_accuracy"]), *rates]


def _change(before: float | None, after: float | None) -> str:
    return "" if after is None else f"{after:.1%}" if before is None else f"{before:.1%} -> {after:.1%}"


def _or_blank(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _line(cells: list[Any]) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
