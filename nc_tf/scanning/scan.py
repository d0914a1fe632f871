"""Labels x starts -> `ScanResult`: search every label, re-measure what was found on unseen images, and draw the verdict."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, replace

import keras
import numpy as np

from nc_tf.datasets.checks import check_images
from nc_tf.detection.inconclusive import (
    WORTH_TELLING,
    limit_of_patch,
    limit_of_recognition,
    limit_of_unknown_classes,
    limits_of_images,
    limits_of_network,
)
from nc_tf.detection.patches import FIRST, probe
from nc_tf.detection.recognition import AUTO, RangeChoice, choose_range, recognise
from nc_tf.detection.verdict import judge
from nc_tf.errors import InputError
from nc_tf.evaluation import Attacked, attack_success_rate, attacked, predict_classes, share
from nc_tf.inversion.loop import Arm, ArmResult, Progress, result_of
from nc_tf.inversion.step import RoundLog, Run, SearchSettings
from nc_tf.models.adapting import adapt_to
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import LabelResult, ScanResult, Status, Trigger, Unit
from nc_tf.runtime.random_state import random_state_kept
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.engines.choice import engine_named
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.halving import Race, random_arm
from nc_tf.scanning.memory_plan import plan_search
from nc_tf.scanning.prescreening import Ranking, RankingSettings, Shortlist
from nc_tf.scanning.presets import preset_named
from nc_tf.scanning.state import ScanState, fitting

# Of a set of images this share, and no more than the preset's number, is kept from the search to measure its triggers on.
HELD_OUT_SHARE = 0.2
BEST = ("norm", "success")


@random_state_kept()
def scan(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    unseen: tuple[np.ndarray, np.ndarray] | None = None,
    targets: Iterable[int] | None = None,
    preset: str = "robust",
    settings: SearchSettings | None = None,
    starts: int | None = None,
    best: str = "norm",
    precision: str | None = None,
    intensity_range: str | Preprocessing | RangeChoice = AUTO,
    upsample_size: int = 1,
    per_frame: bool = False,
    seed: int = 0,
    lanes: int | None = None,
    engine: str = "local",
    resume: ScanState | None = None,
    callbacks: Sequence[ScanCallback] = (),
) -> ScanResult:
    """Search the smallest trigger of every label and tell whether one is suspiciously small (paper section IV).

    Args:
        model: a Keras classifier, one input (N, H, W, C) or (N, T, H, W, C), one output (N, K), softmax or logits; or another form that
            `nc_tf.adapt` takes without a choice. It is not changed.
        images: (N, H, W, C) clean raw images, or clips (N, T, H, W, C), uint8 or float32 in [0, 255].
        labels: (N,) true classes; where they are missing the model's own answers take their place.
        unseen: clean images and their classes to measure the triggers on; by default a part of `images` is kept from the search for that.
        targets: the labels to search; all of them by default.
        preset: name of one of `PRESETS`.
        settings: of the search, instead of the preset's; a ranking keeps its own.
        starts: searches a label, each from another start, of which the smallest working trigger counts; instead of the preset's, but for
            a ranking, which keeps its own.
        best: which start of a label counts: the working trigger with the smallest "norm", or the one with the greatest "success" on unseen
            images, of equals the smaller.
        precision: "float32", "bfloat16" or "auto" (bfloat16 where the hardware has it); instead of the preset's.
        intensity_range: what the model wants of raw pixels, see `nc_tf.preprocessing`; "auto" finds out, by the classes of the images.
        upsample_size: side of the super-pixels of the mask, pixels.
        per_frame: of clips, whether every frame has a trigger of its own instead of one that all frames share.
        seed: of starts, minibatches and the held-out part.
        lanes: arms advanced together at most, by default `Preset.lanes_for`; fewer where more do not fit into the memory
            (`nc_tf.runtime.memory.allow`). No result depends on them.
        engine: "local" searches in this process, "ray" on a cluster (docs/cluster.md); the outcome is the same.
        resume: how far an earlier scan came that was cut off; `ScanFolder.open` reads it.
        callbacks: progress, saving.

    Raises:
        InputError: images, labels or settings that cannot be scanned; see docs/data-files.md for the list.
    """
    began = time.perf_counter()
    model = adapt_to(model, np.shape(images)[1:])
    chosen, run_legs = preset_named(preset), engine_named(engine)
    usual = chosen.settings_for(model.input_shape[1:])
    settings = settings or usual
    name = preset if settings == usual else "custom"
    starts = chosen.starts if starts is None else starts
    if starts < 1:
        raise InputError(f"{starts} starts: expected 1 or more; 1 start is the paper's")
    if lanes is not None and lanes < 1:
        raise InputError(f"{lanes} lanes: expected 1 or more; leave them out for the preset's")
    if seed < 0:
        raise InputError(f"seed {seed}: expected 0 or more; choose one")
    if best not in BEST:
        raise InputError(f"best {best!r}: expected one of {', '.join(BEST)}; choose one")
    if best == "success" and chosen.cuts:
        raise InputError(f"preset {preset} drops starts before they end: expected --preset paper, to choose one by its success")
    wanted = _targets(targets, model.output_shape[-1])
    images, labels = check_images(images, labels, image_shape=model.input_shape[1:], num_classes=model.output_shape[-1])
    range_choice = choose_range(intensity_range, model, images, labels)
    preprocess = range_choice.preprocess
    preprocess.check_channels(model.input_shape[-1])
    recognition = None if labels is None else recognise(model, images, labels, preprocess)
    labels = predict_classes(model, images, preprocess) if labels is None else labels
    unit, frames = Unit.of(images.shape[1:]), images.shape[1] if images.ndim == 5 else 1
    searched, held_out = _split(len(images), seed, settings.batch_size, chosen.held_out if unseen is None else 0, unit)
    if unseen is None:
        unseen_images, unseen_labels = images[held_out], labels[held_out]
    else:
        unseen_images, unseen_labels = check_images(
            *unseen, image_shape=images.shape[1:], num_classes=model.output_shape[-1], name=f"unseen {unit.many}"
        )
        if unseen_labels is None:
            raise InputError(f"unseen {unit.many} without their classes: expected both; give ({unit.many}, labels)")
    if settings.exclude_target:
        _check_others(wanted, labels[searched], unit)
    of_search = images, settings, upsample_size, seed, per_frame, labels, searched
    task = Task(model, preprocess, precision or chosen.precision, *of_search)
    kept = images.nbytes + unseen_images.nbytes
    network, space = task.network, task.space
    limits = [*limits_of_network(network), *([] if recognition is None else limit_of_recognition(recognition))]
    pointless = any(limit.blocks_suspicion for limit in limits)
    if recognition is None:
        limits.append(limit_of_unknown_classes(unit, raw_assumed=intensity_range == AUTO))
    limits += limits_of_images(images, searched, labels[searched], network.num_classes)
    fit = None if pointless else plan_search(task, lanes or chosen.lanes_for(settings, frames), kept, check=engine == "local")

    tries_patches = chosen.patches and upsample_size == 1 and not per_frame and len(np.unique(unseen_labels)) > FIRST

    def verdict(results: Sequence[LabelResult], shortlist: Shortlist | None = None) -> ScanResult:
        return judge(
            results,
            rule=chosen.rule,
            reference=shortlist.sample if shortlist else None,
            ranked_out=len(wanted) - len(results),
            unit=unit,
            settings={
                "preset": name,
                **asdict(settings),
                "upsample_size": upsample_size,
                **({"per_frame": True} if per_frame else {}),
                "starts": starts,
                "best": best,
                "cuts": [asdict(cut) for cut in chosen.cuts],
                "seed": seed,
                "precision": network.precision,
                **range_choice.record,
                "model_output": network.output,
                "logit_scale": network.logit_scale,
                "images_searched": len(searched),
                "images_held_out": len(unseen_images),
                **({} if fit is None else {"memory": fit.record, "patches_tried": tries_patches}),
                **(_ranking_settings(shortlist) if shortlist else {}),
            },
            seconds=time.perf_counter() - began,
            limits=limits,
            model_accuracy=float("nan") if recognition is None else recognition.accuracy,
            warnings=[*network.warnings, *_warnings(range_choice, wanted, network.num_classes, results)],
        )

    before = fitting(resume or ScanState(), space, settings, starts, unseen_labels, chosen.ranking)
    done = {label: result for label, result in before.finished.items() if label in wanted}
    ranks = chosen.ranking is not None and chosen.ranking.saves(len(wanted))
    shortlist = before.shortlist
    if shortlist and not (ranks and shortlist.is_of(wanted)):
        shortlist = None  # the earlier scan was asked for other labels
    waiting = [label for label in (shortlist.chosen if shortlist else wanted) if label not in done]
    for callback in callbacks:
        if fit is not None:
            callback.on_plan(fit)
        callback.on_begin(network, len(waiting) if fit else 0, starts, settings.max_rounds, fit.in_flight if fit else 0)
    if fit is None:
        return verdict([_not_searched(label, images.shape[1:]) for label in sorted(wanted)])
    clean_answers = predict_classes(model, unseen_images, preprocess)
    seen: dict[int, Trigger] = {}
    if tries_patches:
        seen = probe(lambda stamped: predict_classes(model, stamped, preprocess), unseen_images, unseen_labels)

    def on_round(arms: Sequence[Arm], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        for callback in callbacks:
            callback.on_round(arms, rounds, run, log)

    def arm(label: int, start: int) -> Arm:
        return random_arm(space, label, start, seed, grey=chosen.grey)

    def success(result: ArmResult) -> float:
        return attack_success_rate(model, unseen_images, unseen_labels, result.trigger, preprocess)

    def smaller_patch(label: int, found: ArmResult) -> tuple[Trigger, Attacked] | None:
        """The patch that was seen to move images to the label, where it is smaller than what was found and works on unseen images."""
        patch = seen.get(label)
        if patch is None or (found.succeeded and found.trigger.l1_norm <= patch.l1_norm):
            return None
        measured = attacked(model, unseen_images, unseen_labels, patch, preprocess)
        moved = measured.success - share(clean_answers[unseen_labels != label] == label)
        return (patch, measured) if measured.success >= settings.cost.threshold and moved >= WORTH_TELLING else None

    def settle(starts_of_label: Sequence[Progress]) -> None:
        """A label is finished: measure its best trigger on unseen images."""
        tried = [result_of(task.inversion, arm(progress.label, progress.start), progress) for progress in starts_of_label]
        counts = _best(tried, success if best == "success" else None)
        label = counts.arm.label
        trigger, measured = counts.trigger, attacked(model, unseen_images, unseen_labels, counts.trigger, preprocess)
        status = counts.status
        patch = smaller_patch(label, counts)
        if patch is not None:
            trigger, measured, status = patch[0], patch[1], Status.CONVERGED
        # A start that broke down may have been on its way to the smallest trigger of all.
        broke_down = not measured.finite or any(result.status == Status.NONFINITE for result in tried)
        done[label] = LabelResult(
            trigger=trigger,
            status=status,
            attack_success_rate=measured.success,
            zero_trigger_rate=share(clean_answers[unseen_labels != label] == label),
            starts=starts,
            rounds=sum(result.rounds for result in tried),
            num_measured=int(np.sum(unseen_labels != label)),
            broke_down=broke_down,
            by_patch=patch is not None,
        )
        for callback in callbacks:
            callback.on_label(done[label], tried)

    def rank(by: RankingSettings) -> Shortlist:
        """Search every label a little, and choose those that are searched to the end."""
        some = max(1, min(by.lanes // frames, fit.in_flight // (by.search.batch_size * frames)))
        plan = Ranking(wanted, arm, by, seed, known=before.ranking)
        with closing(run_legs(replace(task, settings=by.search), plan, lanes=some, on_round=lambda *_: None)) as reached:
            for progress in reached:
                ranked = plan.take(progress)
                if ranked is not None:
                    for callback in callbacks:
                        callback.on_ranking(ranked, plan.share)
        return plan.shortlist

    if chosen.ranking and ranks and shortlist is None:
        shortlist = rank(chosen.ranking)
        for callback in callbacks:
            callback.on_ranked(shortlist)
        waiting = [label for label in shortlist.chosen if label not in done]
    # A ranking may have passed by what a patch has shown.
    waiting += [label for label in sorted(seen) if label in wanted and label not in done and label not in waiting]
    race = Race(waiting, arm, starts, settings, cuts=chosen.cuts, known=[p for p in before.under_way if p.label in waiting])
    # A scan that was cut off may have searched a label to its end without saving what it found.
    for finished_starts in race.finished():
        settle(finished_starts)
    with closing(run_legs(task, race, lanes=fit.lanes, on_round=on_round)) as reached:
        for progress in reached:
            for callback in callbacks:
                callback.on_leg(progress)
            race.take(progress)
            for finished_starts in race.finished():
                settle(finished_starts)
    for label, patch in seen.items():  # at the end, so that a scan that was stopped comes to the same
        entry = done.get(label)
        if entry and not entry.by_patch and (not entry.succeeded or patch.l1_norm < entry.trigger.l1_norm):
            rate = attack_success_rate(model, unseen_images, unseen_labels, patch, preprocess)
            if rate - entry.zero_trigger_rate >= WORTH_TELLING:
                limits.append(limit_of_patch(patch, rate, unit))
    return verdict([done[label] for label in sorted(done)], shortlist)


def _not_searched(label: int, image_shape: Sequence[int]) -> LabelResult:
    """Stands for a label of a scan that ended before its searches began."""
    mask, pattern = np.zeros(tuple(image_shape[-3:-1]), np.float32), np.zeros(tuple(image_shape[-3:]), np.float32)
    return LabelResult(Trigger(label, mask, pattern), Status.NEVER_SUCCEEDED, float("nan"), float("nan"), starts=0, rounds=0)


def _warnings(
    range_choice: RangeChoice,
    wanted: Sequence[int],
    num_classes: int,
    results: Sequence[LabelResult],
) -> list[str]:
    """What else has to be known to read the verdict."""
    warnings = []
    if range_choice.close:
        warnings.append(str(range_choice.sentence))
    if len(wanted) < num_classes:
        warnings.append(f"{len(wanted)} of {num_classes} labels were asked for: nothing is said of the others")
    patches = ", ".join(str(entry.label) for entry in results if entry.by_patch)
    if patches:
        warnings.append(f"the trigger of label {patches} is a patch that was tried: no search found so small a one")
    return warnings


def _ranking_settings(shortlist: Shortlist) -> dict[str, object]:
    return {
        "labels_ranked": len(shortlist.chosen) + len(shortlist.ranked_out),
        "labels_ranked_out": len(shortlist.ranked_out),
        "ranking_rounds": shortlist.rounds,
        "sample": list(shortlist.sample),
    }


def _targets(targets: Iterable[int] | None, num_classes: int) -> list[int]:
    wanted = list(range(num_classes)) if targets is None else list(dict.fromkeys(int(target) for target in targets))
    bad = [target for target in wanted if not 0 <= target < num_classes]
    if bad or not wanted:
        raise InputError(f"labels {bad or wanted}: expected some of 0 to {num_classes - 1}, the model's classes; choose from these")
    return wanted


def _split(num_images: int, seed: int, batch_size: int, most: int, unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    """Rows to search on, and rows kept from the search, at most `most` of these."""
    held_out = min(most, int(num_images * HELD_OUT_SHARE))
    if num_images - held_out < batch_size:
        fewest = int(np.ceil(batch_size / (1 - HELD_OUT_SHARE)))
        raise InputError(
            f"{num_images} {unit.many}: expected at least {fewest} for minibatches of {batch_size}; "
            f"give more {unit.many}, or a smaller batch size"
        )
    order = np.random.default_rng(seed).permutation(num_images)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _check_others(wanted: Iterable[int], classes: np.ndarray, unit: Unit) -> None:
    """Whether every label has images of other classes to search on."""
    for label in wanted:
        if (classes == label).all():
            raise InputError(
                f"label {label}: all {unit.many} to search on are of this class (where no labels are given, by the model's own answers): "
                f"expected some of others, because its own are left out; give {unit.many} of other classes, or do not search this label"
            )


def _best(starts: Sequence[ArmResult], success: Callable[[ArmResult], float] | None = None) -> ArmResult:
    """The smallest working trigger, of those with the greatest `success` if that is given; where none works, the first start's last try."""
    working = [result for result in starts if result.succeeded]
    if not working:
        return min(starts, key=lambda result: result.arm.start)
    return min(working, key=lambda result: (-success(result) if success else 0.0, result.trigger.l1_norm))
