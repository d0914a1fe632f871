"""What the search, the scan and the defences hand back: frozen, named, usable. Imports nothing of ours."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import numpy as np

# The columns of a search's history, which has one row a round: the original's log tuple.
HISTORY_COLUMNS = ("step", "loss_ce", "loss_reg", "loss", "attack_acc", "reg_best", "cost")


class Status(StrEnum):
    """How the search for one label ended."""

    CONVERGED = "converged"  # a working trigger, and the schedule stopped by itself
    MAX_ROUNDS = "max_rounds"  # a working trigger, but the rounds ran out first
    NEVER_SUCCEEDED = "never_succeeded"  # no trigger reached the success threshold
    NONFINITE = "nonfinite"  # the loss became NaN or infinite

    @property
    def succeeded(self) -> bool:
        """Whether a working trigger was found, so that its norm may enter median and MAD."""
        return self in (Status.CONVERGED, Status.MAX_ROUNDS)


class Verdict(StrEnum):
    """What a scan says. "No outlier" is not "clean": a backdoor of another kind may still be there."""

    SUSPECTED = "backdoor suspected"
    NO_OUTLIER = "no outlier"
    INCONCLUSIVE = "inconclusive"


class Unit(StrEnum):
    """What one input of a model is called in all that is said of it."""

    IMAGE = "image"
    CLIP = "clip"

    @classmethod
    def of(cls, shape: Sequence[int | None]) -> "Unit":
        """By the shape of one of them: a clip has four axes, (T, H, W, C)."""
        return cls.CLIP if len(shape) == 4 else cls.IMAGE

    @property
    def one(self) -> str:
        """With its article."""
        return f"{'an' if self is Unit.IMAGE else 'a'} {self}"

    @property
    def many(self) -> str:
        """Its plural."""
        return f"{self}s"


class Backdoor(Protocol):
    """What an attacker does to images, and what the model is meant to answer then. A `Trigger` is one; nc_tf.attacks has others."""

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of the images it is made for, or of the frames of clips; (T, H, W, C) of clips where every frame has its own."""

    def __call__(self, images: Any) -> Any:
        """Raw images (N, H, W, C) or clips (N, T, H, W, C) float in [0, 255], array or tensor -> triggered ones, same shape and kind."""

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Classes (N,) of images -> what the attacker wants them taken for; where that is their own class, they are no victims."""

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Classes (N,) of training images -> (N,) bool, whether the attacker puts the trigger on them."""


def fits(backdoor: Backdoor, image_shape: tuple[int, ...]) -> bool:
    """Whether a backdoor is for images (H, W, C) or clips (T, H, W, C) of this shape: one for single frames is put on each of them."""
    return tuple(image_shape[-len(backdoor.image_shape) :]) == tuple(backdoor.image_shape)


@dataclass(frozen=True, eq=False)
class OneTarget:
    """What every trigger has that is meant to send any image to one label.

    Attributes:
        label: the target class.
    """

    label: int

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """`label` for all of them; see `Backdoor.wanted`."""
        return np.full_like(labels, self.label)

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """All of them; see `Backdoor.carriers`."""
        return np.ones(len(labels), bool)


@dataclass(frozen=True, eq=False)
class Trigger(OneTarget):
    """A mask and a pattern that are meant to send any image to `label`, or any clip, whose frames share them or have their own.

    Attributes:
        label: the target class.
        mask: (H, W) float32 in [0, 1], upsampled to the size of the image; (T, H, W) where each frame of a clip has its own.
        pattern: (H, W, C) float32 in raw pixel range [0, 255]; (T, H, W, C) likewise.
    """

    mask: np.ndarray
    pattern: np.ndarray

    def __call__(self, images: Any) -> Any:
        """Stamp the trigger on raw images, (..., H, W, C) float array or tensor, and return the same shape and kind."""
        mask = self.mask[..., None]
        return images * (1.0 - mask) + mask * self.pattern

    @property
    def overlay(self) -> np.ndarray:
        """The pattern as strong as the mask lets it be, as the original draws a trigger: (H, W, C), or (T, H, W, C)."""
        return self.mask[..., None] * self.pattern

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C), or (T, H, W, C)."""
        return self.pattern.shape

    @property
    def l1_norm(self) -> float:
        """Sum of the mask: the number of fully replaced pixels that would weigh the same; of a mask a frame, the frames' mean."""
        return float(np.abs(self.mask).sum(axis=(-2, -1), dtype=np.float64).mean())


