"""The search on clips, beside a plain PyTorch loop: seconds a label-round, clips a second and memory.

    python -m benchmarks.video.speed FRAMES SIZE MINIBATCHES      one case, printed as JSON; benchmarks/video/steps.py runs them all

A label-round is that of video/3_detect_backdoor.py: 16 minibatches of 2 clips, forward and backward to the input; of fewer the times are
scaled. Labels in flight are as many as a scan takes of clips with so many frames; the PyTorch loop takes one. All take turns in one
process, and each has its memory measured in one of its own. The network is an untrained `cnn_lstm`, the clips are noise: neither changes
how long it takes.

The PyTorch rows need torch (`pip install torch`), and are left out where it is missing.
"""

import argparse
import json
import sys
from dataclasses import asdict, replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.harness import contenders_torch
from benchmarks.harness.contenders_torch_clips import ClipLoop
from benchmarks.harness.jobs import Job
from benchmarks.harness.timing import Contender, alone, peak_mib, probes, take_turns
from benchmarks.harness.work import LAYOUTS, ClipWork, Spec
from nc_tf.cli.options import positive
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

if TYPE_CHECKING:
    import keras

MODULE = "benchmarks.video.speed"
SEED = 0
# Frames, their height and width, and minibatches: whole rounds where the contenders are compared, short ones to see how times grow.
CASES = ((16, 64, 16), (8, 64, 4), (32, 64, 4), (16, 32, 4))
PRECISIONS = ("float32", "bfloat16")
REPETITIONS = 3
PROBE_MINIBATCHES = 2  # a memory probe's; every minibatch needs the same memory


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=positive, metavar="FRAMES", help="of a clip")
    parser.add_argument("size", type=positive, metavar="SIZE", help="height and width of a frame, pixels")
    parser.add_argument("minibatches", type=positive, metavar="MINIBATCHES", help="of a round")
    parser.add_argument("--memory-probe", metavar="CONTENDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    work = ClipWork(arguments.minibatches, arguments.size, seed=SEED, frames=arguments.frames)
    try:
        print(json.dumps(probe(work, Spec.parse(arguments.memory_probe)) if arguments.memory_probe else measure(work)))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def jobs() -> dict[str, Job]:
    """Return one job a case."""
    return {f"{frames} frames of {size}x{size}": partial(measured, frames, size, minibatches) for frames, size, minibatches in CASES}


def measured(frames: int, size: int, minibatches: int) -> dict[str, Any]:
    """Return `measure`, with `probe` of every contender, in separate processes."""
    clips = str(frames), str(size)
    found = alone(MODULE, *clips, str(minibatches))
    memory = probes(MODULE, (*clips, str(PROBE_MINIBATCHES)), [row["name"] for row in found["contenders"]])
    return found | {"contenders": [row | memory[row["name"]] for row in found["contenders"]]}


def measure(work: ClipWork) -> dict[str, Any]:
    """Measure all contenders in turn."""
    load_tensorflow()
    import tensorflow as tf

    tf.get_logger().setLevel("ERROR")  # silences a warning of many traces; here are two searches, each traced once
    lanes, model, with_torch = lanes_for(work), network_for(work), contenders_torch.available()
    specs = [Spec("ours", lanes, precision) for precision in PRECISIONS]
    specs += [Spec("torch", 1, precision, layout) for precision in PRECISIONS for layout in LAYOUTS if with_torch]
    ready: list[Contender] = []
    for spec in specs:
        if spec.kind == "torch":
            ready.append(contenders_torch.checked(ClipLoop(work, spec.precision, spec.layout, model.get_weights()), model))
        else:
            ready.append(clip_search(work, model, spec))
    every, others = take_turns(ready, REPETITIONS)
    case, rows = {"frames": work.frames, "size": work.size, "labels": work.labels, "minibatches": work.minibatches}, []
    for spec, contender, times in zip(specs, ready, every, strict=True):
        seconds = [round(spec.scaled(value, work), 4) for value in times.seconds]
        row = asdict(spec) | case | {"name": spec.name, "median": median(seconds), "seconds": seconds}
        row |= {"clips_a_second": round(ClipWork.minibatches * work.batch / median(seconds), 1)}
        row |= {"frames_in_flight": spec.arms * work.batch * work.frames, "first_call_seconds": round(times.first, 2)}
        if isinstance(contender, ClipLoop):
            row |= {"threads": contender.threads, "seconds_by_threads": contender.trials}
        rows.append(row | {"loss_of_first_round": times.loss, "other_cores": others})
    return {"contenders": rows, "missing": [] if with_torch else ["torch not installed: pip install torch"]}


def probe(work: ClipWork, spec: Spec) -> dict[str, float]:
    """Return peak memory before and after one round of a contender.

    The value before includes the imports only.
    """
    if spec.kind == "torch":
        contenders_torch.import_module("torch")
        imported = peak_mib()
        ClipLoop(work, spec.precision, spec.layout)()
    else:
        load_tensorflow()
        from nc_tf.scanning.engines import task  # noqa: F401 - all that the search imports

        imported = peak_mib()
        clip_search(work, network_for(work), spec)()
    return {"peak_mib": peak_mib(), "imported_mib": imported}


def network_for(work: ClipWork) -> "keras.Model":
    """Return an untrained network for the work's clips."""
    import keras

    from nc_tf.models.networks.cnn_lstm import cnn_lstm

    keras.utils.set_random_seed(work.seed)
    return cnn_lstm(work.labels, work.images.shape[1:])


def lanes_for(work: ClipWork) -> int:
    """Return the number of labels that a scan searches at once."""
    from nc_tf.scanning.presets import PRESETS

    preset = PRESETS["robust"]
    return preset.lanes_for(preset.settings_for(work.images.shape[1:], work.labels), work.frames)


def clip_search(work: ClipWork, model: "keras.Model", spec: Spec) -> Contender:
    """Return the search of a scan, with the spec's number of arms."""
    from benchmarks.harness.contenders_tensorflow import our_search
    from nc_tf.scanning.presets import PRESETS

    settings = replace(PRESETS["robust"].settings_for(work.images.shape[1:], work.labels), batches_per_round=work.minibatches)
    return our_search(work, model, settings, spec.arms, spec.precision)


if __name__ == "__main__":
    sys.exit(main())
