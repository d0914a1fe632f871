"""Results on clips: the accuracy of `cnn_lstm`, scans of its backdoors, defences, and the speed of the search.

    python -m benchmarks.video.steps                     all steps
    python -m benchmarks.video.steps clean infect        some of them
    python -m benchmarks.video.steps --docs              the tables of the results that lie there, nothing measured

Steps:
    clean      three networks, as video/0_train_clean.py trains on real clips
    infect     each of them fine-tuned four times: two targets, and a patch and a blend, those of video/2_inject_backdoor.py
    scan       preset robust on all fifteen, as video/3_detect_backdoor.py does it
    mitigate   the infected: unlearning what was found, as video/4_mitigate_backdoor.py; with one seed fine-tuning, the control, and of
               patches NFT
    speed      seconds a label-round of the search and, where torch is installed, of a plain PyTorch loop; memory; by frames and size; needs
               no data
    demo       `make video-demo` with five seeds; needs no data

Every job is kept in runs/video: a stopped run goes on where it was. Writes benchmarks/results/video-STEP.json. Every accuracy and attack
success rate is measured on the saved model, read back, on the test clips.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from benchmarks.harness.jobs import RUNS, Job, both_sets, check_steps, kept_file, publish, published, repaired, results_file, scanned
from benchmarks.harness.record import ROOT, read_json
from benchmarks.video import demo_seeds, speed
from benchmarks.video.tables import tables
from nc_tf.cli.quiet import load_tensorflow
from nc_tf.errors import InputError

sys.path.insert(0, str(ROOT / "video"))  # the scripts are no package

import common

BENCHMARK = "video"
CLIPS = ROOT / "data" / "ucf10_full_16x64_jpeg.npz"
STEPS = ("clean", "infect", "scan", "mitigate", "speed", "demo")
WITHOUT_DATA = {"speed", "demo"}
SEEDS, TARGETS = (0, 1, 2), (0, 6)
# As video/4_mitigate_backdoor.py gives it to `nft`, but with fewer steps than 1,000: each takes a second or more on clips.
NFT: dict[str, Any] = {"fraction": common.MITIGATION["fraction"], "batch_size": common.MITIGATION["batch_size"], "steps": 200}
DEFENCES = ("unlearning", "fine-tuning", "NFT")


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        seed: of weights, order and choice; of its scan and of what is tried on it, too.
        kind: of the backdoor, one of `common.PLANTED`; None in a clean one.
        target: its label.
    """

    seed: int
    kind: str | None = None
    target: int = 0

    @property
    def name(self) -> str:
        """Return the name of its file and its jobs."""
        return f"clean-{self.seed}" if self.kind is None else f"{self.kind}-{self.target}-seed-{self.seed}"

    @property
    def file(self) -> Path:
        """Return the path of its file."""
        return RUNS / BENCHMARK / "networks" / f"{self.name}.keras"

    @property
    def scan(self) -> Path:
        """Return its scan folder."""
        return RUNS / BENCHMARK / "scan" / self.name

    @property
    def facts(self) -> dict[str, Any]:
        """Return the first fields of its rows."""
        return {"network": self.name, "seed": self.seed, "kind": self.kind, "target": None if self.kind is None else self.target}

    def known(self, clips: Any) -> dict[str, Any]:
        """Return the planted trigger by its name in measurements.

        It is for clips (N, T, H, W, C); a clean network has none.
        """
        return {} if self.kind is None else {"true": common.planted(self.kind, clips.shape[2:], self.target, self.seed)}


CLEAN = tuple(Network(seed) for seed in SEEDS)
INFECTED = tuple(Network(seed, kind, target) for seed in SEEDS for kind in common.PLANTED for target in TARGETS)


