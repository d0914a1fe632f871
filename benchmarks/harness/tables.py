"""The results of `make bench` as Markdown tables, for docs/results/speed.md and for the terminal."""

from typing import Any

TITLES = {
    "ours": "nc_tf, {arms} at once, {precision}",
    "tape": "TensorFlow, `GradientTape`, one compiled call a minibatch, one label, {precision}",
    "torch": "PyTorch {torch}, the same loop, one label, {precision}, {layout}, {threads} thread(s)",
    "tensorflow_only": "only `import tensorflow`",
    "torch_only": "only `import torch`",
}

# Cores that others may keep busy meanwhile: what a system does anyway.
QUIET = 0.1


def disturbed(results: dict[str, Any]) -> float | None:
    """Return the cores that others used, where they were too many.

    The number is that of the worst part of the measurement.
    """
    growth = results["growth"]
    rows = [*results["contenders"], *growth["arms"], *growth["image_size"], *growth["labels"]]
    worst = max(row["other_cores"] or 0.0 for row in rows)
    return worst if worst > QUIET else None


def markdown(results: dict[str, Any]) -> str:
    """Return all tables of a file of results."""
    machine, floor = results["machine"], results["floor"]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores ({', '.join(machine.get('instructions', [])) or machine['system']}); "
        + ", ".join(f"{name} {number}" for name, number in results["versions"].items())
        + f"; {results['date'][:10]}, seed {results['seed']}, `{results['command']}`",
        "",
        f"Seconds a label-round: {results['minibatches']} minibatches of {results['batch']} images, forward and backward to the input; "
        f"median and least of {results['repetitions']}, all contenders in turn in one run. Memory: the largest resident size of a process "
        "that does nothing else.",
        "",
        "| contender | median s | least s | GFLOP/s | times nc_tf's, 8 at once, the same precision | memory, MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    busy = disturbed(results)
    if busy is not None:
        lines[:0] = [f"**Disturbed: other processes kept {busy:.1f} cores busy meanwhile. These times compare nothing.**", ""]
    rows = results["contenders"]
    ours = {row["precision"]: row["median"] for row in rows if row["kind"] == "ours" and row["arms"] == 8}
    for row in rows:
        rate, ratio = floor["flops"] / row["median"] / 1e9, row["median"] / ours[row["precision"]]
        name = title(row, results)
        lines.append(f"| {name} | {row['median']:.3f} | {row['least']:.3f} | {rate:.0f} | {ratio:.2f} | {_memory(row)} |")
    for row in results["only_imported"]:
        lines.append(f"| {title(row, results)} | | | | | {_memory(row)} |")
    lines += [f"| {text} | | | | | |" for text in results["missing"]]
    return "\n".join([*lines, "", *_floor(floor, ours), "", *_growth(results["growth"])])


def title(row: dict[str, Any], results: dict[str, Any]) -> str:
    """Return the title of a contender."""
    numbers = {"arms": f"{row['arms']} label{'s' if row['arms'] > 1 else ''}", "torch": results["versions"].get("torch", "")}
    return TITLES[row["kind"]].format(**{**row, **numbers})


def _memory(row: dict[str, Any]) -> str:
    return f"{row['peak_mib']:.0f}" if row.get("peak_mib") is not None else ""


def _floor(floor: dict[str, Any], ours: dict[str, float]) -> list[str]:
    lines = [
        f"A label-round is {floor['flops'] / 1e9:.1f} GFLOP (two a multiply-add, forward and backward to the input).",
        "",
        f"| precision | matmul {floor['matmul_side']}, GFLOP/s | best convolution, GFLOP/s | label-round at the matmul rate, s | "
        "its convolutions alone, s | nc_tf, 8 at once, s | above its convolutions |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for precision, seconds in ours.items():
        rates, alone = floor[precision], floor[precision]["conv_seconds"]
        lines.append(
            f"| {precision} | {rates['matmul_gflops']:.0f} | {rates['best_conv_gflops']:.0f} | {rates['seconds_at_matmul_rate']:.3f} | "
            f"{alone:.3f} | {seconds:.3f} | {seconds / alone - 1:+.0%} |"
        )
    return lines


def _growth(growth: dict[str, Any]) -> list[str]:
    lines = [
        f"Growth, measured over {growth['minibatches']} minibatches and scaled to a label-round:",
        "",
        "| labels at once | float32, s | bfloat16, s | memory in float32, MiB |",
        "| ---: | ---: | ---: | ---: |",
    ]
    by_arms: dict[int, dict[str, dict[str, Any]]] = {}
    for row in growth["arms"]:
        by_arms.setdefault(row["arms"], {})[row["precision"]] = row
    for arms, rows in by_arms.items():
        lines.append(f"| {arms} | {rows['float32']['median']:.3f} | {rows['bfloat16']['median']:.3f} | {_memory(rows['float32'])} |")
    head = f"{growth['lanes']} at once, float32, s | memory, MiB |"
    lines += ["", f"| image | GFLOP | {head}", "| ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {row['size']}x{row['size']} | {row['flops'] / 1e9:.0f} | {row['median']:.3f} | {_memory(row)} |" for row in growth["image_size"]
    ]
    lines += ["", f"| labels of the network | {head} a round of all labels, s |", "| ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {row['labels']} | {row['median']:.3f} | {_memory(row)} | {row['median'] * row['labels']:.0f} |" for row in growth["labels"]
    ]
    return lines