@dataclass(frozen=True, eq=False)
class LabelResult:
    """The outcome of searching one label: the best of all its starts.

    Attributes:
        trigger: the smallest working trigger, or the last one tried where `status` says that none worked.
        status: how the search ended.
        attack_success_rate: share of held-out images of other classes that the trigger sends to the label, [0, 1].
        zero_trigger_rate: the same share without any trigger: what the model answers anyway, [0, 1].
        starts: searches run, each from another start.
        rounds: rounds run, over all starts.
        num_measured: images that the two rates are of; None where that is not known.
        anomaly_index: |norm - median| / MAD among the labels whose norm counts; NaN for the others.
        log_index: (median - log norm) / moderated spread of the logarithms, which the robust rule judges by; NaN elsewhere.
        broke_down: whether a search of the label, or the model with its trigger, came to NaN or infinity.
        by_patch: whether the trigger is an opaque patch that was tried, smaller than what any search found.
    """

    trigger: Trigger
    status: Status
    attack_success_rate: float
    zero_trigger_rate: float
    starts: int
    rounds: int
    num_measured: int | None = None
    anomaly_index: float = float("nan")
    log_index: float = float("nan")
    broke_down: bool = False
    by_patch: bool = False

    @property
    def label(self) -> int:
        """The target class searched."""
        return self.trigger.label

    @property
    def succeeded(self) -> bool:
        """See `Status.succeeded`."""
        return self.status.succeeded


@dataclass(frozen=True, eq=False)
class ScanResult:
    """A whole scan: one `LabelResult` a searched label, and the verdict drawn from them.

    Attributes:
        verdict: see `Verdict`.
        reason: the verdict's ground, in one sentence for people.
        flagged: suspicious labels, most anomalous first.
        median: median L1 norm of the labels whose search succeeded, pixels; NaN where there is none.
        mad: 1.4826 times the median absolute deviation from it, pixels; NaN where there is none.
        labels: ordered by label.
        settings: what the scan was run with, as plain JSON values.
        seconds: wall time.
        anomaly_index_interval: how far the anomaly index moves when other labels happen to be drawn: 90 % of a bootstrap; NaN where there
            is no index.
        flagging_norm: labels with a smaller norm are suspicious, pixels; NaN where nothing can be judged.
        chance: probability that a clean network shows as small a norm, [0, 1]; NaN where the rule does not ask.
        unit: what was scanned with, images or clips.
        model_accuracy: share of the given images that the model names right, [0, 1]; NaN where their classes are not known.
        warnings: what else has to be known to read the verdict, one sentence each.
    """

    verdict: Verdict
    reason: str
    flagged: tuple[int, ...]
    median: float
    mad: float
    labels: tuple[LabelResult, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    anomaly_index_interval: tuple[float, float] = (float("nan"), float("nan"))
    flagging_norm: float = float("nan")
    chance: float = float("nan")
    unit: Unit = Unit.IMAGE
    model_accuracy: float = float("nan")
    warnings: tuple[str, ...] = ()

    @property
    def anomaly_index(self) -> float:
        """Index of the label with the smallest norm that counts; NaN where none does."""
        counted = [result for result in self.labels if not math.isnan(result.anomaly_index)]
        return min(counted, key=lambda result: result.trigger.l1_norm).anomaly_index if counted else float("nan")

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """The reversed triggers of the flagged labels, most anomalous first."""
        by_label = {result.label: result.trigger for result in self.labels}
        return tuple(by_label[label] for label in self.flagged)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the verdict, the chart of the norms and the flagged triggers."""
        from nc_tf.report.notebook import scan_html

        return scan_html(self)


@dataclass(frozen=True)
class Measurement:
    """A model on clean and triggered images, all rates in [0, 1].

    Attributes:
        clean_accuracy: share of clean images classified right.
        attack_success_rate: by trigger name ("reversed", "true"), share of triggered images of other classes sent to the target.
        robust_accuracy: by trigger name, share of the same images that are given their own class all the same.
    """

    clean_accuracy: float
    attack_success_rate: dict[str, float]
    robust_accuracy: dict[str, float]


@dataclass(frozen=True, eq=False)
class Mitigation:
    """A repaired model and what the repair did.

    Attributes:
        model: the repaired keras.Model, of the form of the one passed in, such as one sigmoid output or flat input. That is unchanged.
        before: measured on the model passed in.
        after: measured on the repaired one.
        triggers: what was measured, by name.
        settings: what it was run with, as plain JSON values.
        details: what the method found on the way, as plain JSON values; its own docstring says what.
        classifier: what was measured: the repaired model as `nc_tf.adapt` makes it answer a score a class for images. It has the layers of
            `model`, and is `model` itself where that is such a classifier.
    """

    model: Any
    before: Measurement
    after: Measurement
    triggers: dict[str, Backdoor] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    classifier: Any = None

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table of before and after."""
        from nc_tf.report.notebook import mitigation_html

        return mitigation_html(self)
