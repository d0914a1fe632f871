"""Labels x starts -> `ScanResult`: search every label, re-measure what was found on unseen images, and draw the verdict."""

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import keras
import numpy as np

from nc_tf.datasets.checks import check_images
from nc_tf.errors import InputError
from nc_tf.evaluation import attack_success_rate, predict_classes, share
from nc_tf.inversion import Inversion, Loss, RoundLog, Run, SearchSettings
from nc_tf.models.network import FrozenNetwork
from nc_tf.outliers import PAPER_INDEX, find_outliers
from nc_tf.preprocessing import Preprocessing, preprocessing
from nc_tf.results import LabelResult, ScanResult, Verdict
from nc_tf.schedule import CostSchedule
from nc_tf.search import Arm, ArmResult, ResidentImages, search
from nc_tf.triggers import TriggerSpace

# Of a set of images this share, and no more than this many, is kept from the search to measure its triggers on.
HELD_OUT_SHARE, HELD_OUT_MOST = 0.2, 2000
# With fewer working triggers a median and a MAD say nothing.
FEWEST_LABELS = 5


@dataclass(frozen=True)
class Preset:
    """A named way to scan: the settings of the search, starts a label, and the precision of the forward pass."""

    settings: SearchSettings
    starts: int
    precision: str


PRESETS = {
    # One start a label, with the constants of the original's gtsrb_visualize_example.py.
    "paper": Preset(
        SearchSettings(loss=Loss.LINEAR, cost=CostSchedule(multiplier=2.0, patience=5, early_stop_threshold=1.0, early_stop_patience=25)),
        starts=1,
        precision="float32",
    ),
}


