"""A comparison of initial masks and costs: all starts of planted labels under several settings.

    python -m benchmarks.scan.starts                                  35 minutes on two idle cores
    python -m benchmarks.scan.starts --variants "preset robust"       some of the variants, by their names, with semicolons
    python -m benchmarks.scan.starts --docs                           the table of the results that lie there, nothing measured

Needs the networks of `benchmarks/scan/population.py train`. For every variant: the number of starts that end stuck, above one and a
half times the norm of the planted trigger; and the number of races, with the cuts of preset robust, whose result is not stuck. There is
one race a seed.
Writes benchmarks/results/starts.json; a stopped run goes on where it was, from runs/starts.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.jobs import image_preset
from benchmarks.harness.record import RESULTS, ROOT, header, read_json, write_json
from benchmarks.scan.population_networks import POPULATION, Planted
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError
from nc_tf.results import Trigger

RUNS = ROOT / "runs" / "starts"
# Every network with planted squares; a blended trigger has no norm in pixels to compare with.
NETWORKS = tuple(planted for planted in POPULATION if planted.triggers and planted.name != "infected-7")
SEEDS = (0, 1, 2, 3)
# A search that has found the trigger ends below its norm, or a little above while it still shrinks; one that is stuck, far above.
STUCK = 1.5
# In the order of `nc_tf.inversion.trigger_space.GREY`.
PARTS = ("everywhere", "border", "middle")
# What differs from preset robust. `parts`: where its starts begin, in their order.
VARIANTS: dict[str, dict[str, Any]] = {
    "preset robust": {},
    "border, everywhere, border": {"parts": ("border", "everywhere", "border")},
    "the same, cost .01 at first": {"parts": ("border", "everywhere", "border"), "init_cost": 1e-2},
    "cost .01 at first": {"init_cost": 1e-2},
    "all begin everywhere": {"parts": ("everywhere",) * 3},
    "all begin in the border": {"parts": ("border",) * 3},
    "all begin in the middle": {"parts": ("middle",) * 3},
    "all begin in the border, noise on the grey": {"parts": ("border",) * 3, "noise": True},
    "the original's start": {"grey": False},
    "linear loss": {"loss": "linear"},
    "learning rate .2": {"learning_rate": 0.2},
    "multiplier 1.25": {"multiplier": 1.25},
    "threshold .99": {"threshold": 0.99},
    "minibatches of 4": {"batch_size": 4},
    "minibatches of 16, 8 a round": {"batch_size": 16, "batches_per_round": 8},
}
OF_THE_COST = ("init_cost", "multiplier", "threshold")


def main(argv: list[str] | None = None) -> int:
    """Measure and save; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "gtsrb_dataset.h5", help="GTSRB, from `nc-tf data gtsrb`")
    parser.add_argument("--variants", help="names, with semicolons; default: all")
    parser.add_argument("--docs", action="store_true", help="print the table of the results that lie there")
    arguments = parser.parse_args(argv)
    try:
        if not arguments.docs:
            run(arguments.data, list(VARIANTS) if arguments.variants is None else arguments.variants.split(";"))
        print(table(read_json(RESULTS / "starts.json", "run python -m benchmarks.scan.starts first")["variants"]))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(data: Path, names: list[str]) -> None:
    """Measure the pending variants; write all results."""
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise InputError(f"variant {unknown[0]!r}: expected some of {'; '.join(VARIANTS)}; choose from these")
    for needed in (data, *(planted.file for planted in NETWORKS)):
        if not needed.exists():
            raise InputError(f"{needed} is missing: expected GTSRB and trained networks; run `python -m benchmarks.scan.population train`")
    load_tensorflow()
    from nc_tf.scanning.presets import PRESETS

    preset = str(image_preset(PRESETS["robust"]))
    rows: dict[str, dict[str, Any]] = {}
    for name, changed in VARIANTS.items():
        for planted in NETWORKS:
            for trigger in planted.triggers:
                kept = RUNS / name.replace(" ", "_") / f"{planted.name}_{trigger.label}.json"
                if name in names and not (kept.exists() and read_json(kept, "delete it")["preset"] == preset):
                    row = row_of(planted, trigger, data, **changed)
                    write_json(kept, {"preset": preset, **row})
                    print(name, planted.name, trigger.label, row, flush=True)
                if kept.exists():
                    rows.setdefault(name, {})[f"{planted.name}, {trigger.label}"] = read_json(kept, "delete it and run again")
    write_json(RESULTS / "starts.json", header(list(SEEDS)) | {"variants": rows})
    print(f"written to {RESULTS / 'starts.json'}")


