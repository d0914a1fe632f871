"""Restarts of a search, as values: where one begins, how far it has come, what it found."""

from dataclasses import dataclass

import numpy as np

from nc_tf.inversion.step import Run, SearchSettings
from nc_tf.results import Status, Trigger

# One row of an arm's history, the original's log tuple.
HISTORY_COLUMNS = ("step", "loss_ce", "loss_reg", "loss", "attack_acc", "reg_best", "cost")


@dataclass(frozen=True, eq=False)
class Arm:
    """One (label, start) pair to search.

    Attributes:
        label: the target class.
        start: number of the start, from 0.
        mask: (h, w) in [0, 1], where the search begins, before upsampling.
        pattern: (H, W, C) in [0, 255], likewise.
    """

    label: int
    start: int
    mask: np.ndarray
    pattern: np.ndarray


@dataclass(frozen=True, eq=False)
class Progress:
    """How far an arm has come: all that is needed to go on from there, on this machine or another.

    Attributes:
        label, start: which arm.
        run: its state, NumPy arrays with an arm axis of one.
        history: (rounds, 7) float64, one row a round, columns `HISTORY_COLUMNS`.
        stopped: the schedule has stopped it.
        finite: loss and state are finite.
    """

    label: int
    start: int
    run: Run
    history: np.ndarray
    stopped: bool
    finite: bool

    @property
    def rounds(self) -> int:
        """Rounds run."""
        return len(self.history)

    def ended(self, settings: SearchSettings) -> bool:
        """Whether there is nothing left to search."""
        return self.stopped or not self.finite or self.rounds >= settings.max_rounds


@dataclass(frozen=True, eq=False)
class Leg:
    """Rounds of one arm to run in one go.

    Attributes:
        arm: which one.
        until: number of the rounds that it will have run at the end, from the start of its search.
        progress: where it stands; None at the start.
    """

    arm: Arm
    until: int
    progress: Progress | None = None


@dataclass(frozen=True, eq=False)
class ArmResult:
    """What the search of one arm found.

    Attributes:
        arm: which one.
        trigger: the smallest working one, or where none worked the last one; always finite.
        coarse_mask: (h, w) float32 in [0, 1], the trigger's mask before upsampling.
        status: how it ended.
        history: (rounds, 7) float64, one row a round, columns `HISTORY_COLUMNS`.
    """

    arm: Arm
    trigger: Trigger
    coarse_mask: np.ndarray
    status: Status
    history: np.ndarray

    @property
    def rounds(self) -> int:
        """Rounds run."""
        return len(self.history)

    @property
    def succeeded(self) -> bool:
        """See `Status.succeeded`."""
        return self.status.succeeded
