"""The results of searches, scans and defences: frozen, named, usable; they import nothing of the package."""

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
        """Whether the search found a working trigger.

        Only then its norm may enter median and MAD.
        """
        return self in (Status.CONVERGED, Status.MAX_ROUNDS)


class Verdict(StrEnum):
    """The verdict of a scan; "no outlier" is not "clean", because a backdoor of another kind may still be there."""

    SUSPECTED = "backdoor suspected"
    NO_OUTLIER = "no outlier"
    INCONCLUSIVE = "inconclusive"


class Unit(StrEnum):
    """The word for one input of a model."""

    IMAGE = "image"
    CLIP = "clip"

    @classmethod
    def of(cls, shape: Sequence[int | None]) -> "Unit":
        """Return the unit of an input of this shape.

        A clip has four axes, (T, H, W, C).
        """
        return cls.CLIP if len(shape) == 4 else cls.IMAGE

    @property
    def one(self) -> str:
        """The word with its article."""
        return f"{'an' if self is Unit.IMAGE else 'a'} {self}"

    @property
    def many(self) -> str:
        """The plural of the word."""
        return f"{self}s"


class Backdoor(Protocol):
    """The change that an attacker makes to images, and the answer that the model shall give then.

    A `Trigger` is one; `nc_tf.attacks` has others.
    """

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C) of its images, or of the frames of its clips.

        It is (T, H, W, C) where every frame has a trigger of its own.
        """

    def __call__(self, images: Any) -> Any:
        """Return images with the trigger.

        Args:
            images: (N, H, W, C), or clips (N, T, H, W, C), raw, float in [0, 255], array or tensor.

        Returns:
            The same shape and kind.
        """

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes that the attack leads images to.

        Args:
            labels: (N,) classes of the images.

        Returns:
            (N,) the wanted classes; an image whose own class is wanted is no victim.
        """

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Return which training images the attacker puts the trigger on.

        Args:
            labels: (N,) classes of the images.

        Returns:
            (N,) bool.
        """


def fits(backdoor: Backdoor, image_shape: tuple[int, ...]) -> bool:
    """Return whether a backdoor fits inputs of this shape.

    Inputs are images (H, W, C) or clips (T, H, W, C). A backdoor for single frames is put on each frame of a clip.
    """
    return tuple(image_shape[-len(backdoor.image_shape) :]) == tuple(backdoor.image_shape)


@dataclass(frozen=True, eq=False)
class OneTarget:
    """The common part of triggers that send any image to one label.

    Attributes:
        label: the target class.
    """

    label: int

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return `label` for all images; see `Backdoor.wanted`."""
        return np.full_like(labels, self.label)

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Return that all images carry the trigger; see `Backdoor.carriers`."""
        return np.ones(len(labels), bool)


@dataclass(frozen=True, eq=False)
class Trigger(OneTarget):
    """A mask and a pattern that send any image to `label`, or any clip, whose frames share them or have their own.

    Attributes:
        label: the target class.
        mask: (H, W) float32 in [0, 1], upsampled to the size of the image; (T, H, W) where each frame of a clip has its own.
        pattern: (H, W, C) float32 in raw pixel range [0, 255]; (T, H, W, C) likewise.
    """

    mask: np.ndarray
    pattern: np.ndarray

    def __call__(self, images: Any) -> Any:
        """Return raw images with the trigger.

        Args:
            images: (..., H, W, C) float, array or tensor.

        Returns:
            The same shape and kind.
        """
        mask = self.mask[..., None]
        return images * (1.0 - mask) + mask * self.pattern

    @property
    def overlay(self) -> np.ndarray:
        """Mask times pattern, as the original draws a trigger.

        (H, W, C), or (T, H, W, C).
        """
        return self.mask[..., None] * self.pattern

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C), or (T, H, W, C)."""
        return self.pattern.shape

    @property
    def l1_norm(self) -> float:
        """Sum of the mask: the equivalent number of fully replaced pixels.

        Where each frame has a mask of its own, the mean over the frames.
        """
        return float(np.abs(self.mask).sum(axis=(-2, -1), dtype=np.float64).mean())


