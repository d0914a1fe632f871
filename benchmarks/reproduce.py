"""The published numbers, computed again: those of docs/results/gtsrb-paper.md, into benchmarks/results/<step>.json.

    python -m benchmarks.reproduce                      all steps; the same as `all`
    python -m benchmarks.reproduce demo unlearning      some of them

Steps, and what they take on two idle cores:
    models          clean accuracy and attack success rate of the shipped networks; a minute
    demo            `nc-tf demo` with ten seeds; 15 to 25 minutes; needs no data
    scan-infected   the classic scan of the infected GTSRB network, all labels; 25 to 40 minutes
    scan-clean      the same of the clean one; 25 to 40 minutes
    unlearning      unlearn.py with the reversed trigger, the true one, and nothing; 10 minutes; needs scan-infected

A stopped run goes on where it was, from runs/reproduce; --fresh forgets what lies there.
"""

import argparse
import contextlib
import io
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness.record import RESULTS, ROOT, header, now, read_json, write_json

sys.path.insert(0, str(ROOT))  # the classic scripts lie in the root of the repository
import gtsrb_visualize_example
import mad_outlier_detection
import unlearn
from nc_tf.cli.options import numbers
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

RUNS = ROOT / "runs" / "reproduce"
MODELS = ROOT / "models"
GTSRB_MODELS = {"infected": "gtsrb_bottom_right_white_4_target_33.h5", "clean": "gtsrb_clean.h5"}
SIGNS_MODELS = {"infected": "signs_infected.keras", "clean": "signs_clean.keras"}
TARGET = 33
SOURCES = ("reversed", "true", "nothing")
UNLEARNING_SEEDS, DEMO_SEEDS = (0, 1, 2), tuple(range(10))

Job = Callable[[], dict[str, Any]]


def main(argv: list[str] | None = None) -> int:
    """Run the steps; 0 when done, 2 for bad input."""
    arguments = parse(argv)
    try:
        run(arguments)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    # Not `choices`: argparse checks the default of a list of arguments against them as a whole.
    parser.add_argument("steps", nargs="*", metavar="STEP", default=["all"], help=f"all, or some of {', '.join(STEPS)}")
    parser.add_argument("--data", type=Path, default=ROOT / "data" / "gtsrb_dataset.h5", help="GTSRB, from `nc-tf data gtsrb`")
    parser.add_argument("--seeds", type=numbers(int), help="of demo and unlearning, such as 0,1; default: ten and three")
    parser.add_argument("--fresh", action="store_true", help="start over")
    return parser.parse_args(argv)


def run(arguments: argparse.Namespace) -> None:
    """Run every step asked for, in the order of `STEPS`.

    Unlearning needs the triggers that the scan found.
    """
    unknown = [step for step in arguments.steps if step not in ("all", *STEPS)]
    if unknown:
        raise InputError(f"step {unknown[0]!r}: expected all, or some of {', '.join(STEPS)}; choose from these")
    wanted = [step for step in STEPS if step in arguments.steps or "all" in arguments.steps]
    # This check comes before the steps that need no data, which take half an hour.
    if wanted != ["demo"] and not arguments.data.exists():
        raise InputError(f"{arguments.data} is missing: expected GTSRB; run `nc-tf data gtsrb`, give --data, or run the step demo alone")
    load_tensorflow()
    for step in wanted:
        run_step(step, arguments)


