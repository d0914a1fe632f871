"""The error rates of a scan: networks with known backdoors, and networks without, scanned by every preset.

    python -m benchmarks.scan.population                                  all steps; the same as `train robust seeds paper`
    python -m benchmarks.scan.population train robust                     some of them
    python -m benchmarks.scan.population robust --networks clean-1,clean-2     some of the networks
    python -m benchmarks.scan.population publish                          nothing new, only what is published after every step

Steps, and what they take on two idle cores:
    train     the networks of population_networks.py, by the project's own `inject`; 40 minutes
    robust    preset robust on all of them; 1.5 minutes a network
    seeds     preset robust with nine more seeds on the shipped infected network, and one more on every other; 45 minutes
    paper     preset paper on four: the two shipped ones as published in scan-*.json, and two more; 30 minutes

Writes benchmarks/results/population.json and docs/images/population.png, and prints the tables of docs/results/population.md. A stopped run
goes on where it was, from runs/population. Scans in population.json that were made with the same presets elsewhere are kept.
"""

import argparse
import json
import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmarks.harness.jobs import image_preset
from benchmarks.harness.record import RESULTS, ROOT, header, read_json, write_json
from benchmarks.scan.population_networks import POPULATION, Planted, train
from benchmarks.scan.population_summary import figure, networks_table, row_of, summary, table
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

RUNS = ROOT / "runs" / "population"
STEPS, PUBLISH = ("train", "robust", "seeds", "paper"), "publish"
SEEDS, SHIPPED_SEEDS = (0, 1), tuple(range(10))
# Beside the shipped ones, whose scans reproduce.py publishes. In float32 each takes 40 minutes; bfloat16, which halves that, changed no
# result that could be seen.
PAPER_NETWORKS, PAPER_PRECISION = ("infected-2", "clean-1"), "auto"
# What reproduce.py publishes. Their times are missing: these scans were made in parts, beside other work.
PUBLISHED = (
    ("shipped-infected", "scan-infected.json"),
    ("shipped-infected", "scan-infected-seed-0.json"),
    ("shipped-clean", "scan-clean.json"),
)