@dataclass(frozen=True, eq=False)
class LabelResult:
    """The result of the search for one label: the best of all its starts.

    Attributes:
        trigger: the smallest working trigger; the last one tried where none worked, as `status` says.
        status: how the search ended.
        attack_success_rate: share of held-out images of other classes that the trigger sends to the label, [0, 1].
        zero_trigger_rate: the same share without a trigger, [0, 1].
        starts: searches run, each from another start.
        rounds: rounds run, over all starts.
        num_measured: number of images behind the two rates; None where it is not known.
        anomaly_index: |norm - median| / MAD over the compared labels; NaN for the others.
        log_index: (median - log norm) / moderated spread of the logarithms, the index of the robust rule; NaN elsewhere.
        broke_down: whether a search for the label, or the model with its trigger, came to NaN or infinity.
        by_patch: whether the trigger is an opaque patch that was tried, smaller than the trigger of any search.
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
        """The target class."""
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
        reason: the ground of the verdict in one sentence.
        flagged: suspicious labels, most anomalous first.
        median: median L1 norm of the labels whose search succeeded, pixels; NaN where there is none.
        mad: 1.4826 times the median absolute deviation from it, pixels; NaN where there is none.
        labels: ordered by label.
        settings: the settings of the scan, as plain JSON values.
        seconds: wall time.
        anomaly_index_interval: range of the anomaly index in 90 % of a bootstrap over the labels; NaN where there is no index.
        flagging_norm: labels with a smaller norm are suspicious, pixels; NaN where nothing can be judged.
        chance: probability that a clean network shows as small a norm, [0, 1]; NaN where the rule does not use it.
        unit: images or clips.
        model_accuracy: share of the given images that the model classifies right, [0, 1]; NaN where their classes are not known.
        warnings: further facts that a reader of the verdict needs, one sentence each.
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
        """Index of the label with the smallest compared norm.

        NaN where no norm was compared.
        """
        counted = [result for result in self.labels if not math.isnan(result.anomaly_index)]
        return min(counted, key=lambda result: result.trigger.l1_norm).anomaly_index if counted else float("nan")

    @property
    def triggers(self) -> tuple[Trigger, ...]:
        """The reversed triggers of the flagged labels, most anomalous first."""
        by_label = {result.label: result.trigger for result in self.labels}
        return tuple(by_label[label] for label in self.flagged)

    def _repr_html_(self) -> str:
        """Return verdict, chart of the norms and flagged triggers for a notebook."""
        from nc_tf.report.notebook import scan_html

        return scan_html(self)


@dataclass(frozen=True)
class Measurement:
    """The rates of a model on clean and triggered images, all in [0, 1].

    Attributes:
        clean_accuracy: share of clean images that are classified right.
        attack_success_rate: by trigger name ("reversed", "true"), share of triggered images of other classes that go to the target.
        robust_accuracy: by trigger name, share of the same images that keep their own class.
    """

    clean_accuracy: float
    attack_success_rate: dict[str, float]
    robust_accuracy: dict[str, float]


@dataclass(frozen=True, eq=False)
class Mitigation:
    """A repaired model, and its rates before and after.

    Attributes:
        model: the repaired keras.Model. It has the form of the given one, such as one sigmoid output or flat input; that stays unchanged.
        before: rates of the given model.
        after: rates of the repaired model.
        triggers: the measured triggers, by name.
        settings: the settings of the repair, as plain JSON values.
        details: further findings of the method, as plain JSON values; its own docstring describes them.
        classifier: the measured model: `model` with a score a class for images, as `nc_tf.adapt` makes it. It has the layers of `model`,
            and is `model` itself where that is such a classifier.
    """

    model: Any
    before: Measurement
    after: Measurement
    triggers: dict[str, Backdoor] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    classifier: Any = None

    def _repr_html_(self) -> str:
        """Return the table of rates before and after for a notebook."""
        from nc_tf.report.notebook import mitigation_html

        return mitigation_html(self)
