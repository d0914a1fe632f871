"""Plan of a scan: every check, and everything that is decided before the first search."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np

from nc_tf.datasets.checks import check_images
from nc_tf.detection.inconclusive import (
    Limit,
    limit_of_recognition,
    limit_of_unknown_classes,
    limits_of_images,
    limits_of_network,
)
from nc_tf.detection.patches import FIRST
from nc_tf.detection.recognition import AUTO, RangeChoice, Recognition, choose_range, recognise
from nc_tf.errors import InputError
from nc_tf.evaluation import predict_classes
from nc_tf.models.adapting import adapt_to
from nc_tf.models.lint import reasons_to_look
from nc_tf.results import Unit
from nc_tf.scanning.detectors import Circumstances, chosen
from nc_tf.scanning.engines.choice import Engine, engine_named
from nc_tf.scanning.engines.task import Task
from nc_tf.scanning.memory_plan import SearchPlan, plan_search
from nc_tf.scanning.options import ScanOptions
from nc_tf.scanning.presets import Preset, preset_named

# This share of the images, and no more than the preset's number, is held out to measure triggers on.
HELD_OUT_SHARE = 0.2


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Images that no search draws from; triggers are measured on them.

    Attributes:
        images: (M, H, W, C) raw images or clips (M, T, H, W, C); M may be 0.
        labels: (M,) their classes.
    """

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """All that a scan needs, checked.

    Attributes:
        options: the options as they were given.
        preset: the options' preset, with settings, starts and precision of the options in it.
        task: model, images, and how triggers are searched.
        engine: where searches run.
        targets: labels to search, in this order.
        held_out: images to measure triggers on.
        range_choice: range of pixels that the model expects, and how it was found.
        recognition: how many of the images the model recognises; None where their classes are not given.
        limits: reasons for which the verdict may say less than the norms do.
        detectors: names of the detectors that run, "one-label" first.
        reasons: sentences on operations that no classifier needs, see `nc_tf.models.lint`.
        memory: how many searches fit; None where no search could see anything, so that none is made.
    """

    options: ScanOptions
    preset: Preset
    task: Task
    engine: Engine
    targets: tuple[int, ...]
    held_out: HeldOut
    range_choice: RangeChoice
    recognition: Recognition | None
    limits: tuple[Limit, ...]
    detectors: tuple[str, ...]
    reasons: tuple[str, ...]
    memory: SearchPlan | None

    @property
    def unit(self) -> Unit:
        """Return what messages call one input of the model."""
        return Unit.of(self.task.images.shape[1:])

    @property
    def frames(self) -> int:
        """Return the number of frames of one input, 1 for an image."""
        return int(self.task.images.shape[1]) if self.task.images.ndim == 5 else 1

    @property
    def prescreens(self) -> bool:
        """Return whether a pre-screening decides which labels are searched in full."""
        return self.preset.ranking is not None and self.preset.ranking.saves(len(self.targets))

    @property
    def tries_patches(self) -> bool:
        """Return whether opaque patches are tried beside the searches."""
        classes = len(np.unique(self.held_out.labels))
        return self.preset.patches and self.options.upsample_size == 1 and not self.options.per_frame and classes > FIRST

    @cached_property
    def preset_name(self) -> str:
        """Return the preset's name, or "custom" where the options change its settings."""
        usual = preset_named(self.options.preset).settings_for(self.task.images.shape[1:], self.task.network.num_classes)
        return self.options.preset if self.task.settings == usual else "custom"

    def record(self) -> dict[str, Any]:
        """Return the settings of a result as plain JSON values."""
        options, network = self.options, self.task.network
        return {
            "preset": self.preset_name,
            **asdict(self.task.settings),
            "upsample_size": options.upsample_size,
            **({"per_frame": True} if options.per_frame else {}),
            **({} if options.detectors is None else {"detectors": list(self.detectors)}),
            "starts": self.preset.starts,
            "best": options.best,
            "cuts": [asdict(cut) for cut in self.preset.cuts],
            "seed": options.seed,
            "precision": network.precision,
            **self.range_choice.record,
            "model_output": network.output,
            "logit_scale": network.logit_scale,
            "images_searched": len(self.task.minibatches.rows),
            "images_held_out": len(self.held_out.images),
            **({} if self.memory is None else {"memory": self.memory.record, "patches_tried": self.tries_patches}),
        }

    def warnings(self) -> list[str]:
        """Return the warnings that are known before the search."""
        warnings = [*self.task.network.warnings, *self.reasons]
        if self.range_choice.close:
            warnings.append(str(self.range_choice.sentence))
        if len(self.targets) < self.task.network.num_classes:
            warnings.append(f"{len(self.targets)} of {self.task.network.num_classes} labels were asked for: the verdict covers no others")
        return warnings


