"""Outcomes of searches: how each ended, and the trigger that it found for a label or for all classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from nc_tf.backdoor import AllToAllTrigger, Trigger, Warp

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
class SourceResult:
    """The result of the search for a trigger that takes one class away from itself, wherever to, and leaves the others alone.

    Attributes:
        source: the class.
        trigger: the smallest working trigger, which leads the source to the label that most of its images get.
        status: how the search ended.
        attack_success_rate: share of held-out images of the source that get that label, of those that the model recognises, [0, 1]; NaN
            without any.
        kept_rate: share of recognised held-out images of other classes that keep their class, [0, 1]; NaN without any.
        num_measured: number of held-out images of the source behind the first rate.
        starts: searches run, each from another start.
        rounds: rounds run, over all starts.
        again: how the search on the hardened twin ended; None where the class was not searched again.
        norm_after: norm of the smallest trigger that works on the hardened twin, pixels; NaN without one.
        left_rate: share of the same images of the source that the trigger still sends to the label on the twin, [0, 1]; NaN likewise.
    """

    source: int
    trigger: AllToAllTrigger
    status: Status
    attack_success_rate: float
    kept_rate: float
    num_measured: int
    starts: int
    rounds: int
    again: Status | None = None
    norm_after: float = float("nan")
    left_rate: float = float("nan")

    @property
    def target(self) -> int:
        """The label that the source is led to; the source itself where it stays."""
        return int(self.trigger.targets[self.source])


@dataclass(frozen=True, eq=False)
class ChangeResult:
    """The result of the search for the smallest change of the whole image that sends images to one label.

    Attributes:
        detector: name of the detector that judges it, "picture" or "warp".
        trigger: the smallest working change; the last one tried where none worked, as `status` says.
        size: opacity of the picture, [0, 1], or length of the warp, pixels.
        status: how the search ended.
        attack_success_rate: share of held-out images of other classes that the trigger sends to the label, [0, 1].
        zero_trigger_rate: the same share without a trigger, [0, 1].
        num_measured: number of images behind the two rates.
        chance: probability that a clean network shows as small a size, [0, 1]; NaN before it is judged, or where it cannot be.
    """

    detector: str
    trigger: Trigger | Warp
    size: float
    status: Status
    attack_success_rate: float
    zero_trigger_rate: float
    num_measured: int
    chance: float = float("nan")

    @property
    def label(self) -> int:
        """The target class."""
        return self.trigger.label

    @property
    def worked(self) -> bool:
        """See `Status.succeeded`."""
        return self.status.succeeded

    @property
    def sized(self) -> str:
        """The change in words, such as "a warp of 0.80 pixels"."""
        return f"a {self.detector} of {size_words(self.detector, self.size)}"


def size_words(detector: str, size: float) -> str:
    """Return the size of a change in words.

    Args:
        detector: "picture" or "warp".
        size: opacity, [0, 1], or length, pixels.
    """
    return f"{size:.2f} pixels" if detector == "warp" else f"{size:.1%} opacity"
