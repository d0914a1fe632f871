"""Clips a second: the pipeline on all cores beside videos decoded one after another.

    python -m benchmarks.video.clips data                      a folder of UCF-101, or any with .avi files in it
    python -m benchmarks.video.clips data --frames 16 --size 224 --repeats 5

Every contender makes the same of a video: T evenly spaced frames, HxW, RGB. "As OpenCV is used" means on one thread, one file after
another, every frame turned into RGB, and the wanted ones resized: by a loop over PyAV, and by OpenCV itself where opencv-python-headless
is installed (with its own FFmpeg threads and its own filter). "One by one" is the decoder of the pipeline, which turns only wanted frames
into RGB, on one thread. The contenders take turns, and the best of their times counts: other work on the machine only makes them longer.
"""

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness.record import RESULTS, OtherLoad, header, write_json
from nc_tf.cli.options import positive
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

Contender = Callable[[Sequence[Path]], object]
LOOP = "PyAV, as OpenCV is used"


def main(argv: list[str] | None = None) -> int:
    """Measure, print and save; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="searched for .avi files")
    parser.add_argument("--frames", type=positive, default=16)
    parser.add_argument("--size", type=positive, default=64)
    parser.add_argument("--repeats", type=positive, default=5)
    parser.add_argument("--out", type=Path, default=RESULTS / "clips.json")
    arguments = parser.parse_args(argv)
    try:
        files = sorted(arguments.folder.rglob("*.avi"))
        if not files:
            raise InputError(f"{arguments.folder} has no .avi file: expected videos such as those of UCF-101; choose another folder")
        load_tensorflow()
        results = header(0) | measure(files, arguments.frames, arguments.size, arguments.repeats)
        write_json(arguments.out, results)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    print(f"\n{markdown(results)}\n\nwritten to {arguments.out}")
    return 0


def measure(files: Sequence[Path], frames: int, size: int, repeats: int) -> dict[str, Any]:
    """Measure every contender on all files, `repeats` times, in turns.

    Raises:
        InputError: a file gives no clip.
    """
    from nc_tf.datasets.ucf101.decoding import ClipFormat

    contenders = _contenders(ClipFormat(frames, size, size))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with OtherLoad() as load:
        for repeat in range(repeats):
            for name, run in contenders.items():
                began = time.perf_counter()
                run(files)
                seconds[name].append(round(time.perf_counter() - began, 4))
                print(f"{repeat + 1}/{repeats} {name}: {len(files) / seconds[name][-1]:.1f} clips a second", flush=True)
    rows = [{"name": name, "seconds": times, "clips_a_second": round(len(files) / min(times), 1)} for name, times in seconds.items()]
    size_mib = round(sum(path.stat().st_size for path in files) / 2**20, 1)
    return {"clips": len(files), "mib": size_mib, "frames": frames, "size": size, "other_cores": load.cores, "rows": rows}


def _contenders(form: Any) -> dict[str, Contender]:
    from nc_tf.datasets.ucf101.decoding import decode
    from nc_tf.datasets.ucf101.pipeline import clip_dataset, jpeg_dataset

    def pipeline(files: Sequence[Path]) -> None:
        _consume(clip_dataset(files, form))

    def kept(files: Sequence[Path]) -> None:
        _consume(jpeg_dataset(clip_dataset(files, form)))

    def pool(files: Sequence[Path]) -> None:
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(lambda path: decode(path, form), files))

    chosen: dict[str, Contender] = {
        "tf.data pipeline": pipeline,
        "the same, made into JPEGs to keep": kept,
        "a pool of threads": pool,
        "one by one": lambda files: [decode(path, form) for path in files],
        LOOP: lambda files: [with_pyav(path, form) for path in files],
    }
    if importlib.util.find_spec("cv2"):
        chosen["OpenCV"] = lambda files: [with_opencv(path, form) for path in files]
    return chosen


def _consume(dataset: Any) -> None:
    for *_, problem in dataset.as_numpy_iterator():
        if problem:
            raise InputError(problem.decode())


def with_pyav(path: Path, form: Any) -> np.ndarray:
    """Return a clip by the usual tutorial loop, (T, H, W, 3) uint8 RGB.

    Raises:
        InputError: no frame comes out of the file.
    """
    from PIL import Image

    from nc_tf.datasets.formats.pictures import RESIZE_FILTER
    from nc_tf.datasets.ucf101.decoding import frame_numbers, load_pyav

    with load_pyav().open(str(path)) as container:
        container.streams.video[0].thread_count = 1
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    if not frames:
        raise InputError(f"{path} gives PyAV no frame: expected a video; replace it")
    wanted = [Image.fromarray(frames[number]) for number in frame_numbers(len(frames), form, path.name)]
    return np.stack([np.asarray(frame.resize((form.width, form.height), RESIZE_FILTER)) for frame in wanted])


def with_opencv(path: Path, form: Any) -> np.ndarray:
    """Return a clip by the usual OpenCV loop, (T, H, W, 3) uint8 RGB.

    Raises:
        InputError: OpenCV gets no frame out of the file.
    """
    import cv2

    from nc_tf.datasets.ucf101.decoding import frame_numbers

    video, frames = cv2.VideoCapture(str(path)), []
    while True:
        read, frame = video.read()
        if not read:
            break
        frames.append(frame)
    video.release()
    if not frames:
        raise InputError(f"{path} gives OpenCV no frame: expected a video; replace it")
    wanted = [frames[number] for number in frame_numbers(len(frames), form, path.name)]
    return np.stack([cv2.cvtColor(cv2.resize(frame, (form.width, form.height)), cv2.COLOR_BGR2RGB) for frame in wanted])


def markdown(results: dict[str, Any]) -> str:
    """Return the rows as a table, below the machine and date."""
    machine, best = results["machine"], {row["name"]: row["clips_a_second"] for row in results["rows"]}
    alone = best[LOOP]
    lines = [
        f"{results['clips']} clips, {results['frames']} frames of {results['size']}x{results['size']}; {machine['cpu']}, "
        f"{machine['cores']} cores, {results['other_cores']} of them busy with something else; {results['date']}",
        "",
        f"| | clips a second | times {LOOP} |",
        "| --- | ---: | ---: |",
    ]
    return "\n".join([*lines, *(f"| {name} | {rate:.1f} | {rate / alone:.2f} |" for name, rate in best.items())])


if __name__ == "__main__":
    sys.exit(main())