def run_step(step: str, arguments: argparse.Namespace) -> None:
    """Run the pending jobs of one step, and publish the results.

    Results are saved after each job and published after the last.
    """
    working = RUNS / f"{step}.json"
    jobs = STEPS[step](arguments)
    if arguments.fresh:
        working.unlink(missing_ok=True)
        shutil.rmtree(RUNS / step, ignore_errors=True)
    results = header(list(_seeds(step, arguments))) | {"step": step, "data": _data_facts(step, arguments), "jobs": {}}
    if working.exists():
        before = read_json(working, "start over with --fresh")
        for key in ("versions", "data"):
            if before.get(key) != results[key]:
                raise InputError(
                    f"{working} was made with {key} {before.get(key)}, this run has {results[key]}: "
                    "expected the same to go on with it; start over with --fresh"
                )
        results["jobs"] = before["jobs"]
    for number, (name, job) in enumerate(jobs.items(), 1):
        title = f"[{step} {number} of {len(jobs)}] {name}"
        if name in results["jobs"]:
            print(f"{title}: done on {results['jobs'][name]['date']}")
            continue
        print(f"{title} ...", flush=True)
        began = time.perf_counter()
        row = job()
        results["jobs"][name] = {"date": now(), "seconds": round(time.perf_counter() - began, 1), **row}
        write_json(working, results)
        print(f"{title}: {results['jobs'][name]['seconds']:.0f} s")
    # Results of an earlier run with other --seeds are not published.
    published = {name: results["jobs"][name] for name in jobs}
    results |= {"jobs": published, "seconds": round(sum(row["seconds"] for row in published.values()), 1)}
    write_json(RESULTS / f"{step}.json", results)
    print(f"[{step}] written to {RESULTS / step}.json")


def scan_jobs(which: str) -> Callable[[argparse.Namespace], dict[str, Job]]:
    """Return the classic scan of one shipped network, with its verdict."""

    def job(arguments: argparse.Namespace) -> dict[str, Any]:
        from nc_tf.detection.verdict import judge
        from nc_tf.models.loading.load import load_model
        from nc_tf.scan_folder.folder import ScanFolder
        from nc_tf.scan_folder.settings_record import model_facts
        from nc_tf.storage.verdict_file import scan_verdict

        model, out = MODELS / GTSRB_MODELS[which], RUNS / f"scan-{which}" / "scan"
        folder = ScanFolder(out, "gtsrb")
        # The seconds are those of this run: labels that an earlier one had finished cost nothing.
        before = len(folder.label_results())
        _expect_success(gtsrb_visualize_example.main(["--data", str(arguments.data), "--model", str(model), "--results", str(out)]))
        lines = _echo(lambda: _expect_success(mad_outlier_detection.main(["--results", str(out)])))
        judged = judge(list(folder.label_results().values()))
        facts = model_facts(model, load_model(model)) | {"path": str(model.relative_to(ROOT))}
        verdict = scan_verdict(judged, facts, _gtsrb_facts(arguments)).content()
        # The classic script prints neither settings nor time: the first are in the folder, the second is the job's.
        verdict["settings"] = read_json(out / "state" / "settings.json", "start over with --fresh")
        del verdict["seconds"], verdict["versions"]
        return {"labels_done_before": before, "printed": lines, "verdict": verdict}

    return lambda arguments: {which: lambda: job(arguments)}


def unlearning_jobs(arguments: argparse.Namespace) -> dict[str, Job]:
    """Return runs of unlearn.py for every source of triggers and seed."""

    def job(source: str, seed: int) -> dict[str, Any]:
        scan, out = RUNS / "scan-infected" / "scan", RUNS / "unlearning" / f"{source}-{seed}"
        if not (RUNS / "scan-infected.json").exists():
            raise InputError(f"{scan} holds no finished scan: expected the step scan-infected before unlearning; run it first")
        options = ["--data", str(arguments.data), "--model", str(MODELS / GTSRB_MODELS["infected"]), "--results", str(scan)]
        _expect_success(unlearn.main([*options, "--out", str(out / "unlearned.h5"), "--with", source, "--seed", str(seed)]))
        return {"source": source, "seed": seed, "mitigation": _mitigation(out)}

    return {f"{source}, seed {seed}": _bound(job, source, seed) for source in SOURCES for seed in _seeds("unlearning", arguments)}


