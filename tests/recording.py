"""A callback that keeps what a scan tells it."""

from collections.abc import Sequence

from nc_tf.inversion.restart import Restart, RestartResult
from nc_tf.inversion.step import RoundLog, Run
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.results import LabelResult
from nc_tf.scanning.callbacks import ScanCallback


class Record(ScanCallback):
    def __init__(self) -> None:
        self.begun: list[tuple[int, int, int]] = []
        self.in_flight = 0
        self.resumed: list[LabelResult] = []
        self.rounds: list[list[tuple[int, int]]] = []
        self.labels: list[LabelResult] = []
        self.starts: list[Sequence[RestartResult]] = []

    def on_resume(self, finished: Sequence[LabelResult]) -> None:
        self.resumed = list(finished)

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int, in_flight: int) -> None:
        self.begun.append((num_labels, starts, max_rounds))
        self.in_flight = in_flight

    def on_round(self, restarts: Sequence[Restart], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        assert len(log.cost) == len(restarts) == len(run.updates)
        self.rounds.append([(restart.label, restart.start) for restart in restarts])

    def on_label(self, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        self.labels.append(result)
        self.starts.append(starts)
