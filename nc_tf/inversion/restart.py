"""Restarts of a search, as values: beginning, segment, checkpoint, result."""

from dataclasses import dataclass

import numpy as np

from nc_tf.inversion.step import Run, SearchSettings
from nc_tf.results import Status, Trigger


@dataclass(frozen=True, eq=False)
class Restart:
    """One restart: a label, and where its search begins.

    Attributes:
        label: the target class.
        start: number of the restart among those of its label, from 0.
        mask: (h, w) in [0, 1], where the search begins, before upsampling.
        pattern: (H, W, C) in [0, 255], likewise.
    """

    label: int
    start: int
    mask: np.ndarray
    pattern: np.ndarray


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Checkpoint of a restart, from which it goes on, on this machine or another.

    Attributes:
        label: the target class.
        start: number of the restart.
        run: its state, NumPy arrays with a leading axis of one restart.
        history: (rounds, 7) float64, one row a round, columns `nc_tf.results.HISTORY_COLUMNS`.
        stopped: whether the schedule has stopped it.
        finite: whether loss and state are finite.
    """

    label: int
    start: int
    run: Run
    history: np.ndarray
    stopped: bool
    finite: bool

    @property
    def rounds(self) -> int:
        """Return the number of rounds run."""
        return len(self.history)

    def ended(self, settings: SearchSettings) -> bool:
        """Return whether nothing is left to search."""
        return self.stopped or not self.finite or self.rounds >= settings.max_rounds


@dataclass(frozen=True, eq=False)
class Segment:
    """Some rounds of one restart, to run in one go.

    Attributes:
        restart: the restart.
        until: number of its rounds at the end of the segment, from the beginning of its search.
        progress: its checkpoint; None where it begins.
    """

    restart: Restart
    until: int
    progress: Checkpoint | None = None


@dataclass(frozen=True, eq=False)
class RestartResult:
    """Result of one restart.

    Attributes:
        restart: the restart.
        trigger: the smallest working one; where none worked, the last one. It is always finite.
        coarse_mask: (h, w) float32 in [0, 1], the trigger's mask before upsampling.
        status: how the search ended.
        history: (rounds, 7) float64, one row a round, columns `nc_tf.results.HISTORY_COLUMNS`.
    """

    restart: Restart
    trigger: Trigger
    coarse_mask: np.ndarray
    status: Status
    history: np.ndarray

    @property
    def rounds(self) -> int:
        """Return the number of rounds run."""
        return len(self.history)

    @property
    def succeeded(self) -> bool:
        """Return whether the trigger worked, see `Status.succeeded`."""
        return self.status.succeeded
