"""Times of the search: seconds a label-round of the paper's GTSRB network, this package against hand-written loops.

    python -m benchmarks.scan.search            about five minutes on two idle cores; writes benchmarks/results/search.json
    python -m benchmarks.scan.search --quick    a smoke test; writes runs/search_quick.json
    python -m benchmarks.scan.search --docs     the tables of the results that lie there, nothing measured

If something else computes meanwhile, the results say so and go to runs/search_disturbed.json instead.
The contenders take turns (A B C A B C ...), so that drift of the machine hits all alike. The PyTorch rows need torch (`pip install torch`).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks.harness import contenders_torch
from benchmarks.harness.record import RESULTS, ROOT, header, read_json, write_json
from benchmarks.harness.tables import disturbed, markdown
from benchmarks.harness.timing import Contender, peak_mib, probes, take_turns
from benchmarks.harness.work import BATCH, LAYOUTS, MINIBATCHES, Spec, Work
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

SEED = 0
LANES = 8  # the default of nc_tf.scan
PRECISIONS = ("float32", "bfloat16")
# A memory probe makes one call, because every minibatch needs the same memory.
PROBE_MINIBATCHES = 4


@dataclass(frozen=True)
class Plan:
    """How long to measure.

    Attributes:
        repetitions: of every contender, after one call that is not counted.
        minibatches: of a round of the contenders.
        growth_repetitions, growth_minibatches: the same for the tables of growth.
        arms, sizes, labels: what grows.
        probes: measure memory.
    """

    repetitions: int = 5
    minibatches: int = MINIBATCHES
    growth_repetitions: int = 3
    growth_minibatches: int = 4
    arms: tuple[int, ...] = (1, 4, LANES, 16, 43)
    sizes: tuple[int, ...] = (32, 64, 96)
    labels: tuple[int, ...] = (43, 200, 1000)
    probes: bool = True


FULL = Plan()
QUICK = Plan(repetitions=2, minibatches=2, growth_repetitions=1, growth_minibatches=1, arms=(1, 4), sizes=(32, 64), labels=(43, 200))


def main(argv: list[str] | None = None) -> int:
    """Measure, print and save; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions of short rounds: does it run?")
    parser.add_argument("--docs", action="store_true", help="print the tables of the results that lie there")
    parser.add_argument("--out", type=Path, help="the file of results")
    parser.add_argument("--memory-probe", metavar="CONTENDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    out = arguments.out or (ROOT / "runs" / "search_quick.json" if arguments.quick else RESULTS / "search.json")
    try:
        if arguments.memory_probe:
            print(json.dumps({"peak_mib": probe(Spec.parse(arguments.memory_probe))}))
        elif arguments.docs:
            print(markdown(read_json(out, "run python -m benchmarks.scan.search first")))
        else:
            results = measure(QUICK if arguments.quick else FULL)
            if disturbed(results) and not arguments.out and not arguments.quick:
                out = ROOT / "runs" / "search_disturbed.json"
            write_json(out, results)
            print(f"\n{markdown(results)}\n\nwritten to {out} in {results['seconds']:.0f} s")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def measure(plan: Plan) -> dict[str, Any]:
    """Run the whole benchmark."""
    began = time.perf_counter()
    results: dict[str, Any] = header(SEED)
    if results["machine"].get("load_before", 0.0) > 0.5:
        print(f"the machine is busy (load {results['machine']['load_before']}): times will be too long", file=sys.stderr)
    results |= {"minibatches": plan.minibatches, "batch": BATCH, "repetitions": plan.repetitions, "lanes": LANES}
    with_torch = contenders_torch.available()
    results["missing"] = [] if with_torch else ["torch not installed: pip install torch"]
    specs = contenders(with_torch)
    arms = [Spec("ours", arms, precision) for arms in plan.arms for precision in PRECISIONS]
    sizes = [Spec("ours", LANES, "float32", size=size) for size in plan.sizes]
    labels = [Spec("ours", LANES, "float32", labels=number) for number in plan.labels]
    only = [Spec(kind) for kind in ["tensorflow_only", *["torch_only"] * with_torch]]
    # First, while this process is small: on Linux a child's peak begins with the size of the process that started it.
    wanted = [*specs, *only, *(spec for spec in arms if spec.precision == "float32"), *sizes, *labels]
    peaks = probe_all(dict.fromkeys(spec.name for spec in wanted)) if plan.probes else {}

    load_tensorflow()
    import tensorflow as tf

    # TensorFlow warns of many traces of one function; here every contender is a search of its own, traced once.
    tf.get_logger().setLevel("ERROR")
    from benchmarks.harness.contenders_tensorflow import network_for
    from benchmarks.harness.floor import flops
    from benchmarks.harness.floor import measure as measure_floor

    def rows(group: list[Spec], work: Work, repetitions: int) -> list[dict[str, Any]]:
        return [row | {"peak_mib": peaks.get(row["name"])} for row in timed(group, work, repetitions)]

    work = Work(plan.minibatches, seed=SEED)
    results["only_imported"] = [asdict(spec) | {"name": spec.name, "peak_mib": peaks.get(spec.name)} for spec in only]
    results["contenders"] = rows(specs, work, plan.repetitions)
    print("the machine's rates")
    results["floor"] = measure_floor(network_for(work), repetitions=plan.repetitions * 2)
    short = replace(work, minibatches=plan.growth_minibatches)
    growth = {"minibatches": plan.growth_minibatches, "lanes": LANES, "repetitions": plan.growth_repetitions}
    results["growth"] = growth | {
        "arms": rows(arms, short, plan.growth_repetitions),
        "image_size": [
            row | {"flops": flops(network_for(replace(short, size=row["size"])))} for row in rows(sizes, short, plan.growth_repetitions)
        ],
        "labels": rows(labels, short, plan.growth_repetitions),
    }
    return results | {"seconds": round(time.perf_counter() - began, 1)}


def contenders(with_torch: bool) -> list[Spec]:
    """Return the contenders: torch in both layouts, the faster counts."""
    specs = [Spec("ours", arms, precision) for arms in (1, LANES) for precision in PRECISIONS] + [Spec("tape")]
    return specs + [Spec("torch", 1, precision, layout) for precision in PRECISIONS for layout in LAYOUTS if with_torch]


def build(spec: Spec, work: Work, *, same_weights: bool = True) -> Contender:
    """Return a contender, ready to be called."""
    work = replace(work, size=spec.size, labels=spec.labels)
    if spec.kind == "torch" and not same_weights:
        return contenders_torch.TorchLoop(work, spec.precision, spec.layout)
    from benchmarks.harness.contenders_tensorflow import TapeLoop, network_for, paper_search

    if spec.kind == "torch":
        model = network_for(work)
        return contenders_torch.checked(contenders_torch.TorchLoop(work, spec.precision, spec.layout, model.get_weights()), model)
    return TapeLoop(work) if spec.kind == "tape" else paper_search(work, spec.arms, spec.precision)


def timed(specs: list[Spec], work: Work, repetitions: int) -> list[dict[str, Any]]:
    """Return a row of each contender, in seconds a label-round."""
    print("  ".join(spec.name for spec in specs))
    ready = [build(spec, work) for spec in specs]
    every, others = take_turns(ready, repetitions)
    rows = []
    for spec, contender, times in zip(specs, ready, every, strict=True):
        seconds = [round(spec.scaled(value, work), 5) for value in times.seconds]
        row = {"name": spec.name, "median": statistics.median(seconds), "least": min(seconds), "seconds": seconds}
        if isinstance(contender, contenders_torch.TorchLoop):
            row |= {"threads": contender.threads, "seconds_by_threads": contender.trials}
        rows.append(asdict(spec) | row | {"loss_of_first_round": times.loss, "other_cores": others})
        print(f"  {spec.name:32} {row['median']:.3f} s a label-round, first round's loss {times.loss:.4f}")
    return rows


def probe(spec: Spec) -> float:
    """Return the peak memory of this process after one contender, MiB."""
    if spec.kind.startswith("tensorflow") or spec.kind in ("ours", "tape"):
        load_tensorflow()
    elif spec.kind == "torch_only":
        contenders_torch.import_module("torch")
    if not spec.kind.endswith("_only"):
        build(spec, Work(PROBE_MINIBATCHES, seed=SEED), same_weights=False)()
    return peak_mib()


def probe_all(names: Iterable[str]) -> dict[str, float]:
    """Return the peak memory by contender."""
    names = list(names)
    print(f"memory of {len(names)} contenders, each in a process of its own")
    peaks = {name: float(found["peak_mib"]) for name, found in probes("benchmarks.scan.search", (), names).items()}
    for name, peak in peaks.items():
        print(f"  {name:32} {peak:7.0f} MiB")
    return peaks


if __name__ == "__main__":
    sys.exit(main())
