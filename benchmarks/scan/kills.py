"""A test of killed scans: SIGKILL at random moments, the same command again, compared with a scan left alone.

    python -m benchmarks.scan.kills                          20 kills of a scan of the demo's network; about ten minutes on two cores
    python -m benchmarks.scan.kills --model M --data D       of another one

Writes benchmarks/results/kills.json; the two scan folders stay in runs/kills. Exit code 0: same verdict, no finished label searched
twice, no broken file; 1: not so; 2: the scan cannot be run.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from benchmarks.harness.record import RESULTS, ROOT, header, write_json
from nc_tf.cli.guard import BAD_INPUT
from nc_tf.cli.quiet import load_tensorflow

RUNS = ROOT / "runs" / "kills"
# Longest wait between a file's appearance and the kill, so that kills fall anywhere between two files.
JITTER = 0.5


class Part(Protocol):
    """A process that scans, with the interface of `subprocess.Popen`."""

    def poll(self) -> int | None:
        """Return its exit code, None while it runs."""

    def kill(self) -> None:
        """Send SIGKILL."""

    def wait(self) -> int:
        """Wait for its end; return the exit code."""


class Watch:
    """Record of the files that a scan writes, over all of its parts.

    Attributes:
        seen: (name, time of the last change) of every file of results and states that was ever there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: set[tuple[str, int]] = set()

    def look(self) -> int:
        """Return the number of files written until now."""
        for pattern in ("*_label_*.png", "triggers/label_*.npz", "state/**/arm_*.npz"):
            for path in self.folder.glob(pattern):
                try:
                    self.seen.add((path.name, path.stat().st_mtime_ns))
                except FileNotFoundError:  # a label is done, and its arms are forgotten
                    continue
        return len(self.seen)

    def searched_twice(self) -> list[str]:
        """Return triggers of finished labels that were written again."""
        names = [name for name, _ in self.seen if name.startswith("label_")]
        return sorted({name for name in names if names.count(name) > 1})


def leave_alone(start: Callable[[], Part], folder: Path) -> tuple[int, int]:
    """Run a scan to its end; return its exit code and file count."""
    watch, part = Watch(folder), start()
    while part.poll() is None:
        watch.look()
        time.sleep(0.005)
    return part.wait(), watch.look()


def kill_at(
    start: Callable[[], Part], folder: Path, points: Sequence[int], rng: np.random.Generator, jitter: float = JITTER
) -> dict[str, Any]:
    """Run a scan that is killed at points, and resumed each time.

    Each kill comes a moment after the scan has written that number of files.

    Args:
        start: begins the scan, or goes on with it.
        folder: of the scan.
        points: how many files, for each kill; more than were there when the part began are waited for in any case.
        rng: how long the moment is.
        jitter: how long at most, seconds.

    Returns:
        What came of it, as plain JSON values.
    """
    watch, killed, broken = Watch(folder), [], []
    for point in sorted(points):
        began, before, part = time.perf_counter(), watch.look(), start()
        while part.poll() is None and watch.look() < max(point, before + 1):
            time.sleep(0.002)
        time.sleep(float(rng.random()) * jitter)
        part.kill()
        if part.wait() >= 0:  # it was at its end
            break
        broken += broken_files(folder)
        killed.append(
            {
                "files_written": watch.look(),
                "labels_done": len(list(folder.glob("triggers/label_*.npz"))),
                "arms_under_way": len(list(folder.glob("state/**/arm_*.npz"))),
                "leftovers": len(leftovers(folder)),
                "seconds": round(time.perf_counter() - began, 2),
            }
        )
    part = start()
    while part.poll() is None:
        watch.look()
        time.sleep(0.005)
    watch.look()
    broken += broken_files(folder)
    return {
        "exit_code": part.wait(),
        "kills": killed,
        "broken_files": broken,
        "searched_twice": watch.searched_twice(),
        "leftovers": [*leftovers(folder), *(path.name for path in folder.glob("state/**/arm_*"))],
    }


