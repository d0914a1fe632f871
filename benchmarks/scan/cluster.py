"""Times of the cluster engine: one search by one worker and by two, of one core each, beside the local engine.

    python -m benchmarks.scan.cluster           about ten minutes on two idle cores; writes benchmarks/results/cluster.json
    python -m benchmarks.scan.cluster --quick   a smoke test; writes runs/cluster_quick.json
    python -m benchmarks.scan.cluster --docs    the table of the results that lie there, nothing measured

If something else computes meanwhile, the results say so and go to runs/cluster_disturbed.json instead.
The contenders take turns. Two plain processes of one core each, without Ray, say how much more the machine itself gives to two at once.
Needs Ray: pip install 'nc_tf[ray]'.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.harness.record import RESULTS, ROOT, OtherLoad, header, read_json, write_json
from nc_tf.cli.options import numbers
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

SEED = 0
LANES, BATCH, MINIBATCHES = 8, 32, 16
# Seconds of observation before a contender is timed. Other processes may use no more cores than an idle system does.
WATCHED_SECONDS, QUIET = 2.0, 0.1
# The rate is taken from the moment when this share of the rounds has been run: by then all workers are there, and everything is compiled.
WARM_SHARE = 1 / 3


@dataclass(frozen=True)
class Plan:
    """How much to search: `rounds` of one start of `labels` labels, each contender `repetitions` times."""

    labels: int = 12
    rounds: int = 40
    repetitions: int = 3


FULL, QUICK = Plan(), Plan(labels=6, rounds=16, repetitions=1)
CONTENDERS = {
    "local, all cores": "this process alone, with as many threads as it likes",
    "process, 1": "one process of one core, without Ray",
    "process, 2": "two at once, each with half of the labels, without Ray",
    "ray, 1": "one worker of one core",
    "ray, 2": "two workers of one core each, on two nodes",
}


def main(argv: list[str] | None = None) -> int:
    """Measure, print and save; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short search, once: does it run?")
    parser.add_argument("--docs", action="store_true", help="print the table of the results that lie there")
    parser.add_argument("--out", type=Path, help="the file of results")
    parser.add_argument("--one-core", type=numbers(int), metavar="LABELS", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    plan = QUICK if arguments.quick else FULL
    out = arguments.out or (ROOT / "runs" / "cluster_quick.json" if arguments.quick else RESULTS / "cluster.json")
    try:
        if arguments.one_core:
            load_tensorflow()
            print(json.dumps(search("local", arguments.one_core, plan.rounds)))
        elif arguments.docs:
            print(markdown(read_json(out, "run python -m benchmarks.scan.cluster first")))
        else:
            results = measure(plan, arguments.quick)
            if results["disturbed"] and not arguments.out and not arguments.quick:
                out = ROOT / "runs" / "cluster_disturbed.json"
            write_json(out, results)
            print(f"\n{markdown(results)}\n\nwritten to {out} in {results['seconds']:.0f} s")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def measure(plan: Plan, quick: bool) -> dict[str, Any]:
    """Measure every contender in turn, `plan.repetitions` times."""
    began = time.perf_counter()
    results = header(SEED)
    results["versions"]["ray"] = version("ray")
    results |= {"labels": plan.labels, "rounds": plan.rounds, "batch": BATCH, "minibatches": MINIBATCHES, "lanes": LANES}
    load_tensorflow()
    labels = list(range(plan.labels))
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in CONTENDERS}
    others = []
    for _ in range(plan.repetitions):
        for name in CONTENDERS:
            with OtherLoad() as load:
                time.sleep(WATCHED_SECONDS)
            others.append(load.cores or 0.0)
            kind, _, number = name.partition(", ")
            if kind == "local":
                run = search("local", labels, plan.rounds)
            elif kind == "ray":
                with cluster(int(number)):
                    run = search("ray", labels, plan.rounds)
            else:
                run = side_by_side([labels[first :: int(number)] for first in range(int(number))], quick)
            runs[name].append(run)
            print(f"  {name:18} {run['rate']:6.2f} label-rounds a second, {run['seconds']:.1f} s in all", flush=True)
    rows = [{"name": name, "what": what, "runs": runs[name]} for name, what in CONTENDERS.items()]
    disturbed = round(max(others), 2) if max(others) > QUIET else None
    return results | {"contenders": rows, "disturbed": disturbed, "seconds": round(time.perf_counter() - began, 1)}


