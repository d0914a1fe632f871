"""The tables of the result pages, made from benchmarks/results/*.json when the site is built."""

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from member_tables import DETECTORS, member_rows, rate_rows

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
MARK = re.compile(r"<!-- table: (\w+) -->")
Row = dict[str, Any]

# Published rates that stand beside ours: the filter's false negatives on GTSRB (Neural Cleanse, figure 8), by false-positive rate,
PAPER_FILTER = {0.001: 0.041, 0.005: 0.032, 0.01: 0.028, 0.05: 0.017}
# and NFT's table 1: ASR and clean accuracy before and after, percent.
PUBLISHED_NFT = {
    "badnets": (100.0, 92.96, 1.74, 90.82),
    "blend": (100.0, 94.11, 0.31, 93.17),
    "SIG": (100.0, 88.64, 0.12, 87.16),
    "TrojanNet": (100.0, 89.57, 1.64, 87.71),
    "CLB": (100.0, 92.78, 1.04, 90.37),
    "WaNet": (98.64, 92.29, 2.38, 89.65),
    "benign": (0.0, 95.21, 0.0, 94.10),
}
# Figures of Neural Cleanse, section VI-C and table II: clean accuracy and ASR, percent.
PAPER_MODELS = {"gtsrb_bottom_right_white_4_target_33.h5": ("96.51%", "97.40%"), "gtsrb_clean.h5": ("96.83%", "")}
PAPER_UNLEARNING = {"reversed": ("92.91%", "0.14%"), "true": ("90.06%", "0.19%"), "nothing": ("92.02%", "95.69%")}
TAUGHT = {"reversed": "the reversed trigger", "true": "the true trigger", "nothing": "clean images only"}


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every table mark of a page; MkDocs calls this."""
    return MARK.sub(lambda mark: TABLES[mark[1]](), markdown)


def table(heads: Iterable[str], rows: Iterable[Iterable[Any]], words: int = 1) -> str:
    """Lay out a Markdown table whose first `words` columns are text."""
    heads = list(heads)
    aligned = ["---" if number < words else "---:" for number in range(len(heads))]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (heads, aligned, *rows))


def read(name: str) -> Row:
    """The content of one file of results."""
    content: Row = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return content


def percent(rate: float | None, digits: int = 2) -> str:
    """A rate as text; nothing where there is none."""
    return "" if rate is None else f"{rate:.{digits}%}"


def number(value: float | None, form: str) -> str:
    """A number as text; nothing where there is none."""
    return "" if value is None else format(value, form)


def success(measured: Row, name: str, default: float | None = None) -> float | None:
    """The attack success rate of a trigger, the largest of several."""
    return max((rate for key, rate in measured["attack_success_rate"].items() if key.startswith(name)), default=default)


def labels(row: Row) -> str:
    """The flagged labels, or none."""
    return ", ".join(map(str, row["flagged"])) or "none"


def models() -> str:
    """The shipped networks, measured again."""
    rows = []
    for name, row in read("models")["jobs"].items():
        rate = percent(success(row, "true"))
        rows.append([f"`{name}`", f"{row['num_images']:,}", percent(row["clean_accuracy"]), rate, *PAPER_MODELS.get(name, ("", ""))])
    return table(["network", "test images", "clean accuracy", "ASR", "paper: clean accuracy", "paper: ASR"], rows)


def unlearning() -> str:
    """Unlearning on GTSRB, three seeds for each kind of trigger."""
    rows = []
    for row in read("unlearning")["jobs"].values():
        before, after = row["mitigation"]["before"], row["mitigation"]["after"]
        paper = PAPER_UNLEARNING[row["source"]] if row["seed"] == 0 else ("", "")
        rates = [percent(success(point, "true")) for point in (before, after)]
        accuracy = [percent(point["clean_accuracy"]) for point in (before, after)]
        rows.append([TAUGHT[row["source"]], row["seed"], *accuracy, paper[0], *rates, paper[1]])
    heads = ["taught with", "seed", "accuracy before", "accuracy after", "paper: accuracy after"]
    return table([*heads, "true ASR before", "true ASR after", "paper: ASR after"], rows)


def demo() -> str:
    """The demo with ten seeds."""
    rows = []
    for row in read("demo")["jobs"].values():
        pairs = [percent(value(row[when])) for value in (_accuracy, _true) for when in ("before", "after")]
        rows.append([row["seed"], labels(row), f"{row['anomaly_index']:.2f}", f"{row['seconds']:.0f}", *pairs])
    heads = ["seed", "flagged", "anomaly index", "seconds", "accuracy before", "accuracy after", "true ASR before", "true ASR after"]
    return table(heads, rows)


def _accuracy(measured: Row) -> float:
    return float(measured["clean_accuracy"])


def _true(measured: Row) -> float | None:
    return success(measured, "true")


def restarts() -> str:
    """Stuck restarts, and per planted label how often halving kept a good one, for variants of the preset."""
    variants = read("starts")["variants"]
    planted = list(dict.fromkeys(label for rows in variants.values() for label in rows))
    rows = []
    for variant, found in variants.items():
        sums = [sum(row[key] for row in found.values()) for key in ("stuck", "starts", "races_won", "races")]
        rows.append([variant, *sums, *(found[label]["races_won"] if label in found else "" for label in planted)])
    return table(["variant", "stuck", "of restarts", "kept a good one", "of searches", *planted], rows)


def small_sets() -> str:
    """Scans of a network without a backdoor with few images, or few classes."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for scan in read("limits")["scans"]:
        groups.setdefault((scan["varied"], scan["count"]), []).append(scan)
    rows = []
    for (varied, count), scans in sorted(groups.items(), key=lambda group: (group[0][0] != "images", group[0][1])):
        given = f"{count} images of {count} classes" if varied == "images" else f"all images of {count} classes"
        quiet = sum(scan["verdict"] == "no outlier" for scan in scans)
        rows.append([given, f"{min(scan['chance'] for scan in scans):.3f}", len(scans), quiet])
    return table(["given", "smallest p-value", "scans", "no outlier"], rows)


