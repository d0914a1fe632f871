"""Hooks of a scan, for progress, saving and drawing."""

from collections.abc import Iterable, Sequence

from nc_tf.inversion.restart import Checkpoint, Restart, RestartResult
from nc_tf.inversion.step import RoundLog, Run
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.results import ChangeResult, LabelResult, SourceResult, UntargetedResult
from nc_tf.scanning.memory_plan import SearchPlan
from nc_tf.scanning.prescreening import Shortlist


class ScanCallback:
    """Base of all callbacks of a scan; override the hooks that you need."""

    def on_resume(self, finished: Sequence[LabelResult]) -> None:
        """Receive the labels that an earlier, stopped part has finished.

        It is called before `on_begin`.
        """

    def on_plan(self, plan: SearchPlan) -> None:
        """Receive how much memory the scan will take; called before `on_begin`."""

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int, in_flight: int) -> None:
        """Receive the size of the scan before its first round.

        `in_flight` images, or frames of clips, will be in the network at once; they take most of the memory.
        """

    def on_ranking(self, progress: Checkpoint, share: float) -> None:
        """Receive the best restart of a label that pre-screening has compared.

        Args:
            progress: checkpoint of that restart.
            share: share of the pre-screening that is done, at least, [0, 1].
        """

    def on_ranked(self, shortlist: Shortlist) -> None:
        """Receive the labels that are searched in full.

        `on_begin` has counted all labels.
        """

    def on_round(self, restarts: Sequence[Restart], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        """Receive the restarts in flight after every round.

        A cluster never calls this hook, because its rounds end in other processes; `on_leg` is called by both engines.
        """

    def on_leg(self, progress: Checkpoint) -> None:
        """Receive the checkpoint at the end of a segment, from which the restart could go on."""

    def on_label(self, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        """Receive a finished label; its anomaly index is not known yet."""

    def on_stage(self, words: str) -> None:
        """Receive what begins after the search of the labels, in words."""

    def on_untargeted(self, result: UntargetedResult) -> None:
        """Receive the result of the untargeted search."""

    def on_change(self, result: ChangeResult) -> None:
        """Receive a label's smallest change of the whole image; its chance is not known yet."""

    def on_source(self, result: SourceResult) -> None:
        """Receive the smallest trigger of one class alone, and again when it has been searched on a hardened twin."""


class CallbackList(ScanCallback):
    """Several callbacks as one; each hook calls theirs, in order."""

    def __init__(self, callbacks: Iterable[ScanCallback] = ()) -> None:
        """Keep the callbacks in their order."""
        self.callbacks = tuple(callbacks)

    def on_resume(self, finished: Sequence[LabelResult]) -> None:
        """Call every `on_resume`."""
        for callback in self.callbacks:
            callback.on_resume(finished)

    def on_plan(self, plan: SearchPlan) -> None:
        """Call every `on_plan`."""
        for callback in self.callbacks:
            callback.on_plan(plan)

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int, in_flight: int) -> None:
        """Call every `on_begin`."""
        for callback in self.callbacks:
            callback.on_begin(network, num_labels, starts, max_rounds, in_flight)

    def on_ranking(self, progress: Checkpoint, share: float) -> None:
        """Call every `on_ranking`."""
        for callback in self.callbacks:
            callback.on_ranking(progress, share)

    def on_ranked(self, shortlist: Shortlist) -> None:
        """Call every `on_ranked`."""
        for callback in self.callbacks:
            callback.on_ranked(shortlist)

    def on_round(self, restarts: Sequence[Restart], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        """Call every `on_round`."""
        for callback in self.callbacks:
            callback.on_round(restarts, rounds, run, log)

    def on_leg(self, progress: Checkpoint) -> None:
        """Call every `on_leg`."""
        for callback in self.callbacks:
            callback.on_leg(progress)

    def on_label(self, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        """Call every `on_label`."""
        for callback in self.callbacks:
            callback.on_label(result, starts)

    def on_stage(self, words: str) -> None:
        """Call every `on_stage`."""
        for callback in self.callbacks:
            callback.on_stage(words)

    def on_untargeted(self, result: UntargetedResult) -> None:
        """Call every `on_untargeted`."""
        for callback in self.callbacks:
            callback.on_untargeted(result)

    def on_change(self, result: ChangeResult) -> None:
        """Call every `on_change`."""
        for callback in self.callbacks:
            callback.on_change(result)

    def on_source(self, result: SourceResult) -> None:
        """Call every `on_source`."""
        for callback in self.callbacks:
            callback.on_source(result)
