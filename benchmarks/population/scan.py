"""The population trained, scanned by preset robust, and published member by member.

    python -m benchmarks.population.scan --data DIR              all members, from the first that is not done
    python -m benchmarks.population.scan --data DIR --first 40   the first 40 members, which have every common kind

DIR holds gtsrb_dataset.h5, cifar10_jpeg.npz and mnist_test.npz; the signs are rendered. A stopped run goes on where it was, from
runs/population, and results/population-members.json has all members that are done. On two idle cores a member takes about a minute.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness.record import RESULTS, ROOT, header, read_json, write_json
from benchmarks.population.networks import SEED, Member, population
from benchmarks.population.summary import summary
from benchmarks.population.training import data_of, network_file, train
from nc_tf.cli.quiet import load_tensorflow

CHANGES = "picture", "warp"
SOURCE_FIELDS = ("source", "target", "l1_norm", "again", "norm_after", "left_rate", "attack_success_rate", "kept_rate", "num_measured")
SCANS, PUBLISHED = ROOT / "runs" / "population" / "scans", RESULTS / "population-members.json"


def main(argv: list[str] | None = None) -> int:
    """Train, scan and publish; return 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT / "data", help="the folder of the data sets")
    parser.add_argument("--first", type=int, default=len(population()), metavar="N", help="the first N members")
    arguments = parser.parse_args(argv)
    load_tensorflow()
    for member in population()[: arguments.first]:
        row = scanned(member, arguments.data)
        print(f"{member.name}: {row['verdict']}, flagged {row['flagged']}, planted {member.targets}", flush=True)
        publish()
    return 0


def scanned(member: Member, data: Path) -> dict[str, Any]:
    """Return the row of one member, trained and scanned where that is not done."""
    import nc_tf
    from nc_tf.storage.verdict_file import scan_verdict

    kept = SCANS / f"{member.name}.json"
    if kept.exists():
        return read_json(kept, "delete it and run again")
    reached = train(member, data)
    _, test = data_of(member, data)
    verdict = scan_verdict(nc_tf.scan(nc_tf.load_model(network_file(member)), *test), {}, {}).content()
    rates = list(reached["attack_success_rate"].values())
    row = {
        "member": member.name,
        "kind": member.kind,
        "data": member.data,
        "classes": len(member.classes),
        "architecture": member.architecture,
        "judged": member.judged,
        "clean_accuracy": round(reached["clean_accuracy"], 4),
        "attack_success_rate": [round(rate, 4) for rate in rates],
        "targets": member.targets,
        "pairs": member.pairs,
        **{key: verdict[key] for key in ("verdict", "flagged", "chance", "median", "seconds")},
        "flagged_pairs": [[pair["source"], pair["target"]] for pair in verdict["pairs"]],
        "detectors": {one["name"]: [one["statistic"], one["p_value"], one["verdict"]] for one in verdict["detectors"]},
        # What the detectors saw, so that thresholds can be chosen without another scan.
        "norms": [_rounded(label["l1_norm"]) for label in verdict["labels"]],
        "sizes": {name: [_rounded(row["size"]) for row in verdict["changes"] if row["detector"] == name] for name in CHANGES},
        "sources": [
            {key: _rounded(row[key]) if isinstance(row[key], float) else row[key] for key in SOURCE_FIELDS} for row in verdict["sources"]
        ],
    }
    write_json(kept, row)
    return row


def _rounded(number: float | None) -> float | None:
    return None if number is None else round(number, 4)


def publish() -> None:
    """Write the rows of all members that are done here, and of those that were published before."""
    before = read_json(PUBLISHED, "delete it and run again")["members"] if PUBLISHED.exists() else []
    rows = {row["member"]: row for row in before}
    rows |= {row["member"]: row for file in sorted(SCANS.glob("*.json")) for row in [read_json(file, "delete it and run again")]}
    known = {member.name for member in population()}
    members = [row for name, row in sorted(rows.items()) if name in known]
    write_json(PUBLISHED, header(SEED) | {"summary": summary(members), "members": members})


if __name__ == "__main__":
    sys.exit(main())
