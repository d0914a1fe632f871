"""What a scan tells those who show it, save it or draw it."""

from collections.abc import Sequence

from nc_tf.inversion.loop import Arm, ArmResult, Progress
from nc_tf.inversion.step import RoundLog, Run
from nc_tf.models.frozen import FrozenNetwork
from nc_tf.results import LabelResult
from nc_tf.scanning.memory_plan import SearchPlan
from nc_tf.scanning.prescreening import Shortlist


class ScanCallback:
    """Hears how a scan goes on. Override what you need."""

    def on_plan(self, plan: SearchPlan) -> None:
        """Before `on_begin`, as soon as it is known how much memory the scan will take."""

    def on_begin(self, network: FrozenNetwork, num_labels: int, starts: int, max_rounds: int, in_flight: int) -> None:
        """Before the first round; `in_flight` images, or frames of clips, will be in the network at once, which is what takes memory."""

    def on_ranking(self, progress: Progress, share: float) -> None:
        """When the best arm of a label has come to a look at who is lowest; `share` of the ranking is over at least, [0, 1]."""

    def on_ranked(self, shortlist: Shortlist) -> None:
        """When it is known which of many labels are searched to the end; `on_begin` has counted all of them."""

    def on_round(self, arms: Sequence[Arm], rounds: Sequence[int], run: Run, log: RoundLog) -> None:
        """After every round, with the arms in flight, the number of the round each has ended, their state and what each logged.

        Never on a cluster, whose rounds end elsewhere: `on_leg` is what both engines tell. So `--tensorboard` has no curves there.
        """

    def on_leg(self, progress: Progress) -> None:
        """When some rounds of an arm are done, and it could go on from there."""

    def on_label(self, result: LabelResult, starts: Sequence[ArmResult]) -> None:
        """When a label is done; its anomaly index is not known yet."""
