"""The data that a scan's norms need: how stored norms of known networks split, and the effect of few images or classes.

python -m benchmarks.scan.limits split      seconds: how the stored norms of every published scan fall apart
python -m benchmarks.scan.limits images     minutes: the shipped clean network scanned with few different images, and with few classes
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.harness.record import RESULTS, header, write_json
from nc_tf.detection.inconclusive import FEWEST_LABELS, GROUPS_APART, UNUSUAL
from nc_tf.detection.outliers import find_outliers, split_groups, spread_chance

TARGETS = 15


def stored_norms() -> Iterator[tuple[str, str, list[float]]]:
    """Yield name, verdict and norms of every published scan."""
    for scan in json.loads((RESULTS / "population.json").read_text())["scans"]:
        yield f"{scan['preset']} {scan['network']}, seed {scan['seed']}", scan["verdict"], list(scan["norms"].values())
    for name, job in json.loads((RESULTS / "video-scan.json").read_text())["jobs"].items():
        yield f"clips {name}", job["verdict"], list(job["norms"].values())
    for name, job in json.loads((RESULTS / "mitigation-cifar10.json").read_text())["jobs"].items():
        if name.endswith("/scan"):
            norms = job["norms"]
            yield f"CIFAR-10 {name}", job["verdict"], list(norms.values()) if isinstance(norms, dict) else norms


def split() -> None:
    """Print a row a stored scan, and count the inconclusive ones.

    Counted are scans without an outlier that the present limits call inconclusive.
    """
    silent = lost = 0
    print("| scan | verdict | labels | in the lower group | apart by | chance of the split | chance of the spread |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, verdict, norms in stored_norms():
        logs = np.log(np.maximum([norm for norm in norms if norm is not None], 0.01))
        if len(logs) < FEWEST_LABELS:
            continue
        groups, spread = split_groups(logs), spread_chance(find_outliers(logs).mad, len(logs))
        apart = np.exp(groups.distance)
        print(f"| {name} | {verdict} | {len(logs)} | {groups.low} | {apart:.1f} | {groups.chance:.4f} | {spread:.3f} |")
        if verdict == "no outlier":
            silent += 1
            lost += (groups.chance < UNUSUAL and apart > GROUPS_APART) or spread < UNUSUAL
    print(f"\n{silent} scans without an outlier, {lost} of them inconclusive by the groups or the spread of their norms")


def images() -> None:
    """Scan the shipped clean network with few images or few classes.

    The network is that of the rendered signs.
    """
    import nc_tf
    from nc_tf.datasets.rendered import signs
    from nc_tf.demo import shipped_model
    from nc_tf.detection import inconclusive as limits
    from nc_tf.models.loading.load import load_model

    limits.FEWEST_IMAGES = limits.FEWEST_CLASSES = 0  # what the norms alone would say
    _, (x, y) = signs.load_data(seed=0)
    model = load_model(shipped_model("signs_clean.keras"))
    rows: list[dict[str, Any]] = []
    for what, counts in (("images", (10, 20, 40)), ("classes", (2, 3, 5, 10))):
        for count in counts:
            for seed in range(3):
                rng = np.random.default_rng([len(what), count, seed])
                classes = rng.choice(43, min(count, 43), replace=False)
                pool = [np.flatnonzero(y == label) for label in classes]
                chosen = np.concatenate([rng.choice(part, 1) if what == "images" else part for part in pool])
                given = np.resize(chosen, max(len(chosen), 40))  # repeated, as a careless copy would
                targets = sorted(rng.choice(43, TARGETS, replace=False).tolist())
                result = nc_tf.scan(model, x[given], y[given], targets=targets, seed=seed)
                rows.append(
                    {
                        "varied": what,
                        "count": count,
                        "seed": seed,
                        "different_images": len(chosen),
                        "verdict": str(result.verdict),
                        "reason": result.reason,
                        "chance": result.chance,
                        "norms": {entry.label: round(entry.trigger.l1_norm, 2) for entry in result.labels},
                    }
                )
                print(f"| {what} | {count} | {seed} | {len(chosen)} | {result.verdict} | {result.reason[:100]} |", flush=True)
    write_json(RESULTS / "limits.json", {**header([0, 1, 2]), "network": "nc_tf/models/weights/signs_clean.keras", "scans": rows})


if __name__ == "__main__":
    {"split": split, "images": images}[sys.argv[1] if len(sys.argv) > 1 else "split"]()