def main(argv: list[str] | None = None) -> int:
    """Run the steps; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", default=list(STEPS), help=f"some of {', '.join(STEPS)}; or {PUBLISH}")
    parser.add_argument("--networks", type=_names, default=POPULATION, help="names, with commas; all of them")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "gtsrb_dataset.h5", help="GTSRB, from `nc-tf data gtsrb`")
    arguments = parser.parse_args(argv)
    try:
        run(arguments.steps, arguments.networks, arguments.data)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def run(steps: list[str], networks: tuple[Planted, ...], data: Path) -> None:
    """Run every step asked for; publish the results of all scans."""
    unknown = [step for step in steps if step not in (*STEPS, PUBLISH)]
    if unknown:
        raise InputError(f"step {unknown[0]!r}: expected some of {', '.join((*STEPS, PUBLISH))}; choose from these")
    if not data.exists():
        raise InputError(f"{data} is missing: expected GTSRB; run `nc-tf data gtsrb`, or give --data")
    load_tensorflow()
    reached = {}
    for planted in POPULATION:
        if not planted.shipped and (("train" in steps and planted in networks) or planted.file.exists()):
            reached[planted.name] = train(planted, data, _sets)
            print(f"{planted.name}: {reached[planted.name]}", flush=True)
    scans: list[tuple[str, Planted, int, str | None]] = [("robust", planted, 0, None) for planted in networks if "robust" in steps]
    if "seeds" in steps:
        for planted in networks:
            seeds = SHIPPED_SEEDS if planted.shipped and planted.targets else SEEDS
            scans += [("robust", planted, seed, None) for seed in seeds]
    if "paper" in steps:
        scans += [("paper", planted, 0, PAPER_PRECISION) for planted in networks if planted.name in PAPER_NETWORKS]
    for preset, planted, seed, precision in scans:
        if planted.file.exists():
            scan_one(preset, planted, seed, precision, data)
    publish(reached)


def _names(text: str) -> tuple[Planted, ...]:
    """Return networks by their names."""
    known = {planted.name: planted for planted in POPULATION}
    names = text.split(",")
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"network {unknown[0]!r}: expected some of {', '.join(known)}")
    return tuple(known[name] for name in names)


def scan_one(preset: str, planted: Planted, seed: int, precision: str | None, data: Path) -> None:
    """Run one scan in a folder of its own, or resume it."""
    from nc_tf.cli.progress import ScanProgress
    from nc_tf.models.loading.load import load_model
    from nc_tf.preprocessing import Preprocessing
    from nc_tf.scan_folder.folder import ScanFolder
    from nc_tf.scan_folder.settings_record import model_facts, scan_record
    from nc_tf.scanning.presets import PRESETS
    from nc_tf.scanning.scan import scan

    folder = ScanFolder(RUNS / preset / f"{planted.name}-seed-{seed}")
    chosen = PRESETS[preset] if precision is None else replace(PRESETS[preset], precision=precision)
    _, (images, labels) = _sets(data)
    model, facts = load_model(planted.file), {"sha256": _hash(planted.file)}
    asked = scan_record(facts["sha256"], _hash(data), chosen, Preprocessing(), 1, seed)
    resume = folder.open(asked)
    if (folder.path / "verdict.json").exists():
        return
    with ScanProgress() as progress:
        result = scan(
            model,
            images,
            labels,
            preset=preset,
            precision=precision,
            seed=seed,
            resume=resume,
            callbacks=[folder, progress],
        )
    folder.write_verdict(result, model_facts(planted.file, model), {"path": data.name, "num_images": len(images)})
    print(f"{preset}, {planted.name}, seed {seed}: {result.verdict}, flagged {result.flagged}, planted {planted.targets}", flush=True)


def publish(reached: dict[str, Any]) -> None:
    """Judge every finished scan again; write the results and their picture.

    A change of the rule therefore needs no new scan.
    """
    from nc_tf.detection.verdict import judge
    from nc_tf.inversion.trigger_space import GREY
    from nc_tf.scan_folder.folder import ScanFolder
    from nc_tf.scanning.presets import PRESETS
    from nc_tf.storage.verdict_file import scan_verdict

    rows = []
    for preset in ("robust", "paper"):
        for planted in POPULATION:
            for path in sorted((RUNS / preset).glob(f"{planted.name}-seed-*")):
                if not (path / "verdict.json").exists():
                    continue
                before = read_json(path / "verdict.json", "delete the folder and scan again")
                labels = list(ScanFolder(path).label_results().values())
                judged = judge(labels, before["settings"], before["seconds"], rule=PRESETS[preset].rule)
                rows.append(row_of(planted, preset, int(path.name.rpartition("-")[2]), scan_verdict(judged, {}, {}).content()))
    for name, file in PUBLISHED:
        planted = next(planted for planted in POPULATION if planted.name == name)
        published = read_json(RESULTS / file, "check the repository out again")
        verdict = next(job["verdict"] for job in published.get("jobs", {"only": published}).values())
        rows.append(row_of(planted, "paper", published["seed"][0], verdict) | {"source": file})
    # Where the starts begin is no setting, and decides as much as any.
    presets = json.loads(json.dumps({name: image_preset(PRESETS[name]) for name in ("robust", "paper")} | {"starts_begin": GREY}))
    kept = _elsewhere(rows, presets)
    rows += kept["scans"]
    networks = [
        {"name": planted.name, "kind": planted.kind, "targets": planted.targets, "seed": planted.seed}
        | reached.get(planted.name, kept["networks"].get(planted.name, {}))
        for planted in POPULATION
    ]
    results = header(sorted({row["seed"] for row in rows})) | {"presets": presets, "networks": networks}
    results |= {"summary": summary(rows), "scans": rows}
    write_json(RESULTS / "population.json", results)
    figure(rows, ROOT / "docs" / "images" / "population.png")
    print(networks_table(rows), table(results["summary"]), sep="\n\n")
    print(f"written to {RESULTS / 'population.json'} and docs/images/population.png")


def _elsewhere(rows: list[dict[str, Any]], presets: dict[str, Any]) -> dict[str, Any]:
    """Return published rows of scans that are missing here.

    They count only if they were made with the same presets.
    """
    found: dict[str, Any] = {"networks": {}, "scans": []}
    if not (RESULTS / "population.json").exists():
        return found
    before = read_json(RESULTS / "population.json", "delete it and run again")
    if before["presets"] == presets:
        here = {(row["network"], row["preset"], row["seed"]) for row in rows}
        found["scans"] = [row for row in before["scans"] if (row["network"], row["preset"], row["seed"]) not in here]
        found["networks"] = {network["name"]: network for network in before["networks"]}
    return found


@lru_cache(maxsize=1)
def _sets(data: Path) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the training and the test set of GTSRB."""
    from nc_tf.datasets.read import read_both

    training, test = read_both(data, seed=0)
    return (training.images, training.labels), (test.images, test.labels)


@lru_cache(maxsize=64)
def _hash(path: Path) -> str:
    from nc_tf.scan_folder.settings_record import sha256_of

    return sha256_of(path)


if __name__ == "__main__":
    sys.exit(main())
