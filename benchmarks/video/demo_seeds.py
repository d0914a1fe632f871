"""Results of `make video-demo` with several seeds: whether the planted label is flagged, and the ASR left by unlearning."""

import json
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness.jobs import RUNS, Job
from benchmarks.harness.record import ROOT
from nc_tf.errors import InputError

SEEDS = (0, 1, 2, 3, 4)
TARGET = 0  # the default of video/2_inject_backdoor.py


def jobs() -> dict[str, Job]:
    """Return one job a seed."""
    return {f"seed {seed}": partial(told, seed, RUNS / "video" / "demo" / f"seed-{seed}") for seed in SEEDS}


def told(seed: int, folder: Path) -> dict[str, Any]:
    """Run the demo from the start; return its outcome.

    Raises:
        InputError: it failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    done = subprocess.run(["make", "video-demo", f"SEED={seed}", f"VIDEO_DEMO={folder}"], cwd=ROOT, stdout=sys.stderr, check=False)  # noqa: S603, S607
    if done.returncode != 0:
        raise InputError(f"make video-demo SEED={seed} ended with code {done.returncode}: expected 0; see what it printed")
    return {"seed": seed, "target": TARGET, "seconds": round(time.perf_counter() - began, 1)} | outcome(folder / "scan")


def outcome(scan: Path) -> dict[str, Any]:
    """Return flagged labels, norms and measurements of a finished demo.

    Measurements are those before and after each method.
    """
    verdict = json.loads((scan / "verdict.json").read_text())
    facts = {key: verdict[key] for key in ("verdict", "flagged", "median", "chance")}
    for ours, theirs in (("norms", "l1_norm"), ("status", "status")):
        facts[ours] = {str(row["label"]): row[theirs] for row in verdict["labels"]}
    methods = {}
    for file in sorted(scan.glob("*/mitigation.json")):
        found = json.loads(file.read_text())
        methods[file.parent.name] = {part: found[part] for part in ("before", "after")}
    return facts | {"methods": methods}
