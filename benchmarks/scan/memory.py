"""The memory of whole commands with a large network, against the limit given to them.

    python -m benchmarks.scan.memory                        every case, in the work folder runs/memory; 15 minutes on two idle cores
    python -m benchmarks.scan.memory --cases scan --memory 3GiB
    python -m benchmarks.scan.memory --code ../before       of another checkout, without --memory; kept in the results beside this one's
    python -m benchmarks.scan.memory --docs                 the table of docs/results/memory.md, out of the results

The network is a ResNet-50 of ten classes at 224x224 with random weights, whose last layer is set so that it tells ten colours apart; the
pictures are noise of these colours. Each command is a process of its own, of which the system says the largest resident size; `scan` runs
one short round, in which everything is in flight that ever is. Writes benchmarks/results/memory.json. Exit code 0: no command took more
than it may; 1: one did; 2: one failed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.harness.record import RESULTS, ROOT, header, write_json
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.runtime.memory import DEFAULT, parse_memory, words

SIDE, CLASSES = 224, 10
FEW, MANY = 400, 20_000
CASES = ("scan", "scan of many", "evaluate", "unlearn")
OUT = RESULTS / "memory.json"


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return noise of ten colours, (count, 224, 224, 3) uint8, and classes (count,)."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % CLASSES
    colours = np.random.default_rng(0).integers(40, 216, (CLASSES, 3))
    images = np.empty((count, SIDE, SIDE, 3), np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[...] = np.clip(colours[label] + rng.integers(-30, 31, image.shape), 0, 255)
    return images, labels


def network(path: Path) -> None:
    """Return ResNet-50 with random weights that classifies by colour.

    Its last layer compares features with the mean of each colour's.
    """
    import keras

    keras.utils.set_random_seed(0)
    model = keras.applications.ResNet50(weights=None, classes=CLASSES)
    images, labels = pictures(4 * CLASSES, 1)
    features = keras.Model(model.inputs, model.layers[-2].output).predict(images.astype(np.float32), batch_size=8, verbose=0)
    means = np.stack([features[labels == label].mean(axis=0) for label in range(CLASSES)])
    kernel = (means - means.mean(axis=0)).T
    bias = -np.square(means).sum(axis=1) / 2  # the nearest mean
    answers = features @ kernel + bias
    scale = 20.0 / np.ptp(answers, axis=1).max()
    model.layers[-1].set_weights([kernel * scale, (bias - bias.mean()) * scale])
    print(f"the network tells {(answers.argmax(axis=1) == labels).mean():.0%} of the pictures apart")
    model.save(path)


def inputs(work: Path, cases: list[str]) -> None:
    """Write the inputs of the commands, unless they exist."""
    work.mkdir(parents=True, exist_ok=True)
    if not (work / "resnet50.keras").exists():
        load_tensorflow()
        network(work / "resnet50.keras")
    if not (work / "few.npz").exists():
        images, labels = pictures(FEW, 2)
        np.savez(work / "few.npz", x=images, y=labels)
        mask, pattern = np.zeros((SIDE, SIDE), np.float32), np.zeros((SIDE, SIDE, 3), np.float32)
        mask[-24:, -24:], pattern[-24:, -24:] = 1.0, 255.0
        np.savez(work / "trigger.npz", label=0, mask=mask, pattern=pattern)
    if "scan of many" in cases and not (work / "many").exists():
        for first in range(0, MANY, 500):
            images, labels = pictures(500, 3 + first)
            for number, (image, label) in enumerate(zip(images, labels, strict=True), first):
                file = work / "many.part" / f"colour_{label}" / f"{number:05d}.jpg"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file, quality=70)
        (work / "many.part").rename(work / "many")


def arguments_of(case: str, work: Path) -> list[str]:
    """Return the command line of a case."""
    model, few, out = work / "resnet50.keras", work / "few.npz", work / "out"
    short = ["--rounds", "1", "--batches-per-round", "2", "--intensity-range", "raw", "--fresh", "--out", out]
    return [
        str(part)
        for part in {
            "scan": ["scan", model, few, "--labels", "all", *short],
            "scan of many": ["scan", model, work / "many", "--labels", "0,1,2,3,4", *short],
            "evaluate": ["evaluate", model, few, "--trigger", work / "trigger.npz", "--intensity-range", "raw"],
            "unlearn": [
                "unlearn",
                model,
                few,
                "--trigger",
                work / "trigger.npz",
                "--out",
                out / "repaired.keras",
                "--fraction",
                "0.25",
                "--intensity-range",
                "raw",
            ],
        }[case]
    ]


def run(case: str, work: Path, code: Path, memory: str | None) -> dict[str, Any]:
    """Run a case in a process of its own; return its measurements."""
    command = arguments_of(case, work) + (["--memory", memory] if memory else [])
    began, log = time.perf_counter(), work / "stderr.txt"
    with open(log, "wb") as stderr:
        child = subprocess.Popen(  # noqa: S603  # our own command line
            [sys.executable, "-c", "import sys; from nc_tf.cli.main import main; sys.exit(main())", *command],
            env=os.environ | {"PYTHONPATH": str(code)},
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            cwd=work,
        )
        _, status, usage = os.wait4(child.pid, 0)
    said = log.read_text(errors="replace").splitlines()
    verdict = work / "out" / "verdict.json"
    plan = json.loads(verdict.read_text())["settings"].get("memory") if case.startswith("scan") and verdict.exists() else None
    return {
        "case": case,
        "command": "nc-tf " + " ".join(part.removeprefix(f"{work}{os.sep}") for part in command),
        "exit": os.waitstatus_to_exitcode(status),
        "peak_bytes": usage.ru_maxrss * 1024,
        "seconds": round(time.perf_counter() - began, 1),
        "plan": plan,
        "said": [line for line in said if "flight" in line or "are used" in line or "an update" in line or line.startswith("nc-tf:")],
    }


def write_down(row: dict[str, Any], part: str, memory: str) -> None:
    """Replace the earlier row of a case."""
    before = json.loads(OUT.read_text()) if OUT.exists() else {}
    found: dict[str, list[dict[str, Any]]] = {name: before.get(name, []) for name in ("rows", "before")}
    found[part] = sorted([*(other for other in found[part] if other["case"] != row["case"]), row], key=lambda one: CASES.index(one["case"]))
    write_json(OUT, {**header(0), "memory": parse_memory(memory), **found})


def docs() -> None:
    """Print the results as a table."""
    found = json.loads(OUT.read_text())
    before = {row["case"]: row for row in found["before"]}
    print("| command | images in flight | planned | peak | of 0.1.0 |\n| --- | ---: | ---: | ---: | ---: |")
    for row in found["rows"]:
        plan, earlier = row["plan"], before.get(row["case"])
        planned = [str(plan["in_flight"]), words(plan["planned"])] if plan else ["", ""]
        peaks = [words(row["peak_bytes"]), words(earlier["peak_bytes"]) if earlier else ""]
        print(f"| `{row['command']}` | {' | '.join(planned + peaks)} |")


def main() -> int:
    """Measure the cases and write them down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--memory", default=DEFAULT)
    parser.add_argument("--code", type=Path, help="another checkout, to be measured as it is")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "memory")
    parser.add_argument("--docs", action="store_true")
    options = parser.parse_args()
    if options.docs:
        docs()
        return 0
    inputs(options.work, options.cases)
    code, memory = (options.code.resolve(), None) if options.code else (ROOT, options.memory)
    rows = []
    for case in options.cases:
        rows.append(run(case, options.work, code, memory))
        took = f"peak {words(rows[-1]['peak_bytes'])}, {rows[-1]['seconds']} s"
        print(f"{case:14} exit {rows[-1]['exit']}, {took}", *rows[-1]["said"], sep="\n  ", flush=True)
        write_down(rows[-1], "before" if options.code else "rows", options.memory)
    if any(row["exit"] not in (0, 1, 3) for row in rows):
        return 2
    return int(memory is not None and any(row["peak_bytes"] > parse_memory(options.memory) for row in rows))


if __name__ == "__main__":
    sys.exit(main())
