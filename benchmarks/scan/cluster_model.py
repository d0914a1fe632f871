"""The time of a scan on a cluster of GPUs: a calculation, not a measurement. Its assumptions are the constants below.

    python -m benchmarks.scan.cluster_model     prints the table of docs/results/cluster.md

Legs are dealt by the engine's own code, to workers that only keep time. A round takes what its arithmetic takes at a given rate, and
no less than its steps take to launch; the process that drives the scan handles one result after the other. Workers are started for each
phase of a scan: `low-cost` has two, the ranking and the race.
"""

import heapq
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.harness.record import RESULTS, read_json
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

GPUS = 8
# Sustained TFLOP/s of one GPU on the paper's network. The data sheet of an H100 says 989 in bfloat16: a tenth of a percent of it, which
# is twice what two CPU cores reach (docs/results/speed.md), and one percent.
RATES = (1.0, 10.0)
# A step, one minibatch of all arms of a worker, launches about 150 kernels one after the other; it can take no less than that.
STEP_SECONDS = 1e-3
# Seconds to load TensorFlow and the model on the workers, and to compile; once a phase.
START_SECONDS = 30.0
# Seconds of the driving process: to receive and save a leg's result and send the next leg; to write the files of a label.
LEG_SECONDS, FILES_SECONDS = 3e-3, 0.03
# Seconds to measure a label's trigger on held-out images: on a GPU, and on CPU cores half of a forward and backward pass.
GPU_MEASURE_SECONDS = 0.02


class Worker:
    """A worker that counts time only: its arms advance together, a round at a time."""

    def __init__(self, lanes: int, round_seconds: Callable[[int], float]) -> None:
        self.lanes, self.round_seconds = lanes, round_seconds
        self.queue: deque[Any] = deque()
        self.active: list[tuple[Any, int]] = []  # a leg, and the rounds it has left

    def begin_round(self) -> float | None:
        """Return the duration of the coming round; None without work."""
        while self.queue and len(self.active) < self.lanes:
            leg = self.queue.popleft()
            self.active.append((leg, leg.until - (leg.progress.rounds if leg.progress else 0)))
        return self.round_seconds(len(self.active)) if self.active else None

    def end_round(self) -> list[Any]:
        """Return the finished legs."""
        over = [leg for leg, left in self.active if left == 1]
        self.active = [(leg, left - 1) for leg, left in self.active if left > 1]
        return over


def play(plan: Any, lanes: int, round_seconds: Callable[[int], float], label_seconds: float) -> dict[str, float]:
    """Run a `SuccessiveHalving` or a `Prescreening` on `GPUS` workers; return its times."""
    from nc_tf.inversion.restart import Checkpoint
    from nc_tf.scanning.engines.search_queue import SearchQueue

    rng = np.random.default_rng(0)
    dealer: Any = SearchQueue(plan, lanes)
    workers = [Worker(lanes, round_seconds) for _ in range(GPUS)]
    rounds: list[tuple[float, int]] = []  # when each worker's round ends
    told = busy = 0.0  # until when, and for how long, the driver is at work
    legs = 0

    def deal(now: float) -> None:
        for number, dealt in dealer.deal().items():
            idle = not workers[number].active
            workers[number].queue.extend(dealt)
            if idle and (seconds := workers[number].begin_round()) is not None:
                heapq.heappush(rounds, (now + seconds, number))

    for number in range(GPUS):
        dealer.join(number)
    deal(0.0)
    while rounds:
        now, number = heapq.heappop(rounds)
        over = workers[number].end_round()
        if (seconds := workers[number].begin_round()) is not None:
            heapq.heappush(rounds, (now + seconds, number))
        work = 0.0
        for leg in over:
            # Where a start stands among the others is chance here.
            before = leg.progress.history if leg.progress else np.zeros((0, 7))
            history = np.concatenate([before, rng.random((leg.until - len(before), 7))])
            progress = Checkpoint(leg.restart.label, leg.restart.start, (), history, False, True)  # type: ignore[arg-type]
            dealer.take(number, progress)
            plan.take(progress)
            work += LEG_SECONDS
        if over:
            legs += len(over)
            work += label_seconds * (len(list(plan.finished())) if hasattr(plan, "finished") else 0)
            told, busy = max(told, now) + work, busy + work
            deal(told)
    return {"seconds": told, "driver": busy, "legs": legs}