class ScanCallback:
    """Hears how a scan goes on. Override what you need."""

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int) -> None:
        """Before the first round."""

    def on_round(self, arms: Sequence[Arm], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        """After every round, with the arms in flight, the number of the round each has ended, their state and what each logged."""

    def on_label(self, result: LabelResult, starts: Sequence[ArmResult]) -> None:
        """When a label is done; its anomaly index is not known yet."""


def scan(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    targets: Iterable[int] | None = None,
    preset: str = "paper",
    settings: SearchSettings | None = None,
    starts: int | None = None,
    precision: str | None = None,
    intensity_range: str | Preprocessing = "raw",
    upsample_size: int = 1,
    seed: int = 0,
    lanes: int = 8,
    finished: Mapping[int, LabelResult] | None = None,
    callbacks: Sequence[ScanCallback] = (),
) -> ScanResult:
    """Search the smallest trigger of every label and tell whether one is suspiciously small (paper section IV).

    Args:
        model: a Keras classifier, one input (N, H, W, C), one output (N, K), softmax or logits. It is not changed.
        images: (N, H, W, C) clean raw images, uint8 or float32 in [0, 255].
        labels: (N,) true classes; where they are missing the model's own answers take their place.
        targets: the labels to search; all of them by default.
        preset: name of one of `PRESETS`.
        settings: of the search, instead of the preset's.
        starts: random starts a label, of which the smallest working trigger counts; instead of the preset's.
        precision: "float32", "bfloat16" or "auto" (bfloat16 where the hardware has it); instead of the preset's.
        intensity_range: what the model wants of raw pixels, see `nc_tf.preprocessing`.
        upsample_size: side of the super-pixels of the mask, pixels.
        seed: of starts, minibatches and the held-out part.
        lanes: arms advanced together; bounds the memory.
        finished: results of labels that need no search any more, from an earlier scan that was cut off.
        callbacks: progress, saving.

    Raises:
        InputError: images, labels or settings that cannot be scanned; see docs/data-files.md for the list.
    """
    began = time.perf_counter()
    chosen = _preset(preset)
    name = preset if settings is None else "custom"
    settings = settings or chosen.settings
    starts = chosen.starts if starts is None else starts
    if starts < 1 or lanes < 1:
        raise InputError(f"{starts} starts in {lanes} lanes: expected 1 or more of each; 1 start is the paper's")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more; choose one")
    preprocess = preprocessing(intensity_range)
    wanted = _targets(targets, model.output_shape[-1])
    preprocess.check_channels(model.input_shape[-1])
    images, labels = check_images(images, labels, image_shape=model.input_shape[1:], num_classes=model.output_shape[-1])
    labels = predict_classes(model, images, preprocess) if labels is None else labels
    network = FrozenNetwork(model, preprocess, precision or chosen.precision, images[:4])
    searched, unseen = _split(len(images), seed, settings.batch_size)
    unseen_images, unseen_labels = images[unseen], labels[unseen]
    clean_answers = predict_classes(model, unseen_images, preprocess)

    space = TriggerSpace(images.shape[1:], upsample_size)
    done = {label: result for label, result in (finished or {}).items() if label in wanted}
    waiting = [label for label in wanted if label not in done]
    for callback in callbacks:
        callback.on_begin(network, len(waiting), starts, settings.max_rounds)

    def on_round(arms: Sequence[Arm], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        for callback in callbacks:
            callback.on_round(arms, rounds, run, log)

    found: dict[int, list[ArmResult]] = defaultdict(list)
    arms = random_arms(space, waiting, starts, seed)
    inversion = Inversion(network, space, settings)
    for arm_result in search(inversion, arms, ResidentImages(images[searched], settings, seed), lanes=lanes, on_round=on_round):
        label = arm_result.arm.label
        found[label].append(arm_result)
        if len(found[label]) < starts:
            continue
        tried = found.pop(label)
        best = _best(tried)
        done[label] = LabelResult(
            trigger=best.trigger,
            status=best.status,
            attack_success_rate=attack_success_rate(model, unseen_images, unseen_labels, best.trigger, preprocess),
            zero_trigger_rate=share(clean_answers[unseen_labels != label] == label),
            starts=starts,
            rounds=sum(result.rounds for result in tried),
        )
        for callback in callbacks:
            callback.on_label(done[label], tried)
    return judge(
        [done[label] for label in sorted(done)],
        settings={
            "preset": name,
            **asdict(settings),
            "upsample_size": upsample_size,
            "starts": starts,
            "seed": seed,
            "precision": network.precision,
            "intensity_range": preprocess.name,
            "model_output": network.output,
            "images_searched": len(searched),
            "images_held_out": len(unseen),
        },
        seconds=time.perf_counter() - began,
    )


def random_arms(space: TriggerSpace, labels: Iterable[int], starts: int, seed: int) -> Iterator[Arm]:
    """The arms of some labels, each with a random start that depends on seed, label and number alone."""
    for label in labels:
        for start in range(starts):
            yield Arm(label, start, *space.random(np.random.default_rng([seed, label, start])))


def judge(labels: Sequence[LabelResult], settings: dict[str, object] | None = None, seconds: float = 0.0) -> ScanResult:
    """The paper's verdict over the labels with a working trigger: below the median by more than two MAD is suspicious."""
    working = [result for result in labels if result.succeeded]
    settings = settings or {}
    nan = float("nan")
    if len(working) < FEWEST_LABELS:
        reason = f"{len(working)} of {len(labels)} labels have a working trigger, and median and MAD need {FEWEST_LABELS}"
        return ScanResult(Verdict.INCONCLUSIVE, reason, (), nan, nan, tuple(labels), settings, seconds)
    outliers = find_outliers([result.trigger.l1_norm for result in working])
    indices = {result.label: float(index) for result, index in zip(working, outliers.index, strict=True)}
    judged = tuple(replace(result, anomaly_index=indices.get(result.label, nan)) for result in labels)
    if outliers.mad == 0.0:
        reason = f"at least half of the labels have the same norm, {outliers.median:.2f}, so that the MAD is zero and measures nothing"
        return ScanResult(Verdict.INCONCLUSIVE, reason, (), outliers.median, 0.0, judged, settings, seconds)
    flagged = tuple(working[position].label for position in outliers.flagged)
    if flagged:
        verdict, names = Verdict.SUSPECTED, ", ".join(map(str, flagged))
        reason = f"the smallest trigger of label {names} is more than {PAPER_INDEX:g} MAD below the median of {outliers.median:.2f}"
    else:
        verdict = Verdict.NO_OUTLIER
        reason = f"no label's smallest trigger is more than {PAPER_INDEX:g} MAD below the median of {outliers.median:.2f}"
    return ScanResult(verdict, reason, flagged, outliers.median, outliers.mad, judged, settings, seconds)


def _preset(name: str) -> Preset:
    if name not in PRESETS:
        raise InputError(f"preset {name!r}: expected one of {', '.join(PRESETS)}; choose one")
    return PRESETS[name]


def _targets(targets: Iterable[int] | None, num_classes: int) -> list[int]:
    if num_classes < 2:
        raise InputError(f"the model has {num_classes} class: expected at least two; a backdoor needs another class to lead away from")
    wanted = list(range(num_classes)) if targets is None else list(dict.fromkeys(int(target) for target in targets))
    bad = [target for target in wanted if not 0 <= target < num_classes]
    if bad or not wanted:
        raise InputError(f"labels {bad or wanted}: expected some of 0 to {num_classes - 1}, the model's classes; choose from these")
    return wanted


def _split(num_images: int, seed: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows to search on, and rows kept from the search."""
    held_out = min(HELD_OUT_MOST, int(num_images * HELD_OUT_SHARE))
    if num_images - held_out < batch_size:
        raise InputError(
            f"{num_images} images: expected at least {int(np.ceil(batch_size / (1 - HELD_OUT_SHARE)))} for minibatches of {batch_size}; "
            "give more images, or a smaller batch size"
        )
    order = np.random.default_rng(seed).permutation(num_images)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _best(starts: Sequence[ArmResult]) -> ArmResult:
    """The smallest working trigger; where none works, the first start's last try."""
    working = [result for result in starts if result.succeeded]
    if not working:
        return min(starts, key=lambda result: result.arm.start)
    return min(working, key=lambda result: result.trigger.l1_norm)
