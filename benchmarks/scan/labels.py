"""The cost of the preset low-cost with many labels: 43, 200 and 1,283.

    python -m benchmarks.scan.labels                          all three; 13 minutes on two idle cores
    python -m benchmarks.scan.labels --sizes 43,200           some of them
    python -m benchmarks.scan.labels --rounds 2 --out labels.json     a search of two rounds: does it run?

The network is the shipped infected one with more classes in its last layer. Each of them has the weights of one of the classes that are
not the target, and noise on top, so that no two are alike, and a bias at which no clean image is taken for it. Nobody trained them, so they
show what many labels take, and not how often a scan of a network with so many is right.

Every size runs in a process of its own, because of its memory, and is kept in runs/labels: a stopped run goes on with the others.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.record import RESULTS, ROOT, OtherLoad, header, read_json, write_json
from nc_tf.cli.options import numbers
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

MODEL = ROOT / "models" / "gtsrb_bottom_right_white_4_target_33.h5"
TARGET = 33
RUNS = ROOT / "runs" / "labels"
# A share of the standard deviation of the weights that a class is made of. Less makes twins, whose triggers compete.
NOISE = 0.7


def main(argv: list[str] | None = None) -> int:
    """Measure, print and save; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=numbers(int), default=(43, 200, 1283), help="numbers of labels, 43 or more")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "gtsrb_dataset.h5", help="GTSRB; where it is missing, rendered signs")
    parser.add_argument("--seed", type=int, default=0, help="of the classes added and of the scan")
    parser.add_argument("--rounds", type=int, help="of a search, and of a ranking, at most")
    parser.add_argument("--fresh", action="store_true", help="start over")
    parser.add_argument("--out", type=Path, default=RESULTS / "labels.json")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    try:
        if arguments.one:
            load_tensorflow()
            write_json(arguments.one, measure(arguments.sizes[0], arguments.data, arguments.seed, arguments.rounds))
            return 0
        results = header(arguments.seed) | {"noise": NOISE, "rows": [row(size, arguments) for size in arguments.sizes]}
        write_json(arguments.out, results)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\n{markdown(results)}\n\nwritten to {arguments.out}")
    return 0