def broken_files(folder: Path) -> list[str]:
    """Return the unreadable files of a scan folder, without temporary ones."""
    found = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as saved:
                    for key in saved.files:
                        saved[key]
            elif path.suffix == ".png":
                with Image.open(path) as picture:
                    picture.load()
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except Exception as error:  # every reader has kinds of its own
            found.append(f"{path.relative_to(folder)}: {error}")
    return found


def leftovers(folder: Path) -> list[str]:
    """Return the temporary files that a killed process left."""
    return sorted(path.name for path in folder.rglob(".*.part*"))


def compare(whole: Path, killed: Path) -> dict[str, Any]:
    """Return the verdicts of two scans beside each other."""
    one, other = (json.loads((folder / "verdict.json").read_text(encoding="utf-8")) for folder in (whole, killed))
    pairs = list(zip(one["labels"], other["labels"], strict=True))
    return {
        "verdicts": [one["verdict"], other["verdict"]],
        "flagged": [one["flagged"], other["flagged"]],
        "seconds": [one["seconds"], other["seconds"]],
        "labels_with_other_rounds": [row["label"] for row, twin in pairs if row["rounds"] != twin["rounds"]],
        # Rounding depends on which arms share a batch.
        "largest_difference_of_norms": max(abs(row["l1_norm"] - twin["l1_norm"]) / row["l1_norm"] for row, twin in pairs),
    }


def main(argv: list[str] | None = None) -> int:
    """Scan twice, save, print; 0 when nothing was lost, 1 when something was."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="default: the infected network of the demo")
    parser.add_argument("--data", type=Path, help="default: rendered signs")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the moments; the scans have seed 0")
    arguments = parser.parse_args(argv)
    RUNS.mkdir(parents=True, exist_ok=True)
    load_tensorflow()
    from nc_tf.demo import INFECTED, shipped_model

    model, data = arguments.model or shipped_model(INFECTED), arguments.data or _signs()
    shutil.rmtree(RUNS / "whole", ignore_errors=True)
    shutil.rmtree(RUNS / "killed", ignore_errors=True)

    def start(folder: Path) -> Part:
        command = "import sys; from nc_tf.cli.main import main; sys.exit(main())"
        scan = [sys.executable, "-c", command, "scan", str(model), str(data), "--out", str(folder)]
        with open(RUNS / "output.txt", "a", encoding="utf-8") as output:
            return subprocess.Popen(scan, stdout=output, stderr=output)  # noqa: S603  # our own command

    record, rng = header(arguments.seed), np.random.default_rng(arguments.seed)
    code, written = leave_alone(lambda: start(RUNS / "whole"), RUNS / "whole")
    if code == BAD_INPUT:
        print(f"the scan could not be run: {RUNS / 'output.txt'} says why", file=sys.stderr)
        return BAD_INPUT
    print(f"left alone: exit code {code}, {written} files written", flush=True)
    points = rng.choice(np.arange(1, written), arguments.kills, replace=False)
    outcome = kill_at(lambda: start(RUNS / "killed"), RUNS / "killed", [int(point) for point in points], rng)
    same = compare(RUNS / "whole", RUNS / "killed")
    good = outcome["exit_code"] == code and not any(outcome[key] for key in ("broken_files", "searched_twice", "leftovers"))
    good &= all(one == other for one, other in (same["verdicts"], same["flagged"])) and not same["labels_with_other_rounds"]
    content = {"model": model.name, "left_alone": {"exit_code": code, "files_written": written}, "killed": outcome, "compared": same}
    write_json(RESULTS / "kills.json", record | content | {"nothing_lost": good})
    print(f"killed {len(outcome['kills'])} times: {same}\nnothing lost: {good}; written to {RESULTS / 'kills.json'}")
    return 0 if good else 1


def _signs() -> Path:
    """Write the demo's images; return the file."""
    from nc_tf.datasets.rendered import signs

    path = RUNS / "signs.npz"
    if not path.exists():
        _, (images, labels) = signs.load_data(num_train=1, num_test=4300, seed=1)
        np.savez(path, x=images, y=labels)
    return path


if __name__ == "__main__":
    sys.exit(main())
