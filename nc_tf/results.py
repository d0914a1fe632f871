"""The results of searches, scans and defences: frozen, named, usable."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np

from nc_tf.backdoor import AllToAllTrigger, Backdoor, FoundTrigger, OneTarget, Trigger, fits

__all__ = [
    "HISTORY_COLUMNS",
    "AllToAllTrigger",
    "Backdoor",
    "Detection",
    "FoundTrigger",
    "LabelResult",
    "Measurement",
    "Mitigation",
    "OneTarget",
    "ScanResult",
    "Status",
    "Trigger",
    "Unit",
    "UntargetedResult",
    "Verdict",
    "fits",
]

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
class UntargetedResult:
    """The result of the search for a trigger that takes images of every class away from it, wherever to.

    Attributes:
        trigger: the smallest working trigger, with the label that most images of each class get by it.
        status: how the search ended.
        labels: (M,) int, classes of the held-out images that the model recognises.
        answers: (M,) int, what the model answers for them with the trigger; negative where that is not finite.
        starts: searches run, each from another start.
        rounds: rounds run, over all starts.
    """

    trigger: AllToAllTrigger
    status: Status
    labels: np.ndarray
    answers: np.ndarray
    starts: int
    rounds: int

    @property
    def attack_success_rate(self) -> float:
        """Share of these images that get another class than their own, [0, 1]; NaN without any."""
        moved = (self.answers != self.labels) & (self.answers >= 0)
        return float(np.mean(moved)) if len(self.labels) else float("nan")

    def rate(self, source: int, target: int) -> float:
        """Return the share of the images of one class that get one label, [0, 1]; NaN without any."""
        answers = self.answers[self.labels == source]
        return float(np.mean(answers == target)) if len(answers) else float("nan")

    @property
    def largest_share(self) -> float:
        """Share of the classes, of those that move, that go to the most frequent target, (0, 1]; 1 where none moves."""
        moved = [target for _, target in self.trigger.pairs]
        return max((moved.count(target) for target in moved), default=1) / max(len(moved), 1)


@dataclass(frozen=True, eq=False)
class Detection:
    """The verdict of one detector.

    Attributes:
        name: of the detector.
        looked_for: the kind of backdoor that it can see, in words.
        statistic: the number that it judges, larger where more is suspicious; NaN where there is none.
        p_value: probability that a clean network shows as much, [0, 1]; NaN where it is not known.
        verdict: what it says by itself.
        reason: the ground of that in one sentence.
        labels: suspicious labels, most anomalous first.
        pairs: suspicious pairs (source, target), ordered by source.
    """

    name: str
    looked_for: str
    statistic: float
    p_value: float
    verdict: Verdict
    reason: str
    labels: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()


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
        detections: what each detector says, one for each kind of backdoor that was looked for.
        flagged_pairs: suspicious pairs (source, target), ordered by source.
        untargeted: result of the search for a trigger that takes every class away from itself, if there was one.
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
    detections: tuple[Detection, ...] = ()
    flagged_pairs: tuple[tuple[int, int], ...] = ()
    untargeted: UntargetedResult | None = None

    @property
    def anomaly_index(self) -> float:
        """Index of the label with the smallest compared norm.

        NaN where no norm was compared.
        """
        counted = [result for result in self.labels if not math.isnan(result.anomaly_index)]
        return min(counted, key=lambda result: result.trigger.l1_norm).anomaly_index if counted else float("nan")

    @property
    def pair_rates(self) -> list[tuple[int, int, float]]:
        """Source, target and success rate on held-out images of the source, of every flagged pair."""
        found = self.untargeted
        return [] if found is None else [(source, target, found.rate(source, target)) for source, target in self.flagged_pairs]

    @property
    def triggers(self) -> tuple[FoundTrigger, ...]:
        """The reversed triggers of the flagged labels, most anomalous first, and the one that moves flagged pairs."""
        by_label = {result.label: result.trigger for result in self.labels}
        of_pairs = (self.untargeted.trigger,) if self.untargeted and self.flagged_pairs else ()
        return (*(by_label[label] for label in self.flagged), *of_pairs)

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
