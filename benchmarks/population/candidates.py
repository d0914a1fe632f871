"""Candidates for backdoors that cover the whole image or belong to the class, each measured on the same networks.

    NC_TF_DATA=data python -m benchmarks.population.candidates            an hour; finished networks are kept in runs/population/candidates

The networks are those of `candidate_networks`, and the members of the population for choosing thresholds that are trained. Each candidate
gives every label a value. A label is judged against the others of its network by the rule of mask norms, on the value's logarithm.
"""

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np

from benchmarks.harness.record import RESULTS, ROOT, header, read_json, write_json
from benchmarks.population.candidate_networks import EXTRA, train
from benchmarks.population.candidate_spaces import SPACES, newly_given, smallest
from benchmarks.population.candidate_statistics import head_statistics, margins, margins_beside_class, sizes
from benchmarks.population.networks import Member, population
from benchmarks.population.training import data_of, network_file
from nc_tf.detection.outliers import USUAL_SPREAD, find_outliers, largest_by_chance, log_norms, moderated_spread
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.preprocessing import Preprocessing

OUT, KEPT = RESULTS / "candidates.json", ROOT / "runs" / "population" / "candidates"
KINDS = ("clean", "patch", "badnets", "TrojanNet", "blend .1", "blend .2", "SIG", "CLB", "WaNet")
WHOLE_IMAGE = ("blend .1", "blend .2", "SIG", "CLB", "WaNet")
# Candidates, the direction that is suspicious, and the usual spread of their logarithms on clean networks of ten classes.
JUDGED = {
    "opacity": (-1, 0.2),
    "warp": (-1, 0.2),
    "additive": (-1, 0.2),
    "mm_max": (1, 0.35),
    "cso_max": (1, 0.8),
    "head_max": (1, 0.1),
    "probe_sp": (1, 1.0),
}
LEAST_ASR, LEVEL, ROUNDS, HELD_OUT = 0.9, 0.01, 30, 300


def networks(data: Path) -> Iterator[tuple[Member, Path, list[int], dict[str, Any]]]:
    """Yield each network's member, file, targets, and accuracy and attack success rate."""
    folder = KEPT / "networks"
    folder.mkdir(parents=True, exist_ok=True)
    for extra in EXTRA:
        facts = train(extra, data, folder)
        yield extra.member, folder / f"{extra.member.name}.keras", [] if extra.target is None else [extra.target], facts
    for member in population():
        trained = network_file(member).with_suffix(".json")
        if trained.exists() and not member.judged and member.kind in KINDS:
            yield member, network_file(member), member.targets, read_json(trained, "train it again")


def measured(member: Member, file: Path, targets: list[int], facts: dict[str, Any], data: Path) -> dict[str, Any]:
    """Return every candidate's values and seconds for one network; those that are kept are not measured again."""
    kept = KEPT / f"{member.name}.json"
    result = read_json(kept, "delete it and measure again") if kept.exists() else {"values": {}, "seconds": {}}
    rates = facts["attack_success_rate"].values()
    result |= {
        "kind": member.kind,
        "data": member.data,
        "classes": len(member.classes),
        "architecture": member.architecture,
        "targets": targets,
        "accuracy": facts["clean_accuracy"],
        "attack_success_rate": min(rates) if rates else None,
    }
    images, labels = data_of(member, data)[1]
    model = keras.models.load_model(file, compile=False)
    network = FrozenNetwork(model, Preprocessing(), "float32", images)
    classes, cut = len(member.classes), len(images) * 3 // 4
    ends = slice(cut, cut + HELD_OUT)

    def in_space(name: str) -> dict[str, np.ndarray]:
        space = SPACES[name](member.image_shape)
        found = smallest(network, space, images[:cut], labels[:cut], classes, rounds=ROUNDS, seed=0)
        return {name: found.norms, f"{name}_held_out": newly_given(network, space, found, images[ends], labels[ends])}

    candidates: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        # Percent, so that the rule of mask norms has no cut-off among them.
        "opacity": lambda: {"opacity": 100.0 * sizes("picture", network, images[:cut], labels[:cut], classes)},
        "head": lambda: head_statistics(model, images),
        "mm": lambda: margins(network, classes, member.image_shape).named("mm"),
        "cso": lambda: margins_beside_class(model, images, labels, classes).named("cso"),
        "warp": lambda: {"warp": sizes("warp", network, images[:cut], labels[:cut], classes)},
        **{name: partial(in_space, name) for name in SPACES},
    }
    for name, measure in candidates.items():
        if name not in result["seconds"]:
            began = time.perf_counter()
            found = {key: np.round(value, 4).tolist() for key, value in measure().items()}
            result["values"] |= found
            result["seconds"][name] = round(time.perf_counter() - began, 1)
            write_json(kept, result)
    return result


def index_of(values: np.ndarray, sign: int, usual: float) -> tuple[np.ndarray, np.ndarray]:
    """Return each label's index by the rule of mask norms, and its chance, (K,) each; K >= 3.

    Args:
        values: (K,) of a candidate.
        sign: -1 where small values are suspicious, 1 where large ones are.
        usual: spread of the logarithms on clean networks.
    """
    logs = -sign * log_norms(np.maximum(values, 0.0)) / usual * USUAL_SPREAD
    found = find_outliers(logs)
    index = (found.median - logs) / moderated_spread(found.mad, len(logs))
    by_chance = largest_by_chance(len(logs))
    return index, 1.0 - np.searchsorted(by_chance, index) / len(by_chance)


def area_under_curve(infected: list[float], clean: list[float]) -> float | None:
    """Return the share of pairs in which the infected label has the larger index; ties count half."""
    if not infected or not clean:
        return None
    difference = np.array(infected)[:, None] - np.array(clean)[None]
    return round(float(np.mean(difference > 0) + np.mean(difference == 0) / 2), 3)


def summary(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each candidate, kind and number of classes: AUC and detections at a false-positive rate of 1 %."""
    rows = []
    for name, (sign, usual) in JUDGED.items():
        clean: dict[int, list[float]] = defaultdict(list)
        infected: dict[tuple[str, int], list[float]] = defaultdict(list)
        flagged: dict[tuple[str, int], list[bool]] = defaultdict(list)
        for result in results.values():
            kind, classes = result["kind"], result["classes"]
            if classes < 3 or name not in result["values"]:
                continue
            index, chance = index_of(np.array(result["values"][name], np.float64), sign, usual)
            if kind == "clean":
                clean[classes] += index.tolist()
                flagged[kind, classes].append(bool(chance.min() <= LEVEL))
            elif kind in WHOLE_IMAGE and result["attack_success_rate"] >= LEAST_ASR:
                infected[kind, classes] += [float(index[label]) for label in result["targets"]]
                flagged[kind, classes].append(any(chance[label] <= LEVEL for label in result["targets"]))
        for (kind, classes), found in sorted(flagged.items()):
            every_clean = [value for values in clean.values() for value in values]
            rows.append(
                {
                    "candidate": name,
                    "kind": kind,
                    "classes": classes,
                    "networks": len(found),
                    "flagged": sum(found),
                    "auc": area_under_curve(infected[kind, classes], every_clean),
                }
            )
    return rows


def main() -> None:
    """Measure what is left, and write all results."""
    data = Path(os.environ.get("NC_TF_DATA", ROOT / "data"))
    results = {}
    for member, file, targets, facts in networks(data):
        results[member.name] = measured(member, file, targets, facts, data)
        print(member.name, results[member.name]["seconds"], flush=True)
    write_json(OUT, {**header(0), "level": LEVEL, "summary": summary(results), "networks": results})


if __name__ == "__main__":
    main()
