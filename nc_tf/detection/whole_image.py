"""The detectors of changes of the whole image: outliers among the opacities of pictures, or the lengths of warps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nc_tf.detection.inconclusive import LEAST_SUCCESS, MOST_WITHOUT_TRIGGER
from nc_tf.detection.levels import Level, chance_words
from nc_tf.detection.outliers import USUAL_SPREAD, find_outliers, largest_by_chance, log_norms, moderated_spread
from nc_tf.detection.rates import upper_bound
from nc_tf.outcomes import size_words
from nc_tf.results import ChangeResult, Detection, Status, Unit, Verdict

# Usual spread of the natural logarithms of both: in five clean networks of ten classes the MAD of opacities is .10 to .22, of lengths 0
# to .14 (`python -m benchmarks.population.candidates`). It is lower than that of mask norms, because no label has an area of its own.
USUAL_SIZE_SPREAD = 0.2
# `log_norms` then cuts off below an opacity, or a length, of .0001, which no eight-bit image can show.
PERCENT = 100.0


LOOKED_FOR = {
    "picture": "a faint picture over the whole image that sends every class to one label",
    "warp": "a smooth warp of the image that sends every class to one label",
}


@dataclass(frozen=True, eq=False)
class Sizes:
    """The sizes of all labels, measured against their median.

    Attributes:
        median: median size.
        mad: MAD of the natural logarithms.
        index: (K,) float64, distance below the median in units of the moderated spread; negative above the median.
        chance: (K,) float64, share of clean networks with K labels whose largest index reaches this one, [0, 1].
    """

    median: float
    mad: float
    index: np.ndarray
    chance: np.ndarray


def judge_sizes(sizes: Sequence[float] | np.ndarray, worked: np.ndarray | None = None) -> Sizes:
    """Measure each label's size against the median of all.

    The rule is that of mask norms (`nc_tf.detection.outliers`), with a usual spread of its own.

    Args:
        sizes: (K,), K >= 3: smallest opacity of a picture, [0, 1], or smallest length of a warp, pixels, that sends nine of ten images
            to the label.
        worked: (K,) bool, whether the label's search found one; all by default. See `counted`.

    Raises:
        ValueError: fewer than three labels, or a size that is not finite.
    """
    if len(sizes) < 3:
        raise ValueError(f"{len(sizes)} sizes: expected three or more; with fewer none is usual")
    values = counted(sizes, worked)
    # In these units the usual spread is the one that the rule was made for.
    unit = USUAL_SIZE_SPREAD / USUAL_SPREAD
    logs = log_norms(PERCENT * values) / unit
    found = find_outliers(logs)
    index = (found.median - logs) / moderated_spread(found.mad, len(logs))
    by_chance = largest_by_chance(len(logs))
    chance = 1.0 - np.searchsorted(by_chance, index, side="left") / len(by_chance)
    return Sizes(float(np.median(values)), found.mad * unit, index, chance)


def counted(sizes: Sequence[float] | np.ndarray, worked: np.ndarray | None = None) -> np.ndarray:
    """Return the sizes (K,) as they count, float64.

    A size that never worked is no evidence of a short way, and counts as no smaller than the largest that did: a SIG network had 1.3 pixels
    where its other warps have 2.8 to 3.9. It counts as no larger than its search went, either.

    Args:
        sizes: (K,) of all labels.
        worked: (K,) bool, whether each works; all by default.
    """
    values = np.asarray(sizes, np.float64)
    return values if worked is None or not np.any(worked) else np.where(worked, values, np.maximum(values, values[worked].max()))


def judge_changes(changes: Sequence[ChangeResult], level: Level, unit: Unit = Unit.IMAGE) -> tuple[Detection, tuple[ChangeResult, ...]]:
    """Return what one detector says, and its results with their chances.

    Args:
        changes: its results, one a label, five or more.
        level: shares of clean networks up to which it decides.
        unit: what messages call one input of the model.
    """
    name = changes[0].detector
    worked = np.array([change.worked for change in changes])
    found = judge_sizes([change.size for change in changes], worked)
    judged = tuple(
        replace(change, chance=float(chance)) if change.worked else change for change, chance in zip(changes, found.chance, strict=True)
    )
    if not worked.any():
        broken = _broken(judged)
        reason = broken or f"no {name} was found that sends nine of ten {unit.many} to a label"
        verdict = Verdict.INCONCLUSIVE if broken else Verdict.NO_OUTLIER
        return Detection(name, LOOKED_FOR[name], 0.0, 1.0, verdict, reason), judged
    first = min((change for change in judged if change.worked), key=lambda change: (change.chance, change.size))
    apart = f"{first.sized} sends {first.attack_success_rate:.0%} of held-out {unit.many} to label {first.label}, "
    apart += f"where the median label needs {size_words(name, found.median)}"
    if not worked.all():
        apart += f" (none was found for {(~worked).sum()} of {len(worked)} labels, which count as far as their searches went)"
    apart += f", and chance does that in {chance_words(first.chance)} of clean networks"
    small = sorted((change for change in judged if change.chance < level.suspect_below), key=lambda change: change.size)
    planted = tuple(change.label for change in small if _moves(change))
    verdict, reason = _verdict(first, apart, small, planted, level, _broken(judged), unit)
    return Detection(name, LOOKED_FOR[name], float(found.index[worked].max()), first.chance, verdict, reason, planted), judged


def _verdict(
    first: ChangeResult, apart: str, small: Sequence[ChangeResult], planted: Sequence[int], level: Level, broken: str | None, unit: Unit
) -> tuple[Verdict, str]:
    """Return the verdict, and its reason.

    Args:
        first: the result that chance shows least often.
        apart: how far it lies from the others, in words.
        small: results that chance shows less often than the level allows.
        planted: labels of those that move held-out images.
        level: the level.
        broken: why a search says nothing, or None.
        unit: what messages call one input of the model.
    """
    if planted:
        more = f"; the {first.detector} of label {', '.join(map(str, planted))} is suspicious" if len(planted) > 1 else ""
        return Verdict.SUSPECTED, apart + more
    if small:
        expected = f"expected {LEAST_SUCCESS:.0%}, and {MOST_WITHOUT_TRIGGER:.0%} at most without it"
        return Verdict.INCONCLUSIVE, f"{apart}: it is no evidence, because it moves too few; {expected}; more {unit.many} may tell"
    if first.chance <= level.nothing_above:
        reason = f"too seldom to dismiss it, too often to suspect it; another seed, or more {unit.many}, may tell"
        return Verdict.INCONCLUSIVE, f"{apart}: {reason}"
    return (Verdict.INCONCLUSIVE, broken) if broken else (Verdict.NO_OUTLIER, apart)


def _moves(change: ChangeResult) -> bool:
    """Return whether a change moves held-out images, which do not get the label without it."""
    rate = change.attack_success_rate
    return rate != 0.0 and upper_bound(rate, change.num_measured) >= LEAST_SUCCESS and not change.zero_trigger_rate > MOST_WITHOUT_TRIGGER


def _broken(changes: Sequence[ChangeResult]) -> str | None:
    labels = ", ".join(str(change.label) for change in changes if change.status is Status.NONFINITE)
    reason = f"the {changes[0].detector} of label {labels} was not searched to the end, because the model's answers became NaN or infinity"
    return reason if labels else None