def row(size: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the measurements of one size, from a separate process.

    A size that was measured before is read back.
    """
    kept = RUNS / f"{size}_seed_{arguments.seed}_rounds_{arguments.rounds}.json"
    if arguments.fresh or not kept.exists():
        print(f"{size} labels", flush=True)
        command = [sys.executable, "-m", "benchmarks.scan.labels", "--one", str(kept), "--sizes", str(size), "--data", str(arguments.data)]
        command += ["--seed", str(arguments.seed), *(["--rounds", str(arguments.rounds)] if arguments.rounds else [])]
        if subprocess.run(command, check=False, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}).returncode:  # noqa: S603
            raise InputError(f"the scan of {size} labels failed, as it says above: expected a result; mend that and run again")
    found = read_json(kept, "delete it and run again")
    print(json.dumps({key: value for key, value in found.items() if key != "settings"}), flush=True)
    return found


def measure(num_labels: int, data: Path, seed: int, rounds: int | None) -> dict[str, Any]:
    """Measure one scan from the call to the verdict, compilation included."""
    from nc_tf.models.loading.load import load_model
    from nc_tf.scanning.presets import PRESETS
    from nc_tf.scanning.scan import scan

    images, labels, source = _images(data, seed)
    model = widen(load_model(MODEL), num_labels, images, seed)
    preset = PRESETS["low-cost"] if rounds is None else _shortened(PRESETS["low-cost"], rounds)
    PRESETS["low-cost"] = preset
    ranking: Any = preset.ranking
    with OtherLoad() as load:
        result = scan(model, images, labels, preset="low-cost", seed=seed)
    full, ranked = sum(entry.rounds for entry in result.labels), result.settings.get("ranking_rounds", 0)
    of_round, of_ranking = (search.batch_size * search.batches_per_round for search in (preset.settings, ranking.search))
    robust = num_labels * rounds_a_label(preset)
    target = next((entry for entry in result.labels if entry.label == TARGET), None)
    updates, robust_updates = full * of_round + ranked * of_ranking, robust * of_round
    return {
        "labels": num_labels,
        "data": source,
        "images": len(images),
        "seconds": round(result.seconds, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)),
        "labels_searched": len(result.labels),
        "arm_rounds": full,
        "ranking_rounds": ranked,
        "image_updates": updates,
        "robust_arm_rounds": robust,
        "robust_image_updates": robust_updates,
        "share_of_robust": round(updates / robust_updates, 4),
        "verdict": str(result.verdict),
        "flagged": list(result.flagged),
        "reason": result.reason,
        "median": _number(result.median),
        "flagging_norm": _number(result.flagging_norm),
        "chance": _number(result.chance),
        "norm_of_target": target and round(target.trigger.l1_norm, 2),
        "without_working_trigger": sum(not entry.succeeded for entry in result.labels),
        "smallest": [[entry.label, round(entry.trigger.l1_norm, 2)] for entry in _smallest(result.labels)],
        "precision": result.settings["precision"],
        "other_cores": load.cores,
        "settings": asdict(preset),
    }


def rounds_a_label(preset: Any) -> int:
    """Return the rounds of a full search, over all starts.

    Starts are dropped at the cuts.
    """
    rounds, before, alive = 0, 0, preset.starts
    for until, keep in [*((cut.rounds, cut.keep) for cut in preset.cuts), (preset.settings.max_rounds, 1)]:
        until = min(until, preset.settings.max_rounds)
        rounds, before, alive = rounds + alive * (until - before), until, keep
    return int(rounds)


def widen(model: Any, num_labels: int, images: np.ndarray, seed: int) -> Any:
    """Return the classifier with random classes added.

    It gives the new classes to none of these clean images (N, 32, 32, 3).

    Raises:
        InputError: fewer labels than it has.
    """
    import keras

    weights, bias = model.layers[-1].get_weights()
    known = len(bias)
    if num_labels < known:
        raise InputError(f"{num_labels} labels: expected {known} or more, those of the shipped network; choose more")
    rng = np.random.default_rng([seed, num_labels])
    like = rng.choice([label for label in range(known) if label != TARGET], num_labels - known)
    added = weights[:, like] + NOISE * weights.std(axis=0)[like] * rng.normal(size=(len(weights), len(like)))
    features = keras.Model(model.inputs, model.layers[-1].input).predict(images.astype(np.float32), batch_size=256, verbose=0)
    winner = (features @ weights + bias).max(axis=1, keepdims=True)
    shift = -(features @ added - winner).max(axis=0)
    last = keras.layers.Dense(num_labels, activation="softmax", name="more_labels")
    wide = keras.Sequential([keras.Input(model.input_shape[1:]), *model.layers[:-1], last])
    last.set_weights([np.concatenate([weights, added], axis=1), np.concatenate([bias, shift])])
    return wide


def markdown(results: dict[str, Any]) -> str:
    """Return the rows as a table."""
    lines = ["| labels | seconds | searched to the end | image updates | of `robust` | memory | verdict, flagged |", "| " + "---: | " * 7]
    for found in results["rows"]:
        flagged = ", ".join(map(str, found["flagged"])) or "none"
        lines.append(
            f"| {found['labels']:,} | {found['seconds']:.0f} | {found['labels_searched']} | {found['image_updates']:,} | "
            f"{found['share_of_robust']:.0%} | {found['peak_mib']:,} MiB | {found['verdict']}, {flagged} |"
        )
    return "\n".join(lines)


def _images(data: Path, seed: int) -> tuple[np.ndarray, np.ndarray, str]:
    if data.exists():
        from nc_tf.datasets.read import read

        loaded = read(data, subset="test")
        if loaded.labels is None:
            raise InputError(f"{data} has no labels: expected GTSRB; run `nc-tf data gtsrb`, or give no --data for rendered signs")
        return loaded.images, loaded.labels, "GTSRB"
    from nc_tf.datasets.rendered import signs

    print(f"{data} is missing: rendered signs take its place", file=sys.stderr)
    images, labels = signs.load_data(num_train=43, num_test=8600, seed=seed)[1]
    return images, labels, "rendered signs"


def _shortened(preset: Any, rounds: int) -> Any:
    ranking = replace(preset.ranking, search=replace(preset.ranking.search, max_rounds=min(rounds, preset.ranking.search.max_rounds)))
    return replace(preset, settings=replace(preset.settings, max_rounds=rounds), ranking=ranking)


def _number(value: float) -> float | None:
    return round(value, 5) if np.isfinite(value) else None


def _smallest(labels: Any) -> Any:
    return sorted((entry for entry in labels if entry.succeeded), key=lambda entry: entry.trigger.l1_norm)[:8]


if __name__ == "__main__":
    sys.exit(main())
