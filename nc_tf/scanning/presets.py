"""Presets: named settings of a scan."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nc_tf.detection.inconclusive import FEWEST_LABELS
from nc_tf.errors import InputError
from nc_tf.inversion.cost_schedule import CostSchedule
from nc_tf.inversion.step import Loss, SearchSettings
from nc_tf.results import Unit
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.prescreening import PrescreeningSettings
from nc_tf.scanning.sources import SourceSettings
from nc_tf.scanning.untargeted import UntargetedSettings


@dataclass(frozen=True)
class Preset:
    """Named settings of a scan.

    Attributes:
        settings: settings of the search on images.
        starts: restarts a label.
        precision: precision of the forward pass.
        lanes: restarts advanced together.
        grey: whether searches begin at `TriggerSpace.grey` instead of the original's `TriggerSpace.random`.
        cuts: steps of successive halving.
        rule: name of the rule for the verdict, see `nc_tf.detection.verdict`.
        held_out: most images that are held out to measure triggers on.
        ranking: settings of pre-screening; None searches all labels in full.
        clips: settings of the search on clips; None takes those for images.
        patches: whether opaque patches are tried as well, see `nc_tf.detection.patches`.
        untargeted: settings of the search for a trigger that takes every class away from itself; None for none.
        sources: settings of the search for a trigger that takes one class away and leaves the others alone; None for none.
    """

    settings: SearchSettings
    starts: int
    precision: str
    lanes: int = 8
    grey: bool = False
    cuts: tuple[Cut, ...] = ()
    rule: str = "paper"
    held_out: int = 2000
    ranking: PrescreeningSettings | None = None
    clips: SearchSettings | None = None
    patches: bool = False
    untargeted: UntargetedSettings | None = None
    sources: SourceSettings | None = None

    def settings_for(self, image_shape: Sequence[int | None], num_classes: int) -> SearchSettings:
        """Return the settings of the search on inputs of this shape, and for this number of classes.

        With few classes the robust rule leaves out a label's own images: they are a large part of all, and succeed without any trigger.
        A trigger that sends two classes to each other would never succeed with them.

        Args:
            image_shape: (H, W, C) of images, or (T, H, W, C) of clips.
            num_classes: of the model.
        """
        settings = self.settings if self.clips is None or Unit.of(image_shape) is Unit.IMAGE else self.clips
        return replace(settings, exclude_target=True) if self.rule == "robust" and num_classes < FEWEST_LABELS else settings

    def lanes_for(self, settings: SearchSettings, frames: int) -> int:
        """Return the number of restarts advanced together, whatever the memory.

        `plan_search` fits it to the memory.

        The network then holds no more images, or frames, at once than with the preset's own lanes and minibatches. A smaller minibatch
        takes less memory, because the number never exceeds the preset's lanes.

        Args:
            settings: settings of the search.
            frames: frames of a clip; 1 for images.
        """
        return min(self.lanes, max(1, self.lanes * self.settings.batch_size // (frames * settings.batch_size)))


# docs/explanation/how-a-scan-works.md gives the reasons, docs/results/restarts.md the measurements.
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
        # Every label is measured on all 600; the standard error of a rate of .95 is then .009.
        held_out=600,
        # A clip of T frames costs T images. A round sees 32 clips, and one may be missed: at .97 none could be. Sets of clips have few
        # classes, so that a label's own clips would be a large part of the successes without any trigger.
        clips=replace(_ROBUST, batch_size=2, exclude_target=True, cost=replace(_ROBUST.cost, threshold=0.96)),
        patches=True,
        untargeted=UntargetedSettings(threshold=0.9, starts=6, cuts=(Cut(12, 3),)),
        sources=SourceSettings(threshold=0.9, starts=2, cuts=(Cut(10, 1),)),
    ),
    # One restart a label, with the constants of the original's gtsrb_visualize_example.py.
    "paper": Preset(
        SearchSettings(loss=Loss.LINEAR, cost=CostSchedule(multiplier=2.0, patience=5, early_stop_threshold=1.0, early_stop_patience=25)),
        starts=1,
        precision="float32",
    ),
}
# As robust, but with more than 143 labels only the 100 lowest and a random sample of 43 are searched to the end. The sample is drawn from
# all labels, so that the two may overlap. One image an update orders labels as well as eight do. The cost rises faster, because only the
# order matters (docs/results/many-labels.md).
PRESETS["low-cost"] = replace(
    PRESETS["robust"],
    ranking=PrescreeningSettings(
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
    """Return the preset of this name, one of `PRESETS`.

    Raises:
        InputError: no preset has that name.
    """
    if name not in PRESETS:
        raise InputError(f"preset {name!r}: expected one of {', '.join(PRESETS)}; choose one")
    return PRESETS[name]