def scan(name: str, labels: int, tflops: float, flop_an_image: float, label_seconds: float) -> dict[str, float]:
    """Return the times of all phases of a scan, start-up included."""
    from nc_tf.inversion.restart import Restart
    from nc_tf.scanning.halving import SuccessiveHalving
    from nc_tf.scanning.prescreening import Prescreening
    from nc_tf.scanning.presets import PRESETS

    preset = PRESETS[name]
    nothing = np.zeros(0)
    totals = {"seconds": 0.0, "driver": 0.0, "legs": 0.0, "tflop": 0.0}

    def arm(label: int, start: int) -> Restart:
        return Restart(label, start, nothing, nothing)

    def phase(plan: Any, settings: Any, lanes: int, per_label: float) -> None:
        def round_seconds(arms: int) -> float:
            flop = arms * settings.batch_size * flop_an_image
            totals["tflop"] += settings.batches_per_round * flop / 1e12
            return float(settings.batches_per_round * max(flop / (tflops * 1e12), STEP_SECONDS))

        for key, value in play(plan, lanes, round_seconds, per_label).items():
            totals[key] += value
        totals["seconds"] += START_SECONDS

    wanted = list(range(labels))
    if preset.ranking and preset.ranking.saves(labels):
        plan = Prescreening(wanted, arm, preset.ranking, 0)
        phase(plan, preset.ranking.search, preset.ranking.lanes, 0.0)
        wanted = list(plan.shortlist.chosen)
    settings = replace(preset.settings, cost=replace(preset.settings.cost, early_stop=False))
    phase(SuccessiveHalving(wanted, arm, preset.starts, settings, cuts=preset.cuts), settings, preset.lanes, label_seconds)
    return totals


def main() -> int:
    """Print the table; 0 when done, 2 where the speed has not been measured."""
    try:
        speed = read_json(RESULTS / "search.json", "run python -m benchmarks.scan.search first")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    load_tensorflow()
    from nc_tf.scanning.presets import PRESETS

    flop_an_image = speed["floor"]["flops"] / (speed["minibatches"] * speed["batch"])
    rates = {
        row["precision"]: speed["floor"]["flops"] / row["median"] / 1e12
        for row in speed["contenders"]
        if (row["kind"], row["arms"]) == ("ours", 8)
    }
    robust = PRESETS["robust"]
    cpu_measure = robust.held_out * flop_an_image / 2 / 1e12 / rates["float32"]
    cuts = ", ".join(f"{cut.keep} go on after round {cut.rounds}" for cut in robust.cuts)
    print(f"One image, forward and backward: {flop_an_image / 1e6:.1f} MFLOP. A label's trigger on unseen images: {cpu_measure:.2f} s.")
    print(f"`robust`: {robust.starts} starts a label, {cuts}, to round {robust.settings.max_rounds}.\n")
    columns = "labels", "preset", "PFLOP", "legs", "two CPU cores, min", "TFLOP/s a GPU", "8 GPUs, s", "driver, s", "scan, s"
    print(f"| {' | '.join(columns)} | driver on a GPU: scan, s |")
    print("| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for labels, name in ((43, "robust"), (1283, "robust"), (1283, "low-cost")):
        for tflops in RATES:
            cpu, gpu = (
                scan(name, labels, tflops, flop_an_image, FILES_SECONDS + measure) for measure in (cpu_measure, GPU_MEASURE_SECONDS)
            )
            print(
                f"| {labels:,} | `{name}` | {cpu['tflop'] / 1e3:.3f} | {cpu['legs']:,.0f} | {cpu['tflop'] / rates['bfloat16'] / 60:.1f} | "
                f"{tflops:g} | {cpu['tflop'] / tflops / GPUS:.1f} | {cpu['driver']:.0f} | "
                f"{cpu['seconds']:.0f} | {gpu['seconds']:.0f} |"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
