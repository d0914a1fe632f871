"""The results of searches, scans and defences: frozen, named, usable."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nc_tf.backdoor import AllToAllTrigger, Backdoor, FoundTrigger, OneTarget, Trigger, Warp, fits
from nc_tf.outcomes import HISTORY_COLUMNS, ChangeResult, LabelResult, SourceResult, Status, Unit, UntargetedResult

__all__ = [
    "HISTORY_COLUMNS",
    "AllToAllTrigger",
    "Backdoor",
    "ChangeResult",
    "Detection",
    "FoundTrigger",
    "LabelResult",
    "Measurement",
    "Mitigation",
    "OneTarget",
    "ScanResult",
    "SourceResult",
    "Status",
    "Trigger",
    "Unit",
    "UntargetedResult",
    "Verdict",
    "Warp",
    "fits",
]


class Verdict(StrEnum):
    """The verdict of a scan; "no outlier" is not "clean", because a backdoor of another kind may still be there."""

    SUSPECTED = "backdoor suspected"
    NO_OUTLIER = "no outlier"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, eq=False)
class Detection:
    """The verdict of one detector.

    Attributes:
        name: of the detector.
        looked_for: the kind of backdoor that it can see, in words.
        statistic: the number that it judges, larger where more is suspicious; NaN where there is none.
        p_value: probability that a clean network shows as much, [0, 1]; NaN where it is not known.
        verdict: what it says by itself.
        reason: the ground of that in one sentence.
        labels: suspicious labels, most anomalous first.
        pairs: suspicious pairs (source, target), ordered by source.
    """

    name: str
    looked_for: str
    statistic: float
    p_value: float
    verdict: Verdict
    reason: str
    labels: tuple[int, ...] = ()
    pairs: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, eq=False)
class ScanResult:
    """A whole scan: one `LabelResult` a searched label, and the verdict drawn from them.

    Attributes:
        verdict: see `Verdict`.
        reason: the ground of the verdict in one sentence.
        flagged: suspicious labels, most anomalous first.
        median: median L1 norm of the labels whose search succeeded, pixels; NaN where there is none.
        mad: 1.4826 times the median absolute deviation from it, pixels; NaN where there is none.
        labels: ordered by label.
        settings: the settings of the scan, as plain JSON values.
        seconds: wall time.
        anomaly_index_interval: range of the anomaly index in 90 % of a bootstrap over the labels; NaN where there is no index.
        flagging_norm: labels with a smaller norm are suspicious, pixels; NaN where nothing can be judged.
        chance: probability that a clean network shows as small a norm, [0, 1]; NaN where the rule does not use it.
        unit: images or clips.
        model_accuracy: share of the given images that the model classifies right, [0, 1]; NaN where their classes are not known.
        warnings: further facts that a reader of the verdict needs, one sentence each.
        detections: what each detector says, one for each kind of backdoor that was looked for.
        flagged_pairs: suspicious pairs (source, target), ordered by source.
        untargeted: result of the search for a trigger that takes every class away from itself, if there was one.
        changes: results of the searches for a change of the whole image, by detector and label; empty without any.
        sources: results of the search for a trigger of one class alone, by class, if there was one.
    """

    verdict: Verdict
    reason: str
    flagged: tuple[int, ...]
    median: float
    mad: float
    labels: tuple[LabelResult, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    anomaly_index_interval: tuple[float, float] = (float("nan"), float("nan"))
    flagging_norm: float = float("nan")
    chance: float = float("nan")
    unit: Unit = Unit.IMAGE
    model_accuracy: float = float("nan")
    warnings: tuple[str, ...] = ()
    detections: tuple[Detection, ...] = ()
    flagged_pairs: tuple[tuple[int, int], ...] = ()
    untargeted: UntargetedResult | None = None
    changes: tuple[ChangeResult, ...] = ()
    sources: tuple[SourceResult, ...] = ()

    @property
    def anomaly_index(self) -> float:
        """Index of the label with the smallest compared norm.

        NaN where no norm was compared.
        """
        counted = [result for result in self.labels if not math.isnan(result.anomaly_index)]
        return min(counted, key=lambda result: result.trigger.l1_norm).anomaly_index if counted else float("nan")

    @property
    def pair_rates(self) -> list[tuple[int, int, float]]:
        """Source, target and success rate on held-out images of the source, of every flagged pair."""
        alone = {(result.source, result.target): result.attack_success_rate for result in self.flagged_sources}
        away = self.untargeted
        rates = {pair: alone[pair] if pair in alone else away.rate(*pair) if away else math.nan for pair in self.flagged_pairs}
        return [(*pair, rate) for pair, rate in rates.items()]

    @property
    def sends_all(self) -> bool:
        """Whether the trigger that takes every class away from itself is suspicious."""
        return len(self.flagged_pairs) > len(self.flagged_sources)

    @property
    def flagged_sources(self) -> tuple[SourceResult, ...]:
        """The results of flagged classes that have a trigger of their own."""
        pairs = {pair for row in self.detections if row.name == "source-specific" for pair in row.pairs}
        return tuple(result for result in self.sources if (result.source, result.target) in pairs.intersection(self.flagged_pairs))

    @property
    def triggers(self) -> tuple[FoundTrigger, ...]:
        """The reversed triggers of the flagged labels, each by the detector that flags it, and those that move flagged pairs.

        Labels come most anomalous first. A label has each of its triggers once, whatever number of detectors flags it.
        """
        smallest = {result.label: result.trigger for result in self.labels}
        changes = {(change.detector, change.label): change.trigger for change in self.flagged_changes}
        found = [(row.name, label) for row in self.detections for label in row.labels if label in self.flagged]
        named = {label for _, label in found}
        found += [("", label) for label in self.flagged if label not in named]
        of_all = (self.untargeted.trigger,) if self.untargeted and self.sends_all else ()
        alone = (result.trigger for result in self.flagged_sources)
        of_labels = dict.fromkeys(changes.get(key) or smallest[key[1]] for key in found)  # triggers are equal by identity
        return (*of_labels, *of_all, *alone)

    @property
    def flagged_changes(self) -> tuple[ChangeResult, ...]:
        """The changes of the whole image that their own detector flags, most anomalous first."""
        found = {(change.detector, change.label): change for change in self.changes if change.label in self.flagged}
        keys = [(row.name, label) for row in self.detections for label in row.labels]
        return tuple(found[key] for key in keys if key in found)

    def _repr_html_(self) -> str:
        """Return verdict, chart of the norms and flagged triggers for a notebook."""
        from nc_tf.report.notebook import scan_html

        return scan_html(self)


@dataclass(frozen=True)
class Measurement:
    """The rates of a model on clean and triggered images, all in [0, 1].

    Attributes:
        clean_accuracy: share of clean images that are classified right.
        attack_success_rate: by trigger name ("reversed", "true"), share of triggered images of other classes that go to the target.
        robust_accuracy: by trigger name, share of the same images that keep their own class.
    """

    clean_accuracy: float
    attack_success_rate: dict[str, float]
    robust_accuracy: dict[str, float]


@dataclass(frozen=True, eq=False)
class Mitigation:
    """A repaired model, and its rates before and after.

    Attributes:
        model: the repaired keras.Model. It has the form of the given one, such as one sigmoid output or flat input; that stays unchanged.
        before: rates of the given model.
        after: rates of the repaired model.
        triggers: the measured triggers, by name.
        settings: the settings of the repair, as plain JSON values.
        details: further findings of the method, as plain JSON values; its own docstring describes them.
        classifier: the measured model: `model` with a score a class for images, as `nc_tf.adapt` makes it. It has the layers of `model`,
            and is `model` itself where that is such a classifier.
    """

    model: Any
    before: Measurement
    after: Measurement
    triggers: dict[str, Backdoor] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)
    classifier: Any = None

    def _repr_html_(self) -> str:
        """Return the table of rates before and after for a notebook."""
        from nc_tf.report.notebook import mitigation_html

        return mitigation_html(self)