def model_jobs(arguments: argparse.Namespace) -> dict[str, Job]:
    """Return clean accuracy and ASR measurements of each shipped network.

    The GTSRB networks are measured on GTSRB, the others on rendered signs.
    """

    def job(file: str, on_gtsrb: bool) -> dict[str, Any]:
        from nc_tf.attacks.patch import patch
        from nc_tf.datasets.read import read
        from nc_tf.datasets.rendered import signs
        from nc_tf.demo import shipped_model
        from nc_tf.evaluation import measure
        from nc_tf.models.loading.load import load_model

        if on_gtsrb:
            data = read(arguments.data, subset="test")
            images, labels, name = data.images, data.labels, "GTSRB test set"
        else:
            # The test images of `nc-tf demo` with seed 0.
            _, (images, labels) = signs.load_data(num_train=1, num_test=4300, seed=1)
            name = "rendered signs, seed 1"
        if labels is None:
            raise InputError(f"{arguments.data} has no labels: expected GTSRB's test set; run `nc-tf data gtsrb`")
        model = load_model(MODELS / file if on_gtsrb else shipped_model(file))
        measured = measure(model, images, labels, {"true": patch(images.shape[1:], TARGET)})
        return {"model": file, "images": name, "num_images": len(images), **asdict(measured)}

    files = dict.fromkeys(GTSRB_MODELS.values(), True) | dict.fromkeys(SIGNS_MODELS.values(), False)
    return {file: _bound(job, file, on_gtsrb) for file, on_gtsrb in files.items()}


def demo_jobs(arguments: argparse.Namespace) -> dict[str, Job]:
    """Return the demo, from scan to repair, with every seed."""

    def job(seed: int) -> dict[str, Any]:
        from nc_tf.demo import TARGET as PLANTED
        from nc_tf.demo import Demo

        demo = Demo(RUNS / "demo" / f"seed-{seed}", seed)
        demo.prepare()
        result = demo.scan()
        row = {"seed": seed, "verdict": str(result.verdict), "flagged": list(result.flagged), "found": PLANTED in result.flagged}
        # NaN is no JSON: an index that does not exist is null.
        index = result.anomaly_index if result.anomaly_index == result.anomaly_index else None
        row |= {"anomaly_index": index, "seconds_of_scan": round(result.seconds, 1), "before": None, "after": None}
        if result.triggers:
            repaired = demo.unlearn()
            row |= {"before": asdict(repaired.before), "after": asdict(repaired.after)}
        print(f"  {row['verdict']}, flagged {row['flagged']}, index {index}; after unlearning {row['after']}")
        return row

    return {f"seed {seed}": _bound(job, seed) for seed in _seeds("demo", arguments)}


# In the order they run: first what takes little, and the scan before the unlearning that reads it.
STEPS: dict[str, Callable[[argparse.Namespace], dict[str, Job]]] = {
    "models": model_jobs,
    "demo": demo_jobs,
    "scan-infected": scan_jobs("infected"),
    "scan-clean": scan_jobs("clean"),
    "unlearning": unlearning_jobs,
}


def _bound(job: Callable[..., dict[str, Any]], *values: Any) -> Job:
    return lambda: job(*values)


def _seeds(step: str, arguments: argparse.Namespace) -> tuple[int, ...]:
    """Return the seeds of a step; scans and models have one."""
    defaults = {"demo": DEMO_SEEDS, "unlearning": UNLEARNING_SEEDS}
    return (arguments.seeds or defaults[step]) if step in defaults else (gtsrb_visualize_example.SEED,)


def _data_facts(step: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Return the file that a step reads, so that resuming refuses another."""
    return None if step == "demo" else _gtsrb_facts(arguments)


def _gtsrb_facts(arguments: argparse.Namespace) -> dict[str, Any]:
    from nc_tf.scan_folder.settings_record import sha256_of

    return {"file": arguments.data.name, "sha256": sha256_of(arguments.data)}


def _mitigation(folder: Path) -> dict[str, Any]:
    """Return the record of unlearn.py without its path.

    The path differs between machines.
    """
    content = read_json(folder / "mitigation.json", "start over with --fresh")
    content.pop("model", None)
    return content


def _expect_success(code: int) -> None:
    """Raise an error when a script returns 2.

    The scripts print the reason themselves.
    """
    if code != 0:
        raise InputError(f"the script ended with code {code}: expected 0; the line above says why, and the same command goes on from here")


def _echo(call: Callable[[], None]) -> list[str]:
    """Return the lines that a call prints; show them too."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        call()
    print(printed.getvalue(), end="")
    return printed.getvalue().splitlines()


if __name__ == "__main__":
    sys.exit(main())
