"""Named ways to scan."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nc_tf.errors import InputError
from nc_tf.inversion.cost_schedule import CostSchedule
from nc_tf.inversion.step import Loss, SearchSettings
from nc_tf.results import Unit
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.prescreening import RankingSettings


@dataclass(frozen=True)
class Preset:
    """A named way to scan.

    Attributes:
        settings: of the search on images.
        starts: searches a label.
        precision: of the forward pass.
        lanes: arms advanced together.
        grey: whether searches begin at `TriggerSpace.grey` instead of the original's `TriggerSpace.random`.
        cuts: when which starts are dropped.
        rule: how the verdict is drawn, see `nc_tf.detection.verdict`.
        held_out: images kept from the search to measure its triggers on, at most.
        ranking: how the labels that are searched are chosen, where there are many; None searches all.
        clips: settings of the search on clips; None: the same.
        patches: whether opaque patches are tried as well, see `nc_tf.detection.patches`.
    """

    settings: SearchSettings
    starts: int
    precision: str
    lanes: int = 8
    grey: bool = False
    cuts: tuple[Cut, ...] = ()
    rule: str = "paper"
    held_out: int = 2000
    ranking: RankingSettings | None = None
    clips: SearchSettings | None = None
    patches: bool = False

    def settings_for(self, image_shape: Sequence[int | None]) -> SearchSettings:
        """Of the search on images (H, W, C), or on clips (T, H, W, C)."""
        return self.settings if self.clips is None or Unit.of(image_shape) is Unit.IMAGE else self.clips

    def lanes_for(self, settings: SearchSettings, frames: int) -> int:
        """Arms advanced together with these settings, of clips of so many frames, 1 of images; `plan_search` finds how many of them fit.

        As many as have no more images, or frames, in the network at once than the preset's lanes of its own minibatches; and no more than
        these lanes, so that a smaller minibatch takes less memory.
        """
        return min(self.lanes, max(1, self.lanes * self.settings.batch_size // (frames * settings.batch_size)))


# docs/scan-presets.md says what was tried and measured.
_ROBUST = SearchSettings(
    loss=Loss.CROSS_ENTROPY,
    batch_size=8,
    batches_per_round=16,
    max_rounds=22,
    cost=CostSchedule(init_cost=1e-3, multiplier=1.5, patience=1, threshold=0.97, reset_cost_to_zero=False, early_stop=False),
)
PRESETS = {
    "robust": Preset(
        _ROBUST,
        starts=3,
        precision="auto",
        lanes=32,
        grey=True,
        cuts=(Cut(12, 1),),
        rule="robust",
        # Every label is measured on all of them; the standard error of a rate of .95 is .009 then.
        held_out=600,
        # A clip costs as many times an image as it has frames. A round then sees 32 clips, of which one may be missed: at .97 none could
        # be. A label's own clips would be a large part of the successes without any trigger, since sets of clips have few classes.
        clips=replace(_ROBUST, batch_size=2, exclude_target=True, cost=replace(_ROBUST.cost, threshold=0.96)),
        patches=True,
    ),
    # One start a label, with the constants of the original's gtsrb_visualize_example.py.
    "paper": Preset(
        SearchSettings(loss=Loss.LINEAR, cost=CostSchedule(multiplier=2.0, patience=5, early_stop_threshold=1.0, early_stop_patience=25)),
        starts=1,
        precision="float32",
    ),
}
# As robust, but of more than 143 labels only the 100 lowest and 43 drawn by lot among all, some of which may be among the lowest, are
# searched to the end. One image an update ranks as well as eight do, and the cost rises faster because only the order matters
# (docs/scan-presets.md).
PRESETS["low-cost"] = replace(
    PRESETS["robust"],
    ranking=RankingSettings(
        search=SearchSettings(
            loss=Loss.CROSS_ENTROPY,
            learning_rate=0.15,
            batch_size=1,
            batches_per_round=16,
            max_rounds=16,
            cost=CostSchedule(init_cost=3e-3, multiplier=2.0, patience=1, threshold=0.9, reset_cost_to_zero=False, early_stop=False),
        ),
        starts=3,
        cuts=(Cut(8, 1),),
        lanes=64,
        first=10,
        every=2,
        lowest=100,
        sample=43,
        settled=0.8,
    ),
)


def preset_named(name: str) -> Preset:
    """One of `PRESETS`.

    Raises:
        InputError: there is none of that name.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r}: expected one of {', '.join(PRESETS)}; choose one")
    return PRESETS[name]
