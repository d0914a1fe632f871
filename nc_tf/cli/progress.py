"""How a scan is shown while it runs: a live line on a terminal, a line a label elsewhere."""

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nc_tf.inversion import RoundLog, Run
from nc_tf.models.network import FrozenNetwork
from nc_tf.results import LabelResult
from nc_tf.scanning import ScanCallback
from nc_tf.search import Arm, ArmResult

# A search usually ends after about so many rounds; until the first has ended, time left is reckoned with it.
USUAL_ROUNDS = 100


class ScanProgress(ScanCallback):
    """A context manager around `scan`, and one of its callbacks."""

    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self.ended_rounds: list[int] = []
        self.begun: set[tuple[int, int]] = set()
        self.usual = USUAL_ROUNDS

    def __enter__(self) -> "ScanProgress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar.live.is_started:  # stopping it writes an empty line, and bad input deserves one line only
            self.bar.stop()

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int) -> None:
        self.bar.start()
        self.console.print(f"model output: {network.output}; precision: {network.precision}; labels: {num_labels}, starts each: {starts}")
        self.usual = min(USUAL_ROUNDS, max_rounds)
        self.num_labels, self.starts = num_labels, starts
        self.task = self.bar.add_task("first round", total=num_labels * starts)

    def on_round(self, arms: Sequence[Arm], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        self.begun |= {(arm.label, arm.start) for arm in arms}
        ended = len(self.begun) - len(arms)
        usual = sum(self.ended_rounds) / len(self.ended_rounds) if self.ended_rounds else self.usual
        under_way = sum(min((number + 1) / usual, 0.95) for number in rounds)
        self.bar.update(
            self.task,
            completed=ended + under_way,
            description=f"label {arms[0].label} round {rounds[0] + 1} "
            f"cost {log.cost[0]:.1e} ASR {log.success[0]:.3f} norm {log.reg[0]:.1f}",
        )

    def on_label(self, result: LabelResult, starts: Sequence[ArmResult]) -> None:
        self.ended_rounds += [arm.rounds for arm in starts]
        labels_done = len(self.ended_rounds) // self.starts
        self.bar.print(
            f"label {result.label:3d}: norm {result.trigger.l1_norm:7.2f}, ASR {result.attack_success_rate:.4f}, "
            f"rounds {result.rounds}, {result.status} ({labels_done} of {self.num_labels})",
            highlight=False,
        )
