"""The source-specific detector: a small trigger of one class alone that no other replaces once the model ignores it.

Two numbers make it suspicious together. The trigger is smaller than those of other sources, and its norm rises where the model has learnt
to ignore it. Neither is enough: classes that look alike have small triggers, too, and every hardened network is harder to fool.
"""

import math
from collections.abc import Sequence

import numpy as np

from nc_tf.detection.inconclusive import LEAST_SUCCESS
from nc_tf.detection.outliers import LEAST_NORM
from nc_tf.detection.rates import upper_bound
from nc_tf.results import Detection, SourceResult, Status, Verdict

NAME, LOOKED_FOR = "source-specific", "one small trigger that sends one class to another and leaves the others alone"
# The score is log(median norm of the sources / norm) + log(norm after hardening / norm). From the first line on it is suspicious, below
# the second it is that of clean networks.
SUSPECT_FROM, NOTHING_BELOW = 2.3, 2.05
# A trigger that moves more of the other classes is that of a backdoor of another kind.
LEAST_KEPT = 0.5


def candidates(results: Sequence[SourceResult]) -> list[int]:
    """Return the sources whose triggers are worth a second search: working ones up to the median norm.

    Args:
        results: of all sources.
    """
    working = [result for result in results if result.status.succeeded]
    median = np.median([result.trigger.l1_norm for result in working]) if working else 0.0
    return [result.source for result in working if result.trigger.l1_norm <= median]


def judge_sources(results: Sequence[SourceResult], num_classes: int, problem: str | None = None) -> Detection:
    """Return what the searches say.

    Args:
        results: of all sources, with the norms after hardening.
        num_classes: of the model.
        problem: why there are no norms after hardening, or None.
    """
    nan = float("nan")
    missing = num_classes - len(results)
    broken = [result.source for result in results if result.status is Status.NONFINITE]
    scored = sorted(((_score(result, results), result) for result in results if _counts(result)), key=lambda pair: -pair[0])
    statistic = scored[0][0] if scored else 0.0
    planted = [result for score, result in scored if score >= SUSPECT_FROM and _leads_to_one_label(result)]
    if planted:
        words = ", ".join(_words(result) for result in planted)
        reason = f"hardening against the smallest trigger of one class alone raises its norm far above the usual: {words}"
        return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.SUSPECTED, reason, pairs=tuple(sorted(_pair(one) for one in planted)))
    open_reasons = [problem] if problem else []
    if missing:
        open_reasons.append(f"{missing} of {num_classes} classes have no recognised images to search on")
    if broken:
        names = ", ".join(map(str, broken))
        open_reasons.append(f"the search from class {names} did not end, because the model's answers became NaN or infinity")
    if scored and statistic >= SUSPECT_FROM:
        rate = f"{scored[0][1].attack_success_rate:.0%} of held-out images of the class"
        open_reasons.append(f"{_words(scored[0][1])}, but that leads only {rate} to the label: too few to suspect it")
    elif scored and statistic >= NOTHING_BELOW:
        open_reasons.append(f"{_words(scored[0][1])}: too far to dismiss it, too little to suspect it")
    if open_reasons:
        return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.INCONCLUSIVE, "; ".join(open_reasons))
    if not scored:
        return Detection(
            NAME, LOOKED_FOR, statistic, nan, Verdict.NO_OUTLIER, "no small trigger moves one class and leaves the others alone"
        )
    reason = f"the most suspicious trigger of one class alone, {_words(scored[0][1])}, is that of clean networks"
    return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.NO_OUTLIER, reason)


def _counts(result: SourceResult) -> bool:
    """Return whether a trigger was searched again, and does on held-out images what it was searched for."""
    works = result.attack_success_rate != 0.0 and upper_bound(result.attack_success_rate, result.num_measured) >= LEAST_SUCCESS
    return result.status.succeeded and not math.isnan(result.norm_after) and works and not result.kept_rate < LEAST_KEPT


def _leads_to_one_label(result: SourceResult) -> bool:
    """Return whether nearly all held-out images of the source get the label, but for one image where they are few.

    Natural triggers spread them over several labels.
    """
    return round(result.attack_success_rate * result.num_measured) + 1 >= LEAST_SUCCESS * result.num_measured


def _score(result: SourceResult, results: Sequence[SourceResult]) -> float:
    norms = [max(other.trigger.l1_norm, LEAST_NORM) for other in results if other.status.succeeded]
    # Where nothing works on the hardened twin, the largest of all sources is the least that can be said.
    after = result.norm_after if math.isfinite(result.norm_after) else max(norms)
    norm = max(result.trigger.l1_norm, LEAST_NORM)
    return float(np.log(np.median(norms) / norm) + np.log(max(after, LEAST_NORM) / norm))


def _pair(result: SourceResult) -> tuple[int, int]:
    return result.source, result.target


def _words(result: SourceResult) -> str:
    after = f"{result.norm_after:.2f} pixels" if math.isfinite(result.norm_after) else "none that works"
    return f"class {result.source} to {result.target} from {result.trigger.l1_norm:.2f} to {after}"