def population_kinds() -> str:
    """Scans of the population by kind of trigger."""
    summary = read("population")["summary"]
    keys = ("scans", "detected", "right_label", "first_is_right")
    rows = []
    for kind, found in summary["robust"]["kinds"].items():
        other = summary["paper"]["kinds"].get(kind)
        rows.append([kind, *(found[key] for key in keys), *(other[key] if other else "" for key in keys)])
    words = ("scans", "suspected", "right label", "right label first")
    return table(["trigger", *(f"`{preset}`: {word}" for preset in ("robust", "paper") for word in words)], rows)


def population_rates() -> str:
    """Rates over the whole population, with their exact 95 % intervals."""
    summary = read("population")["summary"]
    told = {
        "detected": "infected networks: suspected",
        "right_label": "infected networks: all planted labels flagged",
        "only_right_labels": "infected networks: planted labels and no other",
        "false_alarms": "clean networks: false alarms",
        "inconclusive": "all networks: inconclusive",
    }
    rows = []
    for preset in ("robust", "paper"):
        for key, words in told.items():
            found = summary[preset][key]
            low, high = found["interval"]
            rows.append([f"`{preset}`", words, found["hits"], found["trials"], f"{low:.0%}", f"{high:.0%}"])
    return table(["preset", "what", "count", "of", "from", "to"], rows, 2)


def population_numbers() -> str:
    """ROC, time and spread over the whole population."""
    summary = read("population")["summary"]
    rows = []
    for preset in ("robust", "paper"):
        found = summary[preset]
        spread = [f"{end:.3f}" for group in ("clean", "infected") for end in found["spread_of_logarithms"][group]]
        roc = [number(found.get(f"roc_auc_{key}"), ".4f") for key in ("log_index", "anomaly_index")]
        rows.append([f"`{preset}`", *roc, f"{found['median_seconds']:.1f}", *spread])
    heads = ["preset", "ROC area, `log_index`", "ROC area, `anomaly_index`", "median seconds"]
    return table([*heads, "clean: least MAD", "greatest", "infected: least MAD", "greatest"], rows)


def population_scans() -> str:
    """One row for each scan by the default preset."""
    rows = []
    for scan in read("population")["scans"]:
        if scan["preset"] != "robust":
            continue
        norms = ", ".join(f"{scan['norms'][str(label)]:.2f}" for label in scan["targets"])
        planted = ", ".join(map(str, scan["targets"])) or "none"
        line = number(scan["flagging_norm"], ".1f")
        rows.append([scan["network"], scan["kind"], planted, labels(scan), scan["seed"], norms, line, f"{scan['chance']:.4f}"])
    heads = ["network", "trigger", "planted", "flagged, smallest first", "seed", "norm of the planted", "flagging norm", "p-value"]
    return table(heads, rows, 4)