def make_plan(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray | None,
    options: ScanOptions,
    unseen: tuple[np.ndarray, np.ndarray] | None = None,
    *,
    name: str | None = None,
) -> ScanPlan:
    """Check the arguments of a scan, and return its plan.

    Args:
        model: a Keras classifier, see `nc_tf.scan`.
        images: (N, H, W, C) clean raw images, or clips (N, T, H, W, C), uint8 or float32 in [0, 255].
        labels: (N,) true classes; None takes the model's own answers.
        options: how to scan.
        unseen: held-out images and their classes; None holds out a part of `images`.
        name: what messages call the source of `images`.

    Raises:
        InputError: images, labels or options that cannot be scanned.
    """
    model = adapt_to(model, np.shape(images)[1:])
    num_classes, engine = model.output_shape[-1], engine_named(options.engine)
    preset = _resolved(options, model)
    settings = preset.settings
    targets = _targets(options.targets, num_classes)
    images, given = check_images(images, labels, image_shape=model.input_shape[1:], num_classes=num_classes, name=name)
    range_choice = choose_range(options.intensity_range, model, images, given)
    preprocess = range_choice.preprocess
    preprocess.check_channels(model.input_shape[-1])
    recognition = None if given is None else recognise(model, images, given, preprocess)
    labels = predict_classes(model, images, preprocess) if given is None else given
    unit = Unit.of(images.shape[1:])
    searched, rest = split(len(images), options.seed, settings.batch_size, preset.held_out if unseen is None else 0, unit)
    held_out = HeldOut(images[rest], labels[rest]) if unseen is None else _given_held_out(unseen, images.shape[1:], num_classes, unit)
    if settings.exclude_target:
        _check_others(targets, labels[searched], unit)
    of_search = images, settings, options.upsample_size, options.seed, options.per_frame, labels, searched
    task = Task(model, preprocess, preset.precision, *of_search)
    limits = [*limits_of_network(task.network), *([] if recognition is None else limit_of_recognition(recognition))]
    sees_nothing = any(limit.blocks_suspicion for limit in limits)
    if recognition is None:
        limits.append(limit_of_unknown_classes(unit, raw_assumed=options.intensity_range == AUTO))
    limits += limits_of_images(images, searched, labels[searched], num_classes)
    circumstances = _circumstances(options, preset, task, targets, held_out)
    detectors = chosen(None if options.detectors is None else tuple(options.detectors), circumstances)
    found = range_choice, recognition, tuple(limits), detectors, tuple(reasons_to_look(model))
    plan = ScanPlan(options, preset, task, engine, targets, held_out, *found, memory=None)
    if sees_nothing:
        return plan
    lanes = options.lanes or preset_named(options.preset).lanes_for(settings, plan.frames)
    kept_bytes = images.nbytes + held_out.images.nbytes
    return replace(plan, memory=plan_search(task, lanes, kept_bytes, check=options.engine == "local"))


def _resolved(options: ScanOptions, model: keras.Model) -> Preset:
    """Return the options' preset, with their settings, starts and precision."""
    preset = preset_named(options.preset)
    return replace(
        preset,
        settings=options.settings or preset.settings_for(model.input_shape[1:], model.output_shape[-1]),
        starts=options.starts or preset.starts,
        precision=options.precision or preset.precision,
    )


def _circumstances(options: ScanOptions, preset: Preset, task: Task, targets: Sequence[int], held_out: HeldOut) -> Circumstances:
    """Return what decides which detectors can run."""
    classes = np.zeros(0) if task.labels is None else task.labels[task.minibatches.rows]
    return Circumstances(
        preset=options.preset,
        robust=preset.rule == "robust",
        prescreens=preset.ranking is not None and preset.ranking.saves(len(targets)),
        image_shape=task.images.shape[1:],
        num_classes=task.network.num_classes,
        num_labels=len(targets),
        num_seen=len(np.unique(classes)),
        num_held_out=len(held_out.images),
        upsample_size=options.upsample_size,
    )


def _targets(targets: Iterable[int] | None, num_classes: int) -> tuple[int, ...]:
    wanted = list(range(num_classes)) if targets is None else list(dict.fromkeys(int(target) for target in targets))
    bad = [target for target in wanted if not 0 <= target < num_classes]
    if bad or not wanted:
        raise InputError(f"labels {bad or wanted}: expected some of 0 to {num_classes - 1}, the model's classes; choose from these")
    return tuple(wanted)


def split(num_images: int, seed: int, batch_size: int, at_most: int, unit: Unit) -> tuple[np.ndarray, np.ndarray]:
    """Return rows to search on, and at most `at_most` to hold out.

    Raises:
        InputError: too few images are left for one minibatch.
    """
    held_out = min(at_most, int(num_images * HELD_OUT_SHARE))
    if num_images - held_out < batch_size:
        fewest = int(np.ceil(batch_size / (1 - HELD_OUT_SHARE)))
        raise InputError(
            f"{num_images} {unit.many}: expected at least {fewest} for minibatches of {batch_size}; "
            f"give more {unit.many}, or a smaller batch size"
        )
    order = np.random.default_rng(seed).permutation(num_images)
    return np.sort(order[held_out:]), np.sort(order[:held_out])


def _given_held_out(unseen: tuple[np.ndarray, np.ndarray], image_shape: tuple[int, ...], num_classes: int, unit: Unit) -> HeldOut:
    images, labels = check_images(*unseen, image_shape=image_shape, num_classes=num_classes, name=f"held-out {unit.many}")
    if labels is None:
        raise InputError(f"held-out {unit.many} without their classes: expected both; give unseen=({unit.many}, labels)")
    return HeldOut(images, labels)


def _check_others(targets: Iterable[int], classes: np.ndarray, unit: Unit) -> None:
    """Refuse a label without images of other classes to search on."""
    for label in targets:
        if (classes == label).all():
            raise InputError(
                f"label {label}: all {unit.many} to search on are of this class (where no labels are given, by the model's own answers): "
                f"expected some of others, because its own are left out; give {unit.many} of other classes, or do not search this label"
            )
