"""What the norms of all labels say: the paper's rule, and one that raises fewer false alarms (docs/scan-presets.md)."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from nc_tf.errors import InputError
from nc_tf.outliers import PAPER_INDEX, find_outliers, index_interval, largest_by_chance, moderated_spread
from nc_tf.results import LabelResult, ScanResult, Unit, Verdict

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


def judge(
    labels: Sequence[LabelResult],
    settings: dict[str, object] | None = None,
    seconds: float = 0.0,
    *,
    rule: str = "paper",
    reference: Collection[int] | None = None,
    ranked_out: int = 0,
    unit: Unit = Unit.IMAGE,
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

    Raises:
        InputError: a rule of another name.
    """
    if rule not in RULES:
        raise InputError(f"rule {rule!r}: expected one of {', '.join(RULES)}; choose one")
    nan = float("nan")
    result = ScanResult(Verdict.INCONCLUSIVE, "", (), nan, nan, tuple(labels), settings or {}, seconds, unit=unit)
    result = _judge(result, rule, labels if reference is None else [entry for entry in labels if entry.label in reference], ranked_out)
    if not ranked_out:
        return result
    out = f"{ranked_out} of {ranked_out + len(labels)} labels were ranked out early, and median and MAD are those of a random sample"
    return replace(result, reason=f"{result.reason} ({out})")


def _judge(result: ScanResult, rule: str, drawn: Sequence[LabelResult], ranked_out: int) -> ScanResult:
    """`drawn`: the labels that median and MAD are taken of."""
    labels = result.labels
    counted = [entry for entry in labels if entry.succeeded and (rule == "paper" or _counts(entry))]
    sample = [entry.trigger.l1_norm for entry in counted if entry in drawn]
    if len(sample) < FEWEST_LABELS:
        return replace(result, reason=_too_few(drawn, sample, rule, result.unit))
    norms = np.array([entry.trigger.l1_norm for entry in counted])
    outliers = find_outliers(norms, reference=sample)
    result = replace(result, median=outliers.median, mad=outliers.mad, labels=_with_indices(labels, counted, outliers.index))
    if outliers.mad == 0.0:
        reason = f"at least half of the labels have the same norm, {outliers.median:.2f}, so that the MAD is zero and measures nothing"
        return replace(result, reason=reason)
    result = replace(result, anomaly_index_interval=index_interval(norms, sample))
    return _paper(result, counted, norms) if rule == "paper" else _robust(result, counted, norms, sample, ranked_out)


def _paper(result: ScanResult, counted: Sequence[LabelResult], norms: np.ndarray) -> ScanResult:
    line = result.median - PAPER_INDEX * result.mad
    flagged = _below(line, counted, norms)
    if flagged:
        names = ", ".join(map(str, flagged))
        reason = f"the smallest trigger of label {names} is more than {PAPER_INDEX:g} MAD below the median of {result.median:.2f}"
        return replace(result, verdict=Verdict.SUSPECTED, reason=reason, flagged=flagged, flagging_norm=line)
    reason = f"no label's smallest trigger is more than {PAPER_INDEX:g} MAD below the median of {result.median:.2f}"
    return replace(result, verdict=Verdict.NO_OUTLIER, reason=reason, flagging_norm=line)


def _robust(
    result: ScanResult, counted: Sequence[LabelResult], norms: np.ndarray, sample: Sequence[float], ranked_out: int
) -> ScanResult:
    logs, sampled = (np.log(np.maximum(values, LEAST_NORM)) for values in (norms, sample))
    outliers = find_outliers(logs, reference=sampled)
    if outliers.mad == 0.0:
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


def _is_weak(entry: LabelResult) -> bool:
    """Whether a trigger does not count for the images that it does not move, and for nothing else."""
    return entry.succeeded and entry.attack_success_rate < LEAST_SUCCESS and not entry.zero_trigger_rate > MOST_WITHOUT_TRIGGER


def _counts(entry: LabelResult) -> bool:
    """Whether a norm can be compared. A rate that could not be measured, for want of images, speaks against nothing."""
    return not (entry.attack_success_rate < LEAST_SUCCESS or entry.zero_trigger_rate > MOST_WITHOUT_TRIGGER)


def _below(line: float, counted: Sequence[LabelResult], norms: np.ndarray) -> tuple[int, ...]:
    return tuple(counted[position].label for position in np.argsort(norms, kind="stable") if norms[position] < line)


def _with_indices(labels: Sequence[LabelResult], counted: Sequence[LabelResult], index: np.ndarray) -> tuple[LabelResult, ...]:
    indices = {entry.label: float(value) for entry, value in zip(counted, index, strict=True)}
    return tuple(replace(entry, anomaly_index=indices.get(entry.label, float("nan"))) for entry in labels)


def _too_few(labels: Sequence[LabelResult], sample: Sequence[float], rule: str, unit: Unit) -> str:
    reason = f"{len(sample)} of {len(labels)} labels have a working trigger, and median and MAD need {FEWEST_LABELS}"
    given_anyway = [entry.label for entry in labels if rule == "robust" and entry.zero_trigger_rate > MOST_WITHOUT_TRIGGER]
    if given_anyway:
        names = ", ".join(map(str, given_anyway))
        reason += f"; the model answers label {names} for most {unit.many} of other classes without any trigger: "
        reason += "check the range of its input"
    return reason