def strangers() -> str:
    """Networks that others trained."""
    rows = []
    for row in read("strangers")["networks"]:
        known = ["not known" if row[key] is None else f"{row[key]:.3f}" for key in ("accuracy", "chance")]
        rows.append([row["network"], row["range"], row["verdict"], row["classes"], *known, row["load_seconds"], row["scan_seconds"]])
    return table(["network", "range found", "verdict", "classes", "accuracy", "p-value", "load, s", "scan, s"], rows, 3)


def many_labels() -> str:
    """What `low-cost` takes by the number of labels."""
    rows = []
    for row in read("labels")["rows"]:
        counts = [f"{row['labels']:,}", f"{row['seconds']:.0f}", row["labels_searched"], f"{row['image_updates']:,}"]
        rows.append([row["verdict"], labels(row), *counts, f"{row['share_of_robust']:.0%}", f"{row['peak_mib']:,}"])
    heads = ["verdict", "flagged", "labels", "seconds", "searched to the end", "image updates", "of `robust`", "memory, MiB"]
    return table(heads, rows, 2)


def killed() -> str:
    """A scan that was killed twenty times beside one that was left alone."""
    found = read("kills")
    compared = found["compared"]
    rows = [
        ["verdict", *compared["verdicts"]],
        ["flagged", *(", ".join(map(str, flagged)) for flagged in compared["flagged"])],
        ["times killed", 0, len(found["killed"]["kills"])],
        ["labels with another number of rounds", "", len(compared["labels_with_other_rounds"])],
        ["largest difference of a norm, pixels", "", f"{compared['largest_difference_of_norms']:.0e}"],
    ]
    return table(["", "left alone", "killed"], rows)


def time_to_verdict() -> str:
    """Whole scans, from the call to the verdict."""
    found = read("verdict")
    runs = [("`robust`", found["robust"][0]), ("`paper`", found["paper"])]
    rows = [
        [name, run["precision"], run["seed"], run["labels"], run["starts"], f"{run['seconds']:,.0f}", f"{run['image_updates']:,}"]
        for name, run in runs
    ]
    rows.append(["`paper`, scaled", found["paper"]["precision"], "", 43, 1, f"{found['paper']['seconds_43_labels']:,.0f}", ""])
    return table(["preset", "precision", "seed", "labels", "restarts", "seconds", "images through the network"], rows, 2)


def pruning() -> str:
    """Pruning the shipped GTSRB network, layer by layer."""
    rows = []
    for name, row in read("mitigation-gtsrb")["jobs"].items():
        if not name.startswith("pruning"):
            continue
        curve, dead_at = row["details"]["curve"], row["details"]["dead_at"]
        points = [(curve[0], "nothing"), (_at(curve, dead_at), "the reversed trigger is dead")]
        points += [(_at(curve, row["pruned"]), f"{row['margin']:g} times that share"), (_at(curve, 0.3), "the paper's share")]
        for point, words in points:
            rates = [percent(success(point, key)) for key in ("reversed", "true")]
            layer = name.removeprefix("pruning, ")
            rows.append([layer, words, percent(point["pruned"], 1), percent(point["clean_accuracy"]), *rates])
    return table(["layer", "pruned until", "share pruned", "clean accuracy", "reversed ASR", "true ASR"], rows, 2)


def _at(curve: list[Row], share: float) -> Row:
    """The point of a curve that is nearest to a share of pruned units."""
    return min(curve, key=lambda point: abs(float(point["pruned"]) - share))


def input_filter() -> str:
    """The filter's rates on GTSRB, beside the paper's."""
    rows = []
    for rate in read("mitigation-gtsrb")["jobs"]["filter"]["details"]["rates"]:
        asked, missed = rate["false_positive_rate"], rate["false_negative_rate"]
        pairs = [f"{found[key]:.3f}" for found in (missed, rate["attack_success_rate"]) for key in ("reversed", "true")]
        measured = percent(rate["measured_false_positive_rate"])
        rows.append([percent(asked, 1), measured, *pairs[:2], f"{PAPER_FILTER[asked]:.3f}", *pairs[2:]])
    heads = ["false-positive rate asked", "measured", "missed, reversed trigger", "missed, true trigger", "missed, paper"]
    return table([*heads, "missed and obeyed, reversed", "missed and obeyed, true"], rows, 0)