def search(engine: str, labels: Sequence[int], rounds: int) -> dict[str, float]:
    """Search labels of the shipped infected network on rendered signs.

    Returns:
        seconds in all, seconds until the first leg was back, and label-rounds a second after that (see `WARM_SHARE`).
    """
    from nc_tf.datasets.rendered import signs
    from nc_tf.demo import INFECTED, shipped_model
    from nc_tf.inversion.cost_schedule import CostSchedule
    from nc_tf.inversion.step import Loss, SearchSettings
    from nc_tf.models.loading.load import load_model
    from nc_tf.preprocessing import preprocessing
    from nc_tf.scanning.engines.choice import engine_named
    from nc_tf.scanning.engines.task import Task
    from nc_tf.scanning.halving import SuccessiveHalving, random_restart

    _, (images, _) = signs.load_data(num_train=43, num_test=2150, seed=1)
    settings = SearchSettings(
        loss=Loss.CROSS_ENTROPY,
        batch_size=BATCH,
        batches_per_round=MINIBATCHES,
        max_rounds=rounds,
        cost=CostSchedule(early_stop=False),
    )
    task = Task(load_model(shipped_model(INFECTED)), preprocessing("raw"), "float32", images, settings, 1, SEED)
    race = SuccessiveHalving(labels, lambda label, start: random_restart(task.space, label, start, SEED, grey=True), 1, settings)
    began = time.perf_counter()
    ended: list[tuple[float, int]] = []  # when, and how many rounds had been run by then
    before: dict[int, int] = {}
    for progress in engine_named(engine)(task, race, lanes=LANES, on_round=lambda *_: None):
        race.take(progress)
        before[progress.label] = progress.rounds
        ended.append((time.perf_counter() - began, sum(before.values())))
    warm = next((moment, done) for moment, done in ended if done >= WARM_SHARE * rounds * len(labels))
    rate = (ended[-1][1] - warm[1]) / (ended[-1][0] - warm[0])
    return {"seconds": round(ended[-1][0], 2), "first": round(ended[0][0], 2), "rate": round(rate, 3)}


def side_by_side(shares: Sequence[Sequence[int]], quick: bool) -> dict[str, float]:
    """Return the rate of separate processes, one core each, summed."""
    limits = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1", "OMP_NUM_THREADS": "1"}
    began = [
        subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "benchmarks.scan.cluster", "--one-core", ",".join(map(str, share)), *["--quick"] * quick],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | limits,
        )
        for share in shares
    ]
    said = [process.communicate()[0] for process in began]
    if any(process.returncode for process in began):
        raise InputError(f"a process of one core ended with {[process.returncode for process in began]}: expected 0; see above")
    runs = [json.loads(text.splitlines()[-1]) for text in said]
    last = {key: max(run[key] for run in runs) for key in ("seconds", "first")}
    return last | {"rate": round(sum(run["rate"] for run in runs), 3)}


@contextmanager
def cluster(nodes: int) -> Iterator[None]:
    """Start a cluster here: an idle head, and nodes of one core."""
    from ray.cluster_utils import Cluster

    small: dict[str, Any] = {"include_dashboard": False, "object_store_memory": 200 * 2**20}
    before = dict(os.environ)
    os.environ["RAY_AUTH_MODE"] = "disabled"  # it lives for a minute, so no token is needed
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    try:
        os.environ["RAY_ADDRESS"] = made.address
        for _ in range(nodes):
            made.add_node(num_cpus=1, **small)
        yield
    finally:
        made.shutdown()
        os.environ.clear()
        os.environ.update(before)


def markdown(results: dict[str, Any]) -> str:
    """Return the results as a table."""
    machine = results["machine"]
    rates = {row["name"]: statistics.median(run["rate"] for run in row["runs"]) for row in results["contenders"]}
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores; "
        + ", ".join(f"{name} {number}" for name, number in results["versions"].items())
        + f"; {results['date'][:10]}, seed {results['seed']}, `{results['command']}`",
        "",
        f"The small network of `models/` on rendered signs, {results['labels']} labels for {results['rounds']} rounds of "
        f"{results['minibatches']} minibatches of {results['batch']}, float32; median of {len(results['contenders'][0]['runs'])}.",
        "",
        "| | label-rounds a second | times one of its kind | until the first leg is back, s |",
        "| --- | ---: | ---: | ---: |",
    ]
    if results["disturbed"]:
        lines[:0] = [f"**Disturbed: other processes kept {results['disturbed']} cores busy meanwhile. These rates compare nothing.**", ""]
    for row in results["contenders"]:
        one = rates.get(f"{row['name'].partition(',')[0]}, 1")
        first = statistics.median(run["first"] for run in row["runs"])
        times = f"{rates[row['name']] / one:.2f}" if one else ""
        lines.append(f"| {row['what']} | {rates[row['name']]:.2f} | {times} | {first:.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
