"""The source-specific detector: a small trigger of one class alone that no other replaces once the model ignores it.

Two numbers make it suspicious together. The trigger is smaller than those of other sources, and its norm rises where the model has learnt
to ignore it. Neither is enough: classes that look alike have small triggers, too, and every hardened network is harder to fool.
"""

import math
from collections.abc import Sequence

import numpy as np

from nc_tf.detection.inconclusive import LEAST_SUCCESS, WORTH_TELLING
from nc_tf.detection.rates import upper_bound
from nc_tf.detection.rises import MOST_LEFT, SCORE_FROM, SCORE_TO, SMALL, Rise
from nc_tf.results import Detection, SourceResult, Status, Verdict

NAME, LOOKED_FOR = "source-specific", "one small trigger that sends one class to another and leaves the others alone"
# A trigger that moves more of the other classes is that of a backdoor of another kind.
LEAST_KEPT = 0.5
# Held-out images of a source below which its trigger is not suspected.
FEWEST_MEASURED = 5


def candidates(results: Sequence[SourceResult]) -> list[int]:
    """Return the sources whose triggers are worth a second search: working ones up to the median norm.

    Args:
        results: of all sources.
    """
    median = _median(results)
    return [result.source for result in results if result.status.succeeded and result.trigger.l1_norm <= median]


def judge_sources(results: Sequence[SourceResult], num_classes: int, problem: str | None = None) -> Detection:
    """Return what the searches say.

    Args:
        results: of all sources, with what their search on the hardened twin has come to.
        num_classes: of the model.
        problem: why there was no such search, or None.
    """
    nan, scores = float("nan"), {result.source: _score(result, results) for result in results}
    ranked = sorted((result for result in results if result.again), key=lambda result: -scores[result.source])
    statistic = max(scores.values(), default=0.0)
    planted = [result for result in ranked if scores[result.source] >= SCORE_FROM and _is_evidence(result)]
    if planted:
        words = ", ".join(_words(result) for result in planted)
        beside = f"the median of all classes is {_median(results):.2f}"
        reason = f"the smallest trigger of one class alone is small, and its norm rises by hardening: {words}, where {beside}"
        pairs = tuple(sorted((result.source, result.target) for result in planted))
        return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.SUSPECTED, reason, pairs=pairs)
    still_open = [*([problem] if problem else []), *_unseen(results, num_classes)]
    median = _median(results)
    doubts = (_doubt(result, scores[result.source], median) for result in ranked)
    still_open += [doubt for doubt in doubts if doubt]
    if still_open:
        return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.INCONCLUSIVE, "; ".join(still_open))
    first = f", that of {_words(ranked[0])}" if ranked else ""
    reason = f"the largest score of a trigger of one class alone is {statistic:.2f}{first}, below the line of {SCORE_TO:g}"
    return Detection(NAME, LOOKED_FOR, statistic, nan, Verdict.NO_OUTLIER, reason)


def _unseen(results: Sequence[SourceResult], num_classes: int) -> list[str]:
    """Return what no search, or no measurement, could see."""
    reasons = []
    if len(results) < num_classes:
        reasons.append(f"{num_classes - len(results)} of {num_classes} classes have too few recognised images to search on")
    unmeasured = [result.source for result in results if not result.num_measured]
    if unmeasured:
        reasons.append(f"class {', '.join(map(str, unmeasured))} has no recognised held-out images")
    broken = [result.source for result in results if Status.NONFINITE in (result.status, result.again)]
    if broken:
        names = ", ".join(map(str, broken))
        reasons.append(f"the search from class {names} did not end, because the model's answers became NaN or infinity")
    working = sum(result.status.succeeded for result in results)
    if 2 * working < len(results):
        reasons.append(f"only {working} of {len(results)} classes have a working trigger of their own")
    return reasons


def _doubt(result: SourceResult, score: float, median: float) -> str | None:
    """Return why the trigger of a source is neither suspicious nor dismissed, or None."""
    if result.kept_rate < LEAST_KEPT or not result.status.succeeded:
        return None
    if score >= SCORE_TO and upper_bound(result.attack_success_rate, result.num_measured) >= WORTH_TELLING:
        rate = f"{result.attack_success_rate:.0%} of {result.num_measured} held-out images of the class"
        return f"{_words(result)}, which leads {rate} to the label: too far to dismiss it, too little to suspect it"
    if result.trigger.l1_norm > SMALL * median:
        return None
    if result.left_rate > MOST_LEFT:
        return f"the small trigger of class {result.source} still moves {result.left_rate:.0%} of its images after hardening"
    if result.again is Status.NEVER_SUCCEEDED:
        return f"{_words(result)}: it cannot be compared"
    return None


def _is_evidence(result: SourceResult) -> bool:
    """Return whether a trigger does on held-out images what it was searched for.

    Nearly all images of the source must get the one label, but for one where they are few: natural triggers spread them over several.
    """
    if result.num_measured < FEWEST_MEASURED or not result.status.succeeded or result.kept_rate < LEAST_KEPT:
        return False
    if Status.NONFINITE in (result.status, result.again) or not result.left_rate <= MOST_LEFT:
        return False
    hits = result.attack_success_rate * result.num_measured
    return not math.isnan(hits) and round(hits) + 1 >= LEAST_SUCCESS * result.num_measured


def _score(result: SourceResult, results: Sequence[SourceResult]) -> float:
    """Return the score of a source that was searched again; 0 for others."""
    if result.again is None or not result.status.succeeded:
        return 0.0
    # Where nothing works on the hardened twin, the largest norm of all sources is the least that can be said.
    after = result.norm_after if result.again.succeeded else max(_norms(results))
    return Rise(result.source, result.trigger.l1_norm, after, result.left_rate).score(_median(results))


def _norms(results: Sequence[SourceResult]) -> list[float]:
    """Return the norms of all sources; one without a working trigger has the largest of those that work."""
    working = [result.trigger.l1_norm for result in results if result.status.succeeded]
    return working + [max(working)] * (len(results) - len(working)) if working else []


def _median(results: Sequence[SourceResult]) -> float:
    norms = _norms(results)
    return float(np.median(norms)) if norms else 0.0


def _words(result: SourceResult) -> str:
    after = "none that works" if math.isnan(result.norm_after) else f"{result.norm_after:.2f} pixels"
    return f"class {result.source} to {result.target} from {result.trigger.l1_norm:.2f} to {after}"