def unlearning_shares() -> str:
    """Unlearning by the number of images and the share that is stamped."""
    rows = []
    for name, row in read("mitigation-gtsrb")["jobs"].items():
        if name.startswith("unlearning"):
            rates = [percent(success(row["after"], key)) for key in ("reversed", "true")]
            rows.append([f"{row['images']:,}", percent(row["ratio"], 0), percent(row["after"]["clean_accuracy"]), *rates])
    return table(["images used", "stamped", "clean accuracy", "reversed ASR", "true ASR"], rows, 0)


def repaired_population() -> str:
    """Pruning and unlearning of the eight infected networks of the population."""
    rows = []
    for row in read("mitigation-pruning")["jobs"].values():
        first, last, pruned, dead = row["before"], row["after"], "", ""
        if "unlearning" not in row["place"]:
            pruned, dead_at = percent(row["pruned"], 1), row["details"]["dead_at"]
            dead = "never" if dead_at is None else percent(success(_at(row["details"]["curve"], dead_at), "true"))
        accuracy = [percent(point["clean_accuracy"]) for point in (first, last)]
        rates = [percent(success(first, "true")), dead, percent(success(last, "true"))]
        rows.append([row["kind"], row["place"], pruned, *accuracy, *rates])
    heads = ["trigger", "layer pruned", "share pruned", "accuracy before", "accuracy after"]
    return table([*heads, "true ASR before", "reversed dead", "at the end"], rows, 2)


def cifar10() -> str:
    """Every defence against every attack on CIFAR-10."""
    jobs, rows = read("mitigation-cifar10")["jobs"], []
    for name, row in jobs.items():
        attack, _, defence = name.partition("/")
        if defence == "scan":
            continue
        if defence == "NFT, 1 %":
            scan = jobs[f"{attack}/scan"]
            flagged = labels(scan) if scan["flagged"] else scan["verdict"]
            rows.append([attack, flagged, "none", percent(_true(row["before"]), 1), percent(_accuracy(row["before"]), 1)])
        if "nothing flagged" in row:
            rows.append([attack, "", defence, "nothing flagged", ""])
        else:
            rows.append([attack, "", defence, percent(_true(row["after"]), 1), percent(_accuracy(row["after"]), 1)])
    return table(["attack", "flagged", "defence", "true ASR", "clean accuracy"], rows, 3)


def published_nft() -> str:
    """NFT as its authors published it."""
    heads = ["attack", "ASR before, %", "clean accuracy before, %", "ASR after, %", "clean accuracy after, %"]
    return table(heads, ([attack, *(f"{rate:.1f}" for rate in rates)] for attack, rates in PUBLISHED_NFT.items()))


def nft_variants() -> str:
    """NFT against badnets with one setting changed at a time."""
    jobs = read("mitigation-nft")["jobs"]
    before = next(iter(jobs.values()))["before"]
    usual = read("mitigation-cifar10")["jobs"]["badnets/NFT, 1 %"]
    rows = [["before NFT", percent(_true(before), 1), percent(_accuracy(before), 1)]]
    shown = {"the settings above": usual, **jobs}
    rows += [[name, percent(_true(row["after"]), 1), percent(_accuracy(row["after"]), 1)] for name, row in shown.items()]
    return table(["badnets, NFT with 1 % of the images", "true ASR", "clean accuracy"], rows)


def nft_masks() -> str:
    """The mean mask value of NFT by layer."""
    jobs = read("mitigation-nft")["jobs"]
    count = max(len(row["details"]["masks"]) for row in jobs.values())
    rows = [[name, *(f"{mask['mean']:.2f}" for mask in row["details"]["masks"])] for name, row in jobs.items()]
    return table(["mean mask", *(f"layer {place}" for place in range(1, count + 1))], rows)


