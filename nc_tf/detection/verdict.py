"""The verdict: over the norms of all labels, by the paper's rule or the robust one, and over what other detectors say.

docs/explanation/statistics.md compares the two. The reasons for which a scan is inconclusive, and their thresholds, are in `inconclusive`.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from nc_tf.detection.inconclusive import (
    Limit,
    doubtful_trigger,
    equal_norms,
    is_compared,
    limits_of_labels,
    limits_of_norms,
    norms_near_zero,
    too_few_norms,
    undecided_chance,
)
from nc_tf.detection.levels import WHOLE, Level, chance_words
from nc_tf.detection.lines import Line, draw_lines
from nc_tf.detection.outliers import LEAST_NORM, PAPER_INDEX, find_outliers, index_interval, log_norms
from nc_tf.errors import InputError
from nc_tf.results import Detection, LabelResult, ScanResult, Unit, UntargetedResult, Verdict

RULES = ("paper", "robust")
NAME, LOOKED_FOR = "one-label", "one small trigger that sends every class to one label"


def judge(
    labels: Sequence[LabelResult],
    settings: dict[str, object] | None = None,
    seconds: float = 0.0,
    *,
    rule: str = "paper",
    level: Level = WHOLE,
    reference: Collection[int] | None = None,
    ranked_out: int = 0,
    unit: Unit = Unit.IMAGE,
    limits: Sequence[Limit] = (),
    model_accuracy: float = float("nan"),
    warnings: Sequence[str] = (),
    others: Sequence[Detection] = (),
    untargeted: UntargetedResult | None = None,
) -> ScanResult:
    """Return the verdict over the labels with a working trigger, and over other detectors.

    The paper's rule flags every label whose norm is more than two MAD below the median. With 43 labels and normal norms it flags one by
    chance in two of three clean networks. The robust rule looks at logarithms, because norms differ by factors, and measures in units of
    `outliers.moderated_spread`. It flags what chance does in a share of clean networks, with the same number of labels, below its level.
    Then it looks again at the labels that are left (`lines.draw_lines`).

    Args:
        labels: the results of all labels searched.
        settings: for the result.
        seconds: for the result.
        rule: "paper" or "robust".
        level: of the robust rule; the whole scan's by default.
        reference: labels that median and MAD are taken over, where some were chosen for being small; all of them by default.
        ranked_out: number of labels that pre-screening dropped; they count among those that could have been smallest by chance.
        unit: the name of the model's inputs in the reason.
        limits: reasons why the verdict may say less than the norms do; those of the labels and of the norms are added.
        model_accuracy: for the result.
        warnings: for the result.
        untargeted: for the result.
        others: what other detectors say. One that suspects is enough for suspicion, and "no outlier" needs all.

    Raises:
        InputError: a rule of another name.
    """
    if rule not in RULES:
        raise InputError(f"rule {rule!r}: expected one of {', '.join(RULES)}; choose one")
    nan = float("nan")
    result = ScanResult(
        Verdict.INCONCLUSIVE, "", (), nan, nan, tuple(labels), settings or {}, seconds,
        unit=unit, model_accuracy=model_accuracy, warnings=tuple(warnings), untargeted=untargeted,
    )  # fmt: skip
    referred = list(labels) if reference is None else [entry for entry in labels if entry.label in reference]
    result = _by_norms(result, rule, level, referred, ranked_out)
    others_compared = [entry for entry in referred if is_compared(entry, rule) and entry.label not in result.flagged]
    if ranked_out:
        out = f"{ranked_out} of {ranked_out + len(labels)} labels were ranked out early, and median and MAD are those of a random sample"
        result = replace(result, reason=f"{result.reason} ({out})")
    result = _combined(result, others)
    return _limited(result, [*limits, *limits_of_labels(labels, rule, unit), *limits_of_norms(others_compared)])


def _combined(result: ScanResult, others: Sequence[Detection]) -> ScanResult:
    """Return the verdict of all detectors, with the reasons of those that decide it."""
    index = max((entry.log_index for entry in result.labels if not np.isnan(entry.log_index)), default=result.anomaly_index)
    detections = (Detection(NAME, LOOKED_FOR, index, result.chance, result.verdict, result.reason, result.flagged), *others)
    said = [detection.verdict for detection in detections]
    verdict = next(one for one in (Verdict.SUSPECTED, Verdict.INCONCLUSIVE, Verdict.NO_OUTLIER) if one in said)
    reason = "; ".join(detection.reason for detection in detections if detection.verdict is verdict)
    flagged = tuple(dict.fromkeys(label for detection in detections for label in detection.labels))
    pairs = tuple(dict.fromkeys(pair for detection in detections for pair in detection.pairs))
    return replace(result, verdict=verdict, reason=reason, detections=detections, flagged=flagged, flagged_pairs=pairs)


def _limited(result: ScanResult, limits: Sequence[Limit]) -> ScanResult:
    """Return the result as far as the limits allow it."""
    if not limits:
        return result
    if result.verdict is not Verdict.NO_OUTLIER and not any(limit.blocks_suspicion for limit in limits):
        return replace(result, warnings=(*result.warnings, *(limit.reason for limit in limits)))
    searched = any(entry.rounds for entry in result.labels)
    reason = "; ".join([*(limit.reason for limit in limits), *([f"by the norms alone: {result.reason}"] if searched else [])])
    return replace(result, verdict=Verdict.INCONCLUSIVE, flagged=(), flagged_pairs=(), reason=reason)


def _by_norms(result: ScanResult, rule: str, level: Level, reference: Sequence[LabelResult], ranked_out: int) -> ScanResult:
    """Return the verdict by the norms alone.

    Median and MAD are taken over `reference`.
    """
    labels = result.labels
    compared = [entry for entry in labels if is_compared(entry, rule)]
    sample = [entry.trigger.l1_norm for entry in compared if entry in reference]
    too_few = too_few_norms(reference, sample, rule, result.unit)
    if too_few:
        return replace(result, reason=too_few)
    norms = np.array([entry.trigger.l1_norm for entry in compared])
    outliers = find_outliers(norms, reference=sample)
    result = replace(result, median=outliers.median, mad=outliers.mad, labels=_with_indices(labels, compared, outliers.index))
    result = replace(result, anomaly_index_interval=index_interval(norms, sample))
    return _paper(result, compared, norms) if rule == "paper" else _robust(result, compared, norms, sample, ranked_out, level)


def _paper(result: ScanResult, compared: Sequence[LabelResult], norms: np.ndarray) -> ScanResult:
    no_spread = equal_norms(result.median, result.mad)
    if no_spread:
        return replace(result, reason=no_spread)
    line = result.median - PAPER_INDEX * result.mad
    flagged = _below(line, compared, norms)
    if flagged:
        names = ", ".join(map(str, flagged))
        reason = f"the smallest trigger of label {names} is more than {PAPER_INDEX:g} MAD below the median of {result.median:.2f}"
        return replace(result, verdict=Verdict.SUSPECTED, reason=reason, flagged=flagged, flagging_norm=line)
    reason = f"no label's smallest trigger is more than {PAPER_INDEX:g} MAD below the median of {result.median:.2f}"
    return replace(result, verdict=Verdict.NO_OUTLIER, reason=reason, flagging_norm=line)


def _robust(
    result: ScanResult, compared: Sequence[LabelResult], norms: np.ndarray, sample: Sequence[float], ranked_out: int, level: Level
) -> ScanResult:
    near_zero = norms_near_zero(sample)
    if near_zero:
        return replace(result, reason=near_zero)
    logs = log_norms(norms)
    drawn = draw_lines(logs, log_norms(sample), ranked_out, level)
    first, line, chance = drawn.first, float(np.exp(drawn.line)), drawn.first.chance
    indices = {entry.label: float((first.median - log) / first.spread) for entry, log in zip(compared, logs, strict=True)}
    labels = tuple(replace(entry, log_index=indices.get(entry.label, float("nan"))) for entry in result.labels)
    flagged = _below(line, compared, norms)
    result = replace(result, labels=labels, chance=chance, flagging_norm=line)
    apart = f"{_smallest(first, compared, norms, result.median)}, and chance does that in {chance_words(chance)} of clean networks"
    if flagged:
        more = f"; below the line of {line:.2f} are labels {', '.join(map(str, flagged))}" if len(flagged) > 1 else ""
        return replace(result, verdict=Verdict.SUSPECTED, flagged=flagged, reason=apart + more)
    undecided = undecided_chance(chance, level, result.unit)
    if undecided:
        return replace(result, reason=f"{apart}: {undecided}")
    doubtful = doubtful_trigger(result.labels, line, result.unit)
    if doubtful:
        return replace(result, reason=doubtful)
    return replace(result, verdict=Verdict.NO_OUTLIER, reason=apart)


def _smallest(first: Line, compared: Sequence[LabelResult], norms: np.ndarray, median: float) -> str:
    """Return how far the smallest norm, or the lower group, is below the others."""
    order = np.argsort(norms, kind="stable")
    if not first.low:
        times = median / max(float(norms[order[0]]), LEAST_NORM)
        return f"the smallest trigger, of label {compared[order[0]].label}, is {times:.1f} times smaller than the median of {median:.2f}"
    return f"{first.low} labels have triggers at least {np.exp(first.gap):.1f} times smaller than those of all others"


def _below(line: float, compared: Sequence[LabelResult], norms: np.ndarray) -> tuple[int, ...]:
    """Return the labels with a norm below the line, smallest first."""
    return tuple(compared[position].label for position in np.argsort(norms, kind="stable") if norms[position] < line)


def _with_indices(labels: Sequence[LabelResult], compared: Sequence[LabelResult], index: np.ndarray) -> tuple[LabelResult, ...]:
    """Return the labels with their anomaly indices.

    It is NaN where the norm does not count.
    """
    indices = {entry.label: float(value) for entry, value in zip(compared, index, strict=True)}
    return tuple(replace(entry, anomaly_index=indices.get(entry.label, float("nan"))) for entry in labels)
