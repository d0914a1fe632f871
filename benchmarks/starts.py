"""Where a search should begin and how hard it should push: all starts of one planted label under several settings.

    python benchmarks/starts.py            10 minutes on two idle cores; needs the networks of `benchmarks/population.py train`
    python benchmarks/starts.py --docs     the table of the results that lie there, nothing measured

For every variant: how many starts are stuck at the end, above one and a half times the norm of the trigger that was planted, and how many
races, with the cuts of preset robust, hand back one that is not; a race a seed. Writes benchmarks/results/starts.json.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from bench_record import RESULTS, ROOT, header, read_json, write_json
from population_networks import POPULATION, Planted

from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

NETWORKS = ("shipped-infected", "infected-2", "infected-4")
SEEDS = (0, 1, 2, 3)
# A search that has found the trigger ends below its norm, or a little above while it still shrinks; one that is stuck, far above.
STUCK = 1.5
# In the order of `nc_tf.triggers.GREY`.
PARTS = ("everywhere", "border", "middle")
# What differs from preset robust, one thing at a time.
VARIANTS: dict[str, dict[str, Any]] = {
    "preset robust": {},
    "all begin everywhere": {"start": "everywhere"},
    "all begin in the border": {"start": "border"},
    "all begin in the middle": {"start": "middle"},
    "all begin in the border, noise on the grey": {"start": "noisy border"},
    "the original's start": {"start": "original"},
    "linear loss": {"loss": "linear"},
    "learning rate .2": {"learning_rate": 0.2},
    "cost .01 at first": {"init_cost": 1e-2},
    "multiplier 1.25": {"multiplier": 1.25},
    "threshold .99": {"threshold": 0.99},
    "minibatches of 4": {"batch_size": 4},
    "minibatches of 16, 8 a round": {"batch_size": 16, "batches_per_round": 8},
}


def main(argv: list[str] | None = None) -> int:
    """Measure and save; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "gtsrb_dataset.h5", help="GTSRB, from `nc-tf data gtsrb`")
    parser.add_argument("--docs", action="store_true", help="print the table of the results that lie there")
    arguments = parser.parse_args(argv)
    try:
        if arguments.docs:
            print(table(read_json(RESULTS / "starts.json", "run benchmarks/starts.py first")["networks"]))
            return 0
        networks = [planted for planted in POPULATION if planted.name in NETWORKS]
        for needed in (arguments.data, *(planted.file for planted in networks)):
            if not needed.exists():
                raise InputError(f"{needed} is missing: expected GTSRB and trained networks; run `python benchmarks/population.py train`")
        load_tensorflow()
        results = {
            planted.name: {name: row_of(planted, arguments.data, **changed) for name, changed in VARIANTS.items()} for planted in networks
        }
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    write_json(RESULTS / "starts.json", header(list(SEEDS)) | {"networks": results})
    print(f"written to {RESULTS / 'starts.json'}")
    return 0


def row_of(planted: Planted, data: Path, *, start: str = "preset", **changed: Any) -> dict[str, Any]:
    """One variant on one network: norms at the end by seed and start, what is stuck, and the races."""
    from nc_tf.presets import PRESETS
    from nc_tf.racing import REG_BEST

    most, starts = STUCK * planted.triggers[0].l1_norm, range(PRESETS["robust"].starts)
    ends, winners = [], []
    for seed in SEEDS:
        histories = searched(planted, data, seed, start, changed)
        ends.append([_norm(histories[number][-1, REG_BEST]) for number in starts])
        winners.append(_norm(race(histories)))
    stuck = sum(norm is None or norm > most for norms in ends for norm in norms)
    row = {"norms": ends, "stuck": stuck, "starts": len(SEEDS) * len(starts)}
    row |= {"winners": winners, "races_won": sum(norm is not None and norm <= most for norm in winners), "races": len(winners)}
    print(planted.name, start, changed, row, flush=True)
    return row


def _norm(value: float) -> float | None:
    """Rounded; None where no trigger worked, because infinity is no JSON."""
    return round(float(value), 2) if np.isfinite(value) else None


def searched(planted: Planted, data: Path, seed: int, start: str, changed: dict[str, Any]) -> dict[int, np.ndarray]:
    """The history of every start of the planted label, nothing cut."""
    from nc_tf.datasets.files import read
    from nc_tf.engines.task import Task
    from nc_tf.models.loading import load_model
    from nc_tf.preprocessing import Preprocessing
    from nc_tf.presets import PRESETS
    from nc_tf.racing import random_arm
    from nc_tf.search import Arm, search

    robust = PRESETS["robust"]
    cost = replace(robust.settings.cost, **{key: changed[key] for key in ("init_cost", "multiplier", "threshold") if key in changed})
    rest = {key: value for key, value in changed.items() if key not in ("init_cost", "multiplier", "threshold")}
    settings = replace(robust.settings, cost=cost, **rest)
    task = Task(load_model(planted.file), Preprocessing(), "auto", read(data, subset="test").images, settings, 1, seed)

    def arm(number: int) -> Arm:
        if start in ("preset", "original"):
            return random_arm(task.space, planted.targets[0], number, seed, grey=start == "preset")
        rng, kind = np.random.default_rng([seed, number]), PARTS.index(start.removeprefix("noisy "))
        mask, pattern = task.space.grey(rng, len(PARTS) * number + kind)
        if start.startswith("noisy"):
            pattern = (np.tanh(rng.normal(0.0, 1.0, pattern.shape)) / 2.0 + 0.5) * 255.0
        return Arm(planted.targets[0], number, mask, pattern)

    found = search(task.inversion, [arm(number) for number in range(robust.starts)], task.minibatches, lanes=robust.starts)
    return {result.arm.start: result.history for result in found}


def race(histories: dict[int, np.ndarray]) -> float:
    """The norm that the race of preset robust ends with."""
    from nc_tf.presets import PRESETS
    from nc_tf.racing import CE, REG_BEST

    alive = list(histories)
    for cut in PRESETS["robust"].cuts:
        alive = sorted(alive, key=lambda number: tuple(histories[number][cut.rounds - 1, [REG_BEST, CE]]))[: cut.keep]
    return float(min(histories[number][-1, REG_BEST] for number in alive))


def table(networks: dict[str, Any]) -> str:
    """The results as Markdown, a line a variant."""
    lines = ["| variant | " + " | ".join(f"{name}: starts stuck, races won" for name in networks) + " |"]
    lines += ["| --- |" + " --- |" * len(networks)]
    for variant in VARIANTS:
        rows = [by_variant[variant] for by_variant in networks.values()]
        cells = [f"{row['stuck']} of {row['starts']}, {row['races_won']} of {row['races']}" for row in rows]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