def video_scans() -> str:
    """Scans of the networks for UCF-101."""
    networks, rows = read("video-clean")["jobs"] | read("video-infect")["jobs"], []
    for name, found in read("video-scan")["jobs"].items():
        row, target = networks[name], found["target"]
        told = [row["kind"] or "clean", found["verdict"], labels(found), row["seed"], number(target, "d")]
        rates = [percent(row.get("clean_accuracy_before"), 1), percent(row["clean_accuracy"], 1), percent(row["attack_success_rate"], 1)]
        norm = "" if target is None else f"{found['norms'][str(target)]:.1f}"
        rows.append([*told, *rates, norm, f"{found['median']:.1f}", f"{found['chance']:.4f}", f"{found['seconds']:.0f}"])
    heads = ["network", "verdict", "flagged", "seed", "target", "clean network's accuracy", "accuracy", "ASR"]
    return table([*heads, "norm of the target", "median", "p-value", "scan, s"], rows, 3)


def video_repairs() -> str:
    """Repairs of the networks for UCF-101."""
    rows = []
    for row in read("video-mitigate")["jobs"].values():
        told = [row["kind"], row["defence"], row["seed"], row["target"]]
        rows.append([*told, *_before_after(row["before"], row["after"]), percent(row["rate_of_clean_network"], 1)])
    heads = ["network", "defence", "seed", "target", "accuracy before", "after", "found ASR before", "after"]
    return table([*heads, "true ASR before", "after", "clean network's rate"], rows, 2)


def _before_after(before: Row, after: Row) -> list[str]:
    pairs: list[tuple[float | None, float | None]] = [(_accuracy(before), _accuracy(after))]
    pairs += [(success(before, name), success(after, name)) for name in ("reversed", "true")]
    return [percent(rate, 1) for pair in pairs for rate in pair]


def video_demo() -> str:
    """The five steps on rendered clips, five seeds."""
    rows = []
    for row in read("video-demo")["jobs"].values():
        for method, measured in row["methods"].items():
            about = [method, labels(row), row["seed"], row["target"], f"{row['norms'][str(row['target'])]:.1f}", f"{row['median']:.1f}"]
            rows.append([*about, *_before_after(measured["before"], measured["after"]), f"{row['seconds']:.0f}"])
    heads = ["method", "flagged", "seed", "planted", "norm", "median", "accuracy before", "after", "found ASR before", "after"]
    return table([*heads, "true ASR before", "after", "s"], rows, 2)


def cluster() -> str:
    """One worker and two, median of three runs."""
    rows: list[list[str]] = []
    single: dict[str, float] = {}
    for row in read("cluster")["contenders"]:
        rate, first = (median(run[key] for run in row["runs"]) for key in ("rate", "first"))
        kind, _, count = row["name"].partition(", ")
        single.setdefault(kind, rate)
        times = f"{rate / single[kind]:.2f}" if count.isdigit() else ""
        rows.append([row["what"], f"{rate:.2f}", times, f"{first:.1f}"])
    return table(["", "label-rounds a second", "times one of its kind", "first checkpoint after, s"], rows)


def reading_clips() -> str:
    """How fast videos are decoded in several ways."""
    rows = read("clips")["rows"]
    return table(["way", "seconds", "clips a second"], ([row["name"], f"{min(row['seconds']):.2f}", row["clips_a_second"]] for row in rows))


def members_rates() -> str:
    """Rates over the population of 240 networks, of those that are done."""
    heads = ["half", "kind", "networks", "suspected", "right", "inconclusive", "95 % interval of suspected", "weak, not counted", "seconds"]
    return table(heads, rate_rows(read("population-members")["summary"]), 2)


def members() -> str:
    """Every network of the population of 240 that is done, with what the detectors saw."""
    return table(["network", "half", "ASR", "verdict", *DETECTORS], member_rows(read("population-members")["members"]), 4)


TABLES: dict[str, Callable[[], str]] = {
    made.__name__: made
    for made in (
        models,
        unlearning,
        demo,
        restarts,
        small_sets,
        population_kinds,
        population_rates,
        population_numbers,
        population_scans,
        members_rates,
        members,
        strangers,
        many_labels,
        killed,
        time_to_verdict,
        pruning,
        input_filter,
        unlearning_shares,
        repaired_population,
        cifar10,
        published_nft,
        nft_variants,
        nft_masks,
        video_scans,
        video_repairs,
        video_demo,
        cluster,
        reading_clips,
    )
}
