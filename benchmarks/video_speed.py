"""The search on clips: seconds a label-round, clips a second and memory, each measured in a process of its own.

    python benchmarks/video_speed.py FRAMES SIZE PRECISION      one measurement, printed as JSON; benchmarks/video.py runs them all

A label-round is that of video/3_detect_backdoor.py: 16 minibatches of 2 clips, forward and backward to the input. Labels in flight are as
many as a scan takes of clips with so many frames. The network is an untrained `cnn_lstm`, the clips are noise: neither changes how long
it takes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial
from statistics import median
from typing import Any

from bench_jobs import Job
from bench_record import ROOT, OtherLoad

from nc_tf.cli.options import positive
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

sys.path.insert(0, str(ROOT / "video"))  # the scripts are no package

import common

SEED = 0
CASES = ((8, 64), (16, 64), (16, 32), (32, 64))  # frames, and their height and width
PRECISIONS = ("float32", "bfloat16")
REPETITIONS = 3  # after one round that is not counted, which traces
CLASSES, NUM_CLIPS = 10, 64


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("frames", type=positive, metavar="FRAMES", help="of a clip")
    parser.add_argument("size", type=positive, metavar="SIZE", help="height and width of a frame, pixels")
    parser.add_argument("precision", choices=PRECISIONS, metavar="PRECISION", help=" or ".join(PRECISIONS))
    arguments = parser.parse_args(argv)
    try:
        print(json.dumps(measure(arguments.frames, arguments.size, arguments.precision)))
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def jobs() -> dict[str, Job]:
    """One a case and precision."""
    chosen = [(frames, size, precision) for frames, size in CASES for precision in PRECISIONS]
    return {f"{frames} frames of {size}x{size}, {precision}": partial(alone, frames, size, precision) for frames, size, precision in chosen}


def alone(frames: int, size: int, precision: str) -> dict[str, Any]:
    """`measure` in a process that does nothing else.

    Raises:
        InputError: it ended otherwise than it should.
    """
    command = [sys.executable, __file__, str(frames), str(size), precision]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"})  # noqa: S603
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(
            f"measuring {frames} frames of {size}x{size} in {precision} ended with code {done.returncode} ({last}): expected enough "
            f"memory; run benchmarks/video_speed.py {frames} {size} {precision} alone"
        )
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def measure(frames: int, size: int, precision: str) -> dict[str, Any]:
    """Rounds of as many labels at once as a scan would take, one round uncounted."""
    load_tensorflow()
    import keras
    import numpy as np
    import tensorflow as tf

    from nc_tf.engines.task import Task
    from nc_tf.models.cnn_lstm import cnn_lstm
    from nc_tf.preprocessing import Preprocessing
    from nc_tf.presets import PRESETS
    from nc_tf.racing import random_arm

    imported, preset = _peak_mib(), PRESETS["robust"]
    settings = common.usual_search(preset.settings)
    lanes = preset.lanes_for(settings, frames)
    keras.utils.set_random_seed(SEED)
    clips = np.random.default_rng(SEED).integers(0, 256, (NUM_CLIPS, frames, size, size, 3), np.uint8)
    task = Task(cnn_lstm(CLASSES, clips.shape[1:]), Preprocessing(), precision, clips, settings, 1, SEED)
    arms = [random_arm(task.space, lane % CLASSES, lane // CLASSES, SEED, grey=preset.grey) for lane in range(lanes)]
    run = task.inversion.start([arm.mask for arm in arms], [arm.pattern for arm in arms])
    targets, seconds = tf.constant([arm.label for arm in arms], tf.int32), []
    with OtherLoad() as load:
        for number in range(1 + REPETITIONS):
            began = time.perf_counter()
            images, rows = task.minibatches(arms, [number] * lanes)
            run, report = task.inversion.advance(run, targets, images, tf.constant(rows))
            report.numpy()  # the host's one read a round, which waits for it
            seconds.append(time.perf_counter() - began)
    a_label = [round(value / lanes, 4) for value in seconds[1:]]
    clips_a_label = settings.batch_size * settings.batches_per_round
    return {
        "frames": frames,
        "size": size,
        "precision": task.network.precision,
        "lanes": lanes,
        "frames_in_flight": lanes * settings.batch_size * frames,
        "first_round_seconds": round(seconds[0], 2),
        "seconds": a_label,
        "median": median(a_label),
        "clips_a_second": round(clips_a_label / median(a_label), 1),
        "peak_mib": _peak_mib(),
        "imported_mib": imported,
        "other_cores": load.cores,
    }


def _peak_mib() -> float:
    """Peak resident memory of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


if __name__ == "__main__":
    sys.exit(main())
