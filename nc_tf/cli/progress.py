"""The progress of a scan: a live line on a terminal, a line a label elsewhere, and a summary when it is stopped."""

from collections import defaultdict
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from nc_tf.inversion.restart import Checkpoint, Restart, RestartResult
from nc_tf.inversion.step import RoundLog, Run
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.results import ChangeResult, LabelResult
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.memory_plan import SearchPlan
from nc_tf.scanning.prescreening import Shortlist

# Usual number of rounds of a search; the time left is estimated with it until the first label is finished.
USUAL_ROUNDS = 100


class ScanProgress(ScanCallback):
    """The progress display of one scan or of several, one after the other.

    It is a context manager around the scans, and one of their callbacks.
    """

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
        self.finished, self.found = list[LabelResult](), list[LabelResult]()
        self.rounds: dict[int, dict[int, int]] = defaultdict(dict)  # rounds of each start, by label, of the labels in progress
        self.num_labels, self.memory, self.begun = 0, "", False
        self.stage, self.changes = "", 0  # what begins after the labels, and the number of changes found in it

    def __enter__(self) -> "ScanProgress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar.live.is_started:  # stopping it writes an empty line, and bad input should give one line only
            self.bar.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self.begun:  # before, the number of labels is not known
            self.console.print(self.so_far(), highlight=False, soft_wrap=True)

    def so_far(self) -> str:
        """Return the number of finished labels, and the smallest norms among them."""
        done = [*self.finished, *self.found]
        smallest = sorted((entry for entry in done if entry.succeeded), key=lambda entry: entry.trigger.l1_norm)[:3]
        norms = ", ".join(f"{entry.trigger.l1_norm:.2f} (label {entry.label})" for entry in smallest)
        smallest_words = f"; smallest norms so far: {norms}" if norms else ""
        return f"{len(done)} labels done, {self.num_labels - len(self.found)} to go{smallest_words}"

    def on_resume(self, finished: Sequence[LabelResult]) -> None:
        """Count the labels that an earlier part has finished."""
        self.finished, self.found = list(finished), []
        self.rounds.clear()

    def on_plan(self, plan: SearchPlan) -> None:
        """Keep the memory plan for the first line."""
        self.memory = f"; {plan}"

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int, in_flight: int) -> None:
        """Print the line of a scan, and start its bar."""
        for earlier in self.bar.task_ids:  # another scan, which starts from nothing
            self.bar.remove_task(earlier)
        self.bar.start()
        self.console.print(
            f"model output: {network.output}; precision: {network.precision}; labels: {num_labels}, restarts a label: {starts}; "
            f"images or frames in flight: {in_flight} at most{self.memory}",
            soft_wrap=True,
        )
        self.usual, self.num_labels, self.begun = starts * min(USUAL_ROUNDS, max_rounds), num_labels, True
        self.task = self.bar.add_task("first round", total=num_labels)

    def on_ranking(self, progress: Checkpoint, share: float) -> None:
        """Move the bar during pre-screening."""
        description = f"pre-screening: label {progress.label} round {progress.rounds}"
        self.bar.update(self.task, completed=share * self.num_labels, description=description)

    def on_ranked(self, shortlist: Shortlist) -> None:
        """Print the result of pre-screening, and start the bar afresh."""
        ranked = len(shortlist.chosen) + len(shortlist.ranked_out)
        self.num_labels = len({*shortlist.chosen} - {entry.label for entry in self.finished})
        self.console.print(
            f"pre-screening of {ranked} labels: the {len(shortlist.lowest)} lowest and {len(shortlist.sample)} of a random sample go on"
        )
        self.bar.reset(self.task, total=self.num_labels)

    def on_round(self, restarts: Sequence[Restart], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        """Show the first search of a round."""
        for restart, number in zip(restarts, rounds, strict=True):
            self.rounds[restart.label][restart.start] = number + 1
        self._show(f"label {restarts[0].label} round {rounds[0] + 1} cost {log.cost[0]:.1e} ASR {log.success[0]:.3f} norm {log.reg[0]:.1f}")

    def on_leg(self, progress: Checkpoint) -> None:
        """Show a search that came back from a worker."""
        self.rounds[progress.label][progress.start] = progress.rounds
        self._show(f"label {progress.label} round {progress.rounds}")

    def on_stage(self, words: str) -> None:
        """Show what begins after the labels."""
        self.stage, self.changes = words, 0
        self.bar.update(self.task, completed=self.num_labels, description=words)

    def on_change(self, result: ChangeResult) -> None:
        """Show the number of labels whose change of the whole image is found."""
        self.changes += 1
        self.bar.update(self.task, description=f"{self.stage}: {self.changes} done")

    def _show(self, description: str) -> None:
        usual = sum(entry.rounds for entry in self.found) / len(self.found) if self.found else self.usual
        in_progress = sum(min(sum(starts.values()) / usual, 0.95) for starts in self.rounds.values())
        self.bar.update(self.task, completed=len(self.found) + in_progress, description=description)

    def on_label(self, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        """Print the line of a finished label."""
        self.found.append(result)
        self.rounds.pop(result.label, None)
        self.bar.print(
            f"label {result.label:3d}: norm {result.trigger.l1_norm:7.2f}, ASR {result.attack_success_rate:.4f}, "
            f"rounds {result.rounds}, {result.status} ({len(self.found)} of {self.num_labels})",
            highlight=False,
        )
