"""Jobs whose results are kept, so that a stopped benchmark resumes; and two shared jobs: a scan, and a defence."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.harness.record import RESULTS, ROOT, header, read_json, write_json
from nc_tf.errors import InputError

if TYPE_CHECKING:
    from nc_tf.scanning.presets import Preset

RUNS = ROOT / "runs"
SPLIT_SEED = 0  # splits off a test set, where the data has none

Job = Callable[[], dict[str, Any]]
Pair = tuple[np.ndarray, np.ndarray]


def check_steps(asked: Sequence[str], known: Sequence[str]) -> None:
    """Check that a benchmark has all the steps asked for.

    Raises:
        InputError: it has not.
    """
    unknown = [step for step in asked if step not in known]
    if unknown:
        raise InputError(f"step {unknown[0]!r}: expected some of {', '.join(known)}; choose from these")


def image_preset(preset: "Preset") -> dict[str, Any]:
    """Return the settings that a search on images depends on.

    Results from before presets had settings for clips, tried patches, or searched beside the labels, still count.

    A patch that is tried takes the place of a trigger where it is smaller, and changes nothing else. The other searches change none.
    """
    from nc_tf.scan_folder.settings_record import settings_record

    values = asdict(preset) | {"settings": settings_record(preset.settings)}
    del values["clips"], values["patches"], values["untargeted"], values["sources"]
    return values


def kept_file(benchmark: str, step: str, name: str) -> Path:
    """Return the file that keeps a job's result."""
    return RUNS / benchmark / step / f"{name.replace(' ', '_').replace('/', '_')}.json"


def results_file(benchmark: str, step: str) -> Path:
    """Return the file that publishes a step's results."""
    return RESULTS / f"{benchmark}-{step}.json"


def publish(
    benchmark: str, step: str, jobs: dict[str, Job], seed: int | list[int], chosen: Collection[str] | None = None
) -> dict[str, Any]:
    """Run the chosen jobs that are pending, and publish all results.

    By default all jobs are chosen. Results of earlier runs are published too.
    """
    rows = {}
    for name, job in jobs.items():
        kept = kept_file(benchmark, step, name)
        if not kept.exists():
            if chosen is not None and name not in chosen:
                continue
            write_json(kept, job())
            print(f"[{step}] {name}: done", flush=True)
        rows[name] = read_json(kept, "delete it and run again")
    results = header(seed) | {"jobs": rows}
    write_json(results_file(benchmark, step), results)
    print(f"written to {results_file(benchmark, step)}")
    return results


def published(benchmark: str, steps: Sequence[str]) -> dict[str, Any]:
    """Return the results by step, of the steps that have any."""
    files = {step: results_file(benchmark, step) for step in steps}
    return {step: read_json(file, f"run the step {step} again") for step, file in files.items() if file.exists()}


@lru_cache(maxsize=1)
def both_sets(data: Path) -> tuple[Pair, Pair]:
    """Return the training and the test set, each (images, labels)."""
    from nc_tf.datasets.read import read_both

    train, test = read_both(data, seed=SPLIT_SEED)
    return (train.images, train.labels), (test.images, test.labels)


def scanned(model_file: Path, data: Path, out: Path, seed: int) -> dict[str, Any]:
    """Return a scan by preset robust, resumed from its folder."""
    from nc_tf.cli.progress import ScanProgress
    from nc_tf.models.loading.load import load_model
    from nc_tf.preprocessing import Preprocessing
    from nc_tf.scan_folder.folder import ScanFolder
    from nc_tf.scan_folder.settings_record import model_facts, scan_record, sha256_of
    from nc_tf.scanning.presets import PRESETS
    from nc_tf.scanning.scan import scan

    folder, model = ScanFolder(out), load_model(model_file)
    _, (images, labels) = both_sets(data)
    preset = replace(PRESETS["robust"], settings=PRESETS["robust"].settings_for(model.input_shape[1:], model.output_shape[-1]))
    state = folder.open(scan_record(sha256_of(model_file), sha256_of(data), preset, Preprocessing(), 1, seed))
    with ScanProgress() as progress:
        result = scan(model, images, labels, seed=seed, resume=state, callbacks=[folder, progress])
    folder.write_verdict(result, model_facts(model_file, model), {"path": data.name, "num_images": len(images)})
    return {
        "verdict": str(result.verdict),
        "flagged": list(result.flagged),
        "norms": {str(entry.label): round(entry.trigger.l1_norm, 2) for entry in result.labels},
        "log_index": max((entry.log_index for entry in result.labels if entry.log_index == entry.log_index), default=None),
        "chance": result.chance if result.chance == result.chance else None,
    }


def repaired(
    method: str,
    model_file: Path,
    train: tuple[Any, Any],
    test: Pair,
    triggers: Sequence[Any],
    known: dict[str, Any],
    folder: Path,
    *,
    seed: int,
    **settings: Any,
) -> dict[str, Any]:
    """Return the measurements of a defence on the saved model.

    Checks that the model given to the defence is unchanged.
    """
    from nc_tf.mitigation.filtering import input_filter
    from nc_tf.mitigation.nft import nft
    from nc_tf.mitigation.pruning import prune
    from nc_tf.mitigation.saving import save_mitigation
    from nc_tf.mitigation.unlearning import unlearn
    from nc_tf.models.loading.load import load_model
    from nc_tf.preprocessing import Preprocessing

    model = load_model(model_file)
    before = [weights.copy() for weights in model.get_weights()]
    methods: dict[str, Callable[..., Any]] = {"prune": prune, "filter": input_filter, "nft": nft, "unlearn": unlearn}
    done = methods[method](model, *train, triggers, test=test, known_triggers=known, seed=seed, **settings)
    if not all(np.array_equal(one, other) for one, other in zip(before, model.get_weights(), strict=True)):
        raise InputError(f"{method} changed the model that it was given: expected the same weights; this is a defect of nc_tf")
    saved = save_mitigation(done, folder / f"{method}.keras", test, Preprocessing())
    return {**saved.settings, "before": asdict(saved.before), "after": asdict(saved.after), "details": saved.details}