def row_of(planted: Planted, trigger: Trigger, data: Path, **changed: Any) -> dict[str, Any]:
    """Return the norms, stuck starts and races of a variant.

    One planted label, by seed and start.
    """
    from nc_tf.scanning.halving import REG_BEST
    from nc_tf.scanning.presets import PRESETS

    most, starts = STUCK * trigger.l1_norm, range(PRESETS["robust"].starts)
    ends, winners = [], []
    for seed in SEEDS:
        histories = searched(planted, trigger.label, data, seed, **changed)
        ends.append([_norm(histories[number][-1, REG_BEST]) for number in starts])
        winners.append(_norm(race(histories)))
    stuck = sum(norm is None or norm > most for norms in ends for norm in norms)
    row = {"norms": ends, "stuck": stuck, "starts": len(SEEDS) * len(starts)}
    return row | {"winners": winners, "races_won": sum(norm is not None and norm <= most for norm in winners), "races": len(winners)}


def searched(
    planted: Planted,
    label: int,
    data: Path,
    seed: int,
    *,
    parts: tuple[str, ...] = PARTS,
    noise: bool = False,
    grey: bool = True,
    **changed: Any,
) -> dict[int, np.ndarray]:
    """Return the history of every start of a label, without cuts."""
    from nc_tf.datasets.read import read
    from nc_tf.inversion.loop import search
    from nc_tf.inversion.restart import Restart
    from nc_tf.models.loading.load import load_model
    from nc_tf.preprocessing import Preprocessing
    from nc_tf.scanning.engines.task import Task
    from nc_tf.scanning.halving import random_restart
    from nc_tf.scanning.presets import PRESETS

    robust = PRESETS["robust"]
    cost = replace(robust.settings.cost, **{key: value for key, value in changed.items() if key in OF_THE_COST})
    rest = {key: value for key, value in changed.items() if key not in OF_THE_COST}
    settings = replace(robust.settings, cost=cost, **rest)
    task = Task(load_model(planted.file), Preprocessing(), "auto", read(data, subset="test").images, settings, 1, seed)

    def arm(number: int) -> Restart:
        if parts == PARTS:
            return random_restart(task.space, label, number, seed, grey=grey)
        rng, kind = np.random.default_rng([seed, label, number]), PARTS.index(parts[number])
        mask, pattern = task.space.grey(rng, len(PARTS) * number + kind)
        if noise:
            pattern = (np.tanh(rng.normal(0.0, 1.0, pattern.shape)) / 2.0 + 0.5) * 255.0
        return Restart(label, number, mask, pattern)

    found = search(task.inversion, [arm(number) for number in range(robust.starts)], task.minibatches, lanes=robust.starts)
    return {result.restart.start: result.history for result in found}


def race(histories: dict[int, np.ndarray]) -> float:
    """Return the final norm of the race of preset robust."""
    from nc_tf.scanning.halving import CE, REG_BEST
    from nc_tf.scanning.presets import PRESETS

    alive = list(histories)
    for cut in PRESETS["robust"].cuts:
        alive = sorted(alive, key=lambda number: tuple(histories[number][cut.rounds - 1, [REG_BEST, CE]]))[: cut.keep]
    return float(min(histories[number][-1, REG_BEST] for number in alive))


def _norm(value: float) -> float | None:
    """Return a rounded norm; None where no trigger worked (JSON has no infinity)."""
    return round(float(value), 2) if np.isfinite(value) else None


def table(variants: dict[str, Any]) -> str:
    """Return the results as Markdown, a line a variant.

    Stuck starts are counted in all, won races for each planted label.
    """
    labels = list(dict.fromkeys(label for rows in variants.values() for label in rows))
    lines = ["| variant | starts stuck | races won | " + " | ".join(labels) + " |", "| --- |" + " ---: |" * (2 + len(labels))]
    for variant, rows in variants.items():
        stuck, starts, won, races = (sum(row[key] for row in rows.values()) for key in ("stuck", "starts", "races_won", "races"))
        cells = [f"{rows[label]['races_won']} of {rows[label]['races']}" if label in rows else "" for label in labels]
        lines.append(f"| {variant} | {stuck} of {starts} | {won} of {races} | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