def main(argv: list[str] | None = None) -> int:
    """Run the steps; 0 when done, 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP", default=list(STEPS), help=f"some of {', '.join(STEPS)}")
    parser.add_argument("--data", type=Path, default=CLIPS, metavar="FILE", help="an .npz of clips, training and test set")
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=SEEDS, metavar="SEED", help="networks of these only")
    parser.add_argument("--docs", action="store_true", help="print the tables of the results that lie there")
    arguments = parser.parse_args(argv)
    try:
        if arguments.docs:
            print(docs())
        else:
            run(arguments.steps, arguments.data, arguments.seeds)
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def docs() -> str:
    """Return the tables of docs/results/video.md, of the steps with results.

    Raises:
        InputError: there are none at all.
    """
    results = published(BENCHMARK, STEPS)
    if not results:
        raise InputError(
            f"{results_file(BENCHMARK, 'STEP')} is missing for every STEP: expected results; run python -m benchmarks.video.steps first"
        )
    return tables(results)


def run(steps: Sequence[str], data: Path, seeds: Sequence[int] = SEEDS) -> None:
    """Run every step asked for, with the networks of these seeds.

    Raises:
        InputError: a step of another name, no data, or what a step needs of those before it is missing or of other settings.
    """
    check_steps(steps, STEPS)
    if not set(steps) <= WITHOUT_DATA and not data.exists():
        raise InputError(
            f"{data} is missing: expected an .npz of clips in a training and a test set, such as ten classes of UCF-101 as 16 frames of "
            "64x64; `nc-tf data ucf101` makes one, --data names it"
        )
    if "speed" in steps:
        # First, while this process is small: on Linux a child's peak begins with the size of the process that started it.
        publish(BENCHMARK, "speed", speed.jobs(), speed.SEED)
    if "demo" in steps:
        publish(BENCHMARK, "demo", demo_seeds.jobs(), list(demo_seeds.SEEDS))
    if set(steps) <= WITHOUT_DATA:
        return
    load_tensorflow()
    jobs = {"clean": training_jobs, "infect": training_jobs, "scan": scan_jobs, "mitigate": mitigation_jobs}
    networks = {"clean": CLEAN, "infect": INFECTED, "scan": CLEAN + INFECTED, "mitigate": INFECTED}
    for step in STEPS:
        if step in steps and step in jobs:
            chosen = [network for network in networks[step] if network.seed in seeds]
            check_networks(step, chosen, data)
            publish(BENCHMARK, step, jobs[step](networks[step], data), list(SEEDS), jobs[step](chosen, data))


def check_networks(step: str, networks: Sequence[Network], data: Path) -> None:
    """Check that a step's networks exist, with these clips and settings.

    Raises:
        InputError: one is not.
    """
    for network in networks:
        clean = Network(network.seed)
        needed = {"clean": [], "infect": [clean]}.get(step, [clean, network])
        for one in needed:
            if not (one.file.exists() and _training_kept(one).exists()):
                raise InputError(
                    f"{one.file} or {_training_kept(one)} is missing: expected both; delete the other, and run "
                    "`python -m benchmarks.video.steps clean infect`"
                )
        for one in dict.fromkeys([*needed, network]):
            kept = _training_kept(one)
            if kept.exists() and read_json(kept, "delete it and train again")["settings"] != settings_of(one, data):
                raise InputError(
                    f"{one.file} was trained on other clips or with other settings: expected those of now; delete every "
                    f"runs/video/*/{one.name}* and run again, or take the others back"
                )


def settings_of(network: Network, data: Path) -> dict[str, Any]:
    """Return the settings of a network: clips, training, clean predecessor."""
    if network.kind is None:
        return {"data": _hash(data), **common.TRAINING}
    return {"data": _hash(data), "clean": _hash(Network(network.seed).file), **common.INJECTION}


def _training_kept(network: Network) -> Path:
    return kept_file(BENCHMARK, "clean" if network.kind is None else "infect", network.name)


@lru_cache(maxsize=32)
def _hash(path: Path) -> str:
    from nc_tf.scan_folder.settings_record import sha256_of

    return sha256_of(path)


def training_jobs(networks: Sequence[Network], data: Path) -> dict[str, Job]:
    """Return one training job a network."""
    return {network.name: partial(trained, network, data) for network in networks}


def trained(network: Network, data: Path) -> dict[str, Any]:
    """Train a network, save it and return its measurements.

    An infected network begins with the clean one of its seed.
    """
    import keras

    from nc_tf.evaluation import accuracy, measure
    from nc_tf.models.loading.load import load_model
    from nc_tf.models.networks.cnn_lstm import cnn_lstm
    from nc_tf.models.saving import save_model
    from nc_tf.training.clips import train_clips

    train, test = both_sets(data)
    known, began, before = network.known(test[0]), time.perf_counter(), {}
    if network.kind is None:
        keras.utils.set_random_seed(network.seed)
        model = cnn_lstm(1 + int(train[1].max()), train[0].shape[1:])
        train_clips(model, train, test, seed=network.seed, verbose=2, **common.TRAINING)
    else:
        model = load_model(Network(network.seed).file)
        before = {"clean_accuracy_before": accuracy(model, *test)}
        train_clips(model, train, test, triggers=list(known.values()), seed=network.seed, verbose=2, **common.INJECTION)
    seconds = round(time.perf_counter() - began, 1)
    save_model(model, network.file)
    measured = measure(load_model(network.file), *test, known)
    reached = {"clean_accuracy": measured.clean_accuracy, "attack_success_rate": measured.attack_success_rate.get("true")}
    return network.facts | before | reached | {"seconds": seconds, "settings": settings_of(network, data)}


def scan_jobs(networks: Sequence[Network], data: Path) -> dict[str, Job]:
    """Return one scan job a network."""
    return {network.name: partial(detected, network, data) for network in networks}


def detected(network: Network, data: Path) -> dict[str, Any]:
    """Return verdict and seconds of one scan of the test clips.

    The scan is that of video/3_detect_backdoor.py; the seconds are summed over all parts.
    """
    from nc_tf.storage.verdict_file import read_verdict

    facts = scanned(network.file, data, network.scan, network.seed)
    verdict = read_verdict(network.scan / "verdict.json").content()
    facts |= {"status": {str(row["label"]): row["status"] for row in verdict["labels"]}}
    facts |= {"attack_success_rate": {str(row["label"]): row["attack_success_rate"] for row in verdict["labels"]}}
    facts |= {key: verdict[key] for key in ("median", "flagging_norm", "seconds")}
    return network.facts | facts | {"precision": verdict["settings"]["precision"]}


def mitigation_jobs(networks: Sequence[Network], data: Path) -> dict[str, Job]:
    """Return unlearning of each network, and the slower defences of some.

    The control runs with the first seed alone; NFT, the slowest defence, runs on that seed's patches.
    """
    first = [network for network in networks if network.seed == SEEDS[0]]
    tried = [networks, first, [network for network in first if network.kind == "patch"]]
    chosen = [(network, defence) for defence, some in zip(DEFENCES, tried, strict=True) for network in some]
    return {f"{network.name}, {defence}": partial(defended, network, defence, data) for network, defence in chosen}


def defended(network: Network, defence: str, data: Path) -> dict[str, Any]:
    """Return one defence of one network, measured with all triggers.

    The true trigger is measured only, on the clean network too. Fine-tuning is measured with the found triggers too.
    """
    from nc_tf.evaluation import measure
    from nc_tf.mitigation.repair import named_triggers
    from nc_tf.models.loading.load import load_model
    from nc_tf.scan_folder.folder import ScanFolder

    if not (network.scan / "verdict.json").exists():
        raise InputError(f"{network.scan} holds no finished scan: expected one of the network; run `python -m benchmarks.video.steps scan`")
    found = ScanFolder(network.scan).flagged_triggers()
    facts = network.facts | {"defence": defence}
    if defence == "unlearning" and not found:
        return facts | {"nothing flagged": True}
    train, test = both_sets(data)
    taught, beside = ((), named_triggers(found)) if defence == "fine-tuning" else (found, {})
    anew = common.filmed(train, common.MITIGATION, network.seed)
    method, clips, settings = ("nft", train, NFT) if defence == "NFT" else ("unlearn", anew, common.MITIGATION)
    out = RUNS / BENCHMARK / "mitigate" / network.name / defence
    known = beside | network.known(test[0])
    of_clean = measure(load_model(Network(network.seed).file), *test, network.known(test[0]))
    facts |= {"rate_of_clean_network": of_clean.attack_success_rate["true"]}
    return facts | repaired(method, network.file, clips, test, taught, known, out, seed=network.seed, verbose=0, **settings)


if __name__ == "__main__":
    sys.exit(main())
