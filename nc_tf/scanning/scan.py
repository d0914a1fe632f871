"""Scan of a model: a plan, its run, a verdict."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace

import keras
import numpy as np

from nc_tf.detection.all_to_all import judge_untargeted
from nc_tf.detection.hardening import judge_hardening
from nc_tf.detection.levels import split_level
from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.detection.source_specific import judge_sources
from nc_tf.detection.verdict import NAME as ONE_LABEL
from nc_tf.detection.verdict import judge
from nc_tf.detection.whole_image import judge_changes
from nc_tf.inversion.step import SearchSettings
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import ChangeResult, LabelResult, ScanResult
from nc_tf.scanning.callbacks import CallbackList, ScanCallback
from nc_tf.scanning.changes import CHANGES
from nc_tf.scanning.options import ScanOptions
from nc_tf.scanning.plan import ScanPlan, make_plan
from nc_tf.scanning.prescreening import Shortlist
from nc_tf.scanning.run import ScanRun
from nc_tf.scanning.state import ScanState


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
    detectors: Iterable[str] | None = None,
    resume: ScanState | None = None,
    callbacks: Sequence[ScanCallback] = (),
) -> ScanResult:
    """Return whether a label's smallest trigger is suspiciously small (paper section IV).

    Args:
        model: Keras classifier (N, H, W, C) or (N, T, H, W, C) -> (N, K), softmax or logits. It is not changed. Other forms that
            `nc_tf.adapt` takes without a choice are accepted.
        images: (N, H, W, C) clean raw images, or clips (N, T, H, W, C), uint8 or float32 in [0, 255].
        labels: (N,) true classes; without them the model's own answers take their place.
        unseen: held-out images and their classes, on which triggers are measured; None holds out a part of `images`.
        targets: labels to search; None searches all. This and the arguments down to `detectors` are fields of `nc_tf.ScanOptions`.
        preset: name of the preset: "robust", "low-cost" or "paper".
        settings: search settings that replace the preset's.
        starts: restarts a label; None takes the preset's.
        best: which working trigger of a label counts: that with the smallest "norm" or with the greatest "success".
        precision: "float32", "bfloat16" or "auto"; None takes the preset's.
        intensity_range: range of pixels that the model expects; "auto" tries all and measures accuracy.
        upsample_size: side of the mask's super-pixels, pixels.
        per_frame: on clips, one trigger a frame instead of one that all frames share.
        seed: seed of restarts, minibatches and the held-out part.
        lanes: restarts advanced together at most; None takes the preset's.
        engine: "local" searches in this process, "ray" on a cluster.
        detectors: names of the detectors that run beside "one-label"; None takes all that preset, classes and inputs allow.
        resume: state of an earlier part of this scan that was stopped; `nc_tf.scan_to_folder` keeps one.
        callbacks: progress, saving, drawing.

    Returns:
        The verdict, the labels that it flags, and every label's trigger.

    Raises:
        InputError: images, labels or settings that cannot be scanned; docs/reference/data-files.md lists the reasons.
    """
    began = time.perf_counter()
    options = ScanOptions(
        targets=targets,
        preset=preset,
        settings=settings,
        starts=starts,
        best=best,
        precision=precision,
        intensity_range=intensity_range,
        upsample_size=upsample_size,
        per_frame=per_frame,
        seed=seed,
        lanes=lanes,
        engine=engine,
        detectors=detectors,
    )
    return run_plan(make_plan(model, images, labels, options, unseen), resume, callbacks, began)


def run_plan(plan: ScanPlan, resume: ScanState | None, callbacks: Iterable[ScanCallback], began: float) -> ScanResult:
    """Run a plan and judge what it finds.

    Args:
        plan: what `make_plan` returns.
        resume: state of an earlier, stopped part; None begins.
        callbacks: receive every event, in order.
        began: `time.perf_counter()` when the scan began.
    """
    found = ScanRun(plan, resume or ScanState(), CallbackList(callbacks)).search()
    others = [] if found.untargeted is None else [judge_untargeted(found.untargeted, found.labels)]
    others += [] if found.rises is None else [judge_hardening(found.rises)]
    others += [] if found.sources is None else [judge_sources(found.sources, plan.task.network.num_classes, found.sources_open)]
    levels = split_level(plan.detectors)
    changes: list[ChangeResult] = []
    for name in CHANGES:
        sizes = [change for change in found.changes if change.detector == name]
        if sizes:
            detection, judged = judge_changes(sizes, levels[name], plan.unit)
            others, changes = [*others, detection], [*changes, *judged]
    result = judge(
        found.labels,
        rule=plan.preset.rule,
        level=levels[ONE_LABEL],
        reference=found.shortlist.sample if found.shortlist else None,
        ranked_out=len(plan.targets) - len(found.labels),
        unit=plan.unit,
        settings=plan.record() | _shortlist_record(found.shortlist),
        seconds=time.perf_counter() - began,
        limits=found.limits,
        model_accuracy=float("nan") if plan.recognition is None else plan.recognition.accuracy,
        warnings=[*plan.warnings(), *_warnings_of_patches(found.labels)],
        others=others,
        untargeted=found.untargeted,
    )
    return replace(result, changes=tuple(changes), sources=found.sources or ())


def _shortlist_record(shortlist: Shortlist | None) -> dict[str, object]:
    """Return the settings of pre-screening in a result; empty without one."""
    if shortlist is None:
        return {}
    return {
        "labels_ranked": len(shortlist.chosen) + len(shortlist.ranked_out),
        "labels_ranked_out": len(shortlist.ranked_out),
        "ranking_rounds": shortlist.rounds,
        "sample": list(shortlist.sample),
    }


def _warnings_of_patches(labels: Sequence[LabelResult]) -> list[str]:
    patches = ", ".join(str(entry.label) for entry in labels if entry.by_patch)
    return [f"the trigger of label {patches} is an opaque patch, smaller than the result of every search"] if patches else []
