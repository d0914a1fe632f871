"""What the norms of all labels say: the paper's rule, and one that raises fewer false alarms (docs/scan-presets.md)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from nc_tf.detection.outliers import (
    PAPER_INDEX,
    find_outliers,
    index_interval,
    largest_by_chance,
    moderated_spread,
    split_groups,
    spread_chance,
)
from nc_tf.detection.rates import at_most
from nc_tf.errors import InputError
from nc_tf.results import LabelResult, ScanResult, Status, Unit, Verdict

# With fewer working triggers a median and a MAD say nothing.
FEWEST_LABELS = 5
# A trigger that moves fewer unseen images than this has only learnt those it was searched on.
LEAST_SUCCESS = 0.8
# A label that so many images of other classes get anyway needs no trigger, and its norm says nothing.
MOST_WITHOUT_TRIGGER = 0.5
# The robust rule suspects where chance does as much in less than the one share of clean networks, and sees nothing where in more than the
# other; between them it does not know.
SUSPECT_BELOW, NOTHING_ABOVE = 0.01, 0.05
# Logarithms want a norm above zero; a hundredth of a pixel is as good as none.
LEAST_NORM = 0.01
RULES = ("paper", "robust")
# Norms fall into two groups where fewer than this share of networks without a backdoor split as cleanly, and the groups are this far apart.
UNUSUAL, GROUPS_APART = 0.01, 2.0
# Of two groups the lower one is suspicious up to this share of the labels.
MOST_LOW = 0.75


@dataclass(frozen=True)
class Limit:
    """A reason why a scan says less than its norms do.

    Attributes:
        reason: one sentence.
        blocks_suspicion: whether a small norm means nothing either, so that even "backdoor suspected" would be more than was seen.
    """

    reason: str
    blocks_suspicion: bool = False


def judge(
    labels: Sequence[LabelResult],
    settings: dict[str, object] | None = None,
    seconds: float = 0.0,
    *,
    rule: str = "paper",
    reference: Collection[int] | None = None,
    ranked_out: int = 0,
    unit: Unit = Unit.IMAGE,
    limits: Sequence[Limit] = (),
    model_accuracy: float = float("nan"),
    warnings: Sequence[str] = (),
) -> ScanResult:
    """Draw the verdict over the labels with a working trigger.

    The paper's rule flags every label whose norm is more than two MAD below the median. By chance alone that happens in two of three
    clean networks with 43 labels and normal norms. The robust rule looks at logarithms, because norms differ by factors, measures in
    units of `outliers.moderated_spread`, and flags what chance does in fewer than one clean network of a hundred with as many labels.

    Args:
        labels: what was found.
        settings: for the result.
        seconds: likewise.
        rule: "paper" or "robust".
        reference: labels that median and MAD are taken of, where some were chosen for being small; all of them by default.
        ranked_out: number of labels that were not searched because others looked smaller: they had their chance to be the smallest.
        unit: what the reason calls the model's inputs.
        limits: why the verdict may say less than the norms do; those that the norms themselves set are added.
        model_accuracy, warnings: for the result.

    Raises:
        InputError: a rule of another name.
    """
    if rule not in RULES:
        raise InputError(f"rule {rule!r}: expected one of {', '.join(RULES)}; choose one")
    nan = float("nan")
    result = ScanResult(
        Verdict.INCONCLUSIVE, "", (), nan, nan, tuple(labels), settings or {}, seconds,
        unit=unit, model_accuracy=model_accuracy, warnings=tuple(warnings),
    )  # fmt: skip
    drawn = list(labels) if reference is None else [entry for entry in labels if entry.label in reference]
    result = _judge(result, rule, drawn, ranked_out)
    if ranked_out:
        out = f"{ranked_out} of {ranked_out + len(labels)} labels were ranked out early, and median and MAD are those of a random sample"
        result = replace(result, reason=f"{result.reason} ({out})")
    compared = [entry for entry in drawn if _is_compared(entry, rule)]
    return _limited(result, [*limits, *_limits_of_labels(labels, rule, unit), *_limits_of_norms(compared)])


def _limited(result: ScanResult, limits: Sequence[Limit]) -> ScanResult:
    """Say no more than the limits allow."""
    if not limits:
        return result
    if result.verdict is not Verdict.NO_OUTLIER and not any(limit.blocks_suspicion for limit in limits):
        return replace(result, warnings=(*result.warnings, *(limit.reason for limit in limits)))
    searched = any(entry.rounds for entry in result.labels)
    reason = "; ".join([*(limit.reason for limit in limits), *([f"by the norms alone: {result.reason}"] if searched else [])])
    return replace(result, verdict=Verdict.INCONCLUSIVE, flagged=(), reason=reason)


def _limits_of_labels(labels: Sequence[LabelResult], rule: str, unit: Unit) -> list[Limit]:
    """Name the labels of which nothing is known, or whose norms are not compared: any of them may have a backdoor."""
    searched = [entry for entry in labels if entry.rounds]
    of = {
        "was not searched to the end, because the model's answers became NaN or infinity": [
            entry for entry in searched if entry.broke_down or entry.status is Status.NONFINITE
        ],
        "has no working trigger: more rounds or another seed may find one": [
            entry for entry in searched if entry.status is Status.NEVER_SUCCEEDED
        ],
    }
    if rule == "robust":
        working = [entry for entry in searched if entry.succeeded]
        given = [entry for entry in working if _is_given_anyway(entry)]
        of[f"is given to most {unit.many} of other classes without any trigger"] = given
        of[f"has a trigger that moves too few unseen {unit.many} to count"] = [
            entry for entry in working if _moves_too_few(entry) and entry not in given
        ]
    return [Limit(f"label {', '.join(str(entry.label) for entry in found)} {what}") for what, found in of.items() if found]


def _limits_of_norms(compared: Sequence[LabelResult]) -> list[Limit]:
    """Why the absence of an outlier would mean nothing: norms that are no single group."""
    limits: list[Limit] = []
    if len(compared) < FEWEST_LABELS:
        return limits
    logs = np.log(np.maximum([entry.trigger.l1_norm for entry in compared], LEAST_NORM))
    mad = find_outliers(logs).mad
    groups = split_groups(logs) if np.ptp(logs) > 0 else None
    few_above = groups is not None and groups.low > MOST_LOW * len(logs)  # a few labels that are hard to reach
    if groups and not few_above and groups.chance < UNUSUAL and groups.distance > np.log(GROUPS_APART):
        limits.append(
            Limit(
                f"the norms fall into two groups, {groups.low} labels with norms {np.exp(groups.distance):.1f} times smaller than those of "
                f"the other {len(logs) - groups.low}: many labels may have a backdoor, and hide each other"
            )
        )
    elif spread_chance(mad, len(logs)) < UNUSUAL:
        limits.append(
            Limit(
                f"the norms spread by a factor of {np.exp(mad):.1f}, as those of fewer than {UNUSUAL:.0%} of clean networks do: "
                "several labels may have a backdoor, and hide each other"
            )
        )
    return limits


def _judge(result: ScanResult, rule: str, drawn: Sequence[LabelResult], ranked_out: int) -> ScanResult:
    """`drawn`: the labels that median and MAD are taken of."""
    labels = result.labels
    counted = [entry for entry in labels if _is_compared(entry, rule)]
    sample = [entry.trigger.l1_norm for entry in counted if entry in drawn]
    if len(sample) < FEWEST_LABELS:
        return replace(result, reason=_too_few(drawn, sample, rule, result.unit))
    norms = np.array([entry.trigger.l1_norm for entry in counted])
    outliers = find_outliers(norms, reference=sample)
    result = replace(result, median=outliers.median, mad=outliers.mad, labels=_with_indices(labels, counted, outliers.index))
    result = replace(result, anomaly_index_interval=index_interval(norms, sample))
    return _paper(result, counted, norms) if rule == "paper" else _robust(result, counted, norms, sample, ranked_out)


def _paper(result: ScanResult, counted: Sequence[LabelResult], norms: np.ndarray) -> ScanResult:
    if result.mad == 0.0:
        reason = f"at least half of the labels have the same norm, {result.median:.2f}, so that the MAD is zero and measures nothing"
        return replace(result, reason=reason)
    line = result.median - PAPER_INDEX * result.mad
    flagged = _below(line, counted, norms)
    if flagged:
        names = ", ".join(map(str, flagged))
        reason = f"the smallest trigger of label {names} is more than {PAPER_INDEX:g} MAD below the median of {result.median:.2f}"
        return replace(result, verdict=Verdict.SUSPECTED, reason=reason, flagged=flagged, flagging_norm=line)
    reason = f"no label's smallest trigger is more than {PAPER_INDEX:g} MAD below the median of {result.median:.2f}"
    return replace(result, verdict=Verdict.NO_OUTLIER, reason=reason, flagging_norm=line)


def _robust(result: ScanResult, counted: Sequence[LabelResult], norms: np.ndarray, sample: Sequence[float], ranked_out: int) -> ScanResult:
    logs, sampled = (np.log(np.maximum(values, LEAST_NORM)) for values in (norms, sample))
    outliers = find_outliers(logs, reference=sampled)
    if np.median(sample) <= LEAST_NORM:
        return replace(result, reason=f"at least half of the labels need less than {LEAST_NORM:g} pixels, where norms say nothing")
    spread = float(moderated_spread(outliers.mad, len(sample)))
    indices = {entry.label: float((outliers.median - log) / spread) for entry, log in zip(counted, logs, strict=True)}
    labels = tuple(replace(entry, log_index=indices.get(entry.label, float("nan"))) for entry in result.labels)
    # All labels had their chance to be the smallest, also where the spread is that of a sample.
    by_chance = largest_by_chance(len(counted) + ranked_out, len(sample))
    smallest = counted[int(np.argmin(norms))]
    chance = float(np.mean(by_chance >= indices[smallest.label]))
    line = float(np.exp(outliers.median - np.quantile(by_chance, 1 - SUSPECT_BELOW) * spread))
    flagged = _below(line, counted, norms)
    result = replace(result, labels=labels, chance=chance, flagging_norm=line)
    times = result.median / max(smallest.trigger.l1_norm, LEAST_NORM)
    apart = f"the smallest trigger, of label {smallest.label}, is {times:.1f} times smaller than the median of {result.median:.2f}, "
    apart += f"and chance does that in {'less than 1%' if chance < 0.01 else f'about {chance:.0%}'} of clean networks"
    if flagged:
        more = f"; below the line of {line:.2f} are labels {', '.join(map(str, flagged))}" if len(flagged) > 1 else ""
        return replace(result, verdict=Verdict.SUSPECTED, flagged=flagged, reason=apart + more)
    if chance <= NOTHING_ABOVE:
        may_tell = f"another seed, or more {result.unit.many}, may tell"
        return replace(result, reason=f"{apart}: too seldom to dismiss it, too often to suspect it; {may_tell}")
    # A small trigger that works on too few unseen images to count may be a backdoor all the same: silence would call it none.
    doubtful = [entry for entry in result.labels if _is_weak(entry) and entry.trigger.l1_norm < line]
    if doubtful:
        first = min(doubtful, key=lambda entry: entry.trigger.l1_norm)
        reason = f"the trigger of label {first.label} is small, {first.trigger.l1_norm:.2f} pixels where {line:.2f} would be suspicious, "
        many, rate = result.unit.many, first.attack_success_rate
        reason += f"but moves only {rate:.0%} of unseen {many}, {LEAST_SUCCESS:.0%} would count; more {many} may tell"
        return replace(result, reason=reason)
    return replace(result, verdict=Verdict.NO_OUTLIER, reason=apart)


def _is_compared(entry: LabelResult, rule: str) -> bool:
    """Whether the rule takes a norm into account."""
    return entry.succeeded and (rule == "paper" or not (_moves_too_few(entry) or _is_given_anyway(entry)))


def _is_weak(entry: LabelResult) -> bool:
    """Whether a trigger does not count for the images that it does not move, and for nothing else."""
    return entry.succeeded and _moves_too_few(entry) and not _is_given_anyway(entry)


def _moves_too_few(entry: LabelResult) -> bool:
    """Whether the true success rate is too low, as far as the images tell. One that could not be measured speaks against nothing."""
    return entry.attack_success_rate == 0.0 or at_most(entry.attack_success_rate, entry.num_measured) < LEAST_SUCCESS


def _is_given_anyway(entry: LabelResult) -> bool:
    return entry.zero_trigger_rate > MOST_WITHOUT_TRIGGER


def _below(line: float, counted: Sequence[LabelResult], norms: np.ndarray) -> tuple[int, ...]:
    return tuple(counted[position].label for position in np.argsort(norms, kind="stable") if norms[position] < line)


def _with_indices(labels: Sequence[LabelResult], counted: Sequence[LabelResult], index: np.ndarray) -> tuple[LabelResult, ...]:
    indices = {entry.label: float(value) for entry, value in zip(counted, index, strict=True)}
    return tuple(replace(entry, anomaly_index=indices.get(entry.label, float("nan"))) for entry in labels)


def _too_few(labels: Sequence[LabelResult], sample: Sequence[float], rule: str, unit: Unit) -> str:
    reason = f"{len(sample)} of {len(labels)} labels have a working trigger, and median and MAD need {FEWEST_LABELS}"
    given_anyway = [entry.label for entry in labels if rule == "robust" and _is_given_anyway(entry)]
    if given_anyway:
        names = ", ".join(map(str, given_anyway))
        reason += f"; the model answers label {names} for most {unit.many} of other classes without any trigger: "
        reason += "check the range of its input"
    return reason
