"""The detectors of changes of the whole image: outliers among the opacities of pictures, or the lengths of warps."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nc_tf.detection.inconclusive import GROUPS_APART, LEAST_SUCCESS, MOST_LOW, MOST_WITHOUT_TRIGGER, UNUSUAL
from nc_tf.detection.levels import WHOLE, Level, chance_words
from nc_tf.detection.lines import Line, draw_lines
from nc_tf.detection.outliers import FEWEST_LABELS, USUAL_SPREAD, largest_by_chance, log_norms, split_groups
from nc_tf.detection.rates import upper_bound
from nc_tf.inversion.warp import SHORTEST_WARP
from nc_tf.inversion.whole_image import WHOLE_IMAGE
from nc_tf.outcomes import size_words
from nc_tf.results import ChangeResult, Detection, Status, Unit, Verdict

# Usual spread of the natural logarithms of both: in five clean networks of ten classes the MAD of opacities is .10 to .22, of lengths 0
# to .14 (`python -m benchmarks.population.candidates`). It is lower than that of mask norms, because no label has an area of its own.
USUAL_SIZE_SPREAD = 0.2
# `log_norms` then cuts off below an opacity, or a length, of .0001, which no eight-bit image can show.
PERCENT = 100.0
# In these units the usual spread is the one that the rule of mask norms was made for.
UNIT = USUAL_SPREAD / USUAL_SIZE_SPREAD
# A search without a working warp counts if it went at least this share as far as the shortest that works: all 238 of them did on 18
# networks that had a working one.
FAR = 0.5
# Share of images that a working change sends to the label.
THRESHOLDS = {"picture": WHOLE_IMAGE.cost.threshold, "warp": SHORTEST_WARP.cost.threshold}

LOOKED_FOR = {
    "picture": "a faint picture over the whole image that sends every class to one label",
    "warp": "a smooth warp of the image that sends every class to one label",
}


@dataclass(frozen=True, eq=False)
class Sizes:
    """The sizes of all labels, measured against their median.

    Attributes:
        median: median size.
        index: (K,) float64, distance below the median of the line in units of its spread; negative above it.
        chance: (K,) float64, share of clean networks with K labels whose largest index reaches this one, [0, 1]. A label of a lower group
            has at most the chance of the group.
        below: (K,) bool, whether the size is suspicious.
        logs: (K,) float64, logarithms of the sizes in units of mask norms.
        first: the line over all labels.
    """

    median: float
    index: np.ndarray
    chance: np.ndarray
    below: np.ndarray
    logs: np.ndarray
    first: Line


def judge_sizes(sizes: Sequence[float] | np.ndarray, worked: np.ndarray | None = None, level: Level = WHOLE) -> Sizes:
    """Measure each label's size against the median of all.

    The rule is that of mask norms (`nc_tf.detection.lines`), with a usual spread of its own.

    Args:
        sizes: (K,), K >= 5: smallest opacity of a picture, [0, 1], or smallest length of a warp, pixels, that sends the share `THRESHOLDS`
            of images to the label.
        worked: (K,) bool, whether the label's search found one; all by default. See `counted`.
        level: shares of clean networks up to which it decides.

    Raises:
        ValueError: fewer than five labels, or a size that is not finite.
    """
    if len(sizes) < FEWEST_LABELS:
        raise ValueError(f"{len(sizes)} sizes: expected {FEWEST_LABELS} or more; with fewer none is usual")
    values = counted(sizes, worked)
    logs = UNIT * log_norms(PERCENT * values)
    drawn = draw_lines(logs, logs, 0, level)
    index = (drawn.first.median - logs) / drawn.first.spread
    by_chance = largest_by_chance(len(logs), len(logs))
    chance = (len(by_chance) - np.searchsorted(by_chance, index, side="left")) / len(by_chance)
    low = np.argsort(logs, kind="stable")[: drawn.first.low]
    chance[low] = np.minimum(chance[low], drawn.first.chance)
    return Sizes(float(np.median(values)), index, chance, logs < drawn.line, logs, drawn.first)


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
    found = judge_sizes([change.size for change in changes], worked, level)
    judged = tuple(
        replace(change, chance=float(chance)) if change.worked else change for change, chance in zip(changes, found.chance, strict=True)
    )
    if not worked.any():
        verdict, reason = _none_worked(judged, unit)
        return Detection(name, LOOKED_FOR[name], float("nan"), float("nan"), verdict, reason), judged
    small = sorted(
        (change for change, below in zip(judged, found.below, strict=True) if below and change.worked), key=lambda change: change.size
    )
    planted = tuple(change.label for change in small if _moves(change))
    apart = _apart(judged, found, unit)
    if planted:
        more = f"; the {name} of label {', '.join(map(str, planted))} is suspicious" if len(planted) > 1 else ""
        verdict, reason = Verdict.SUSPECTED, apart + more
    elif small:
        expected = f"expected {LEAST_SUCCESS:.0%}, and {MOST_WITHOUT_TRIGGER:.0%} at most without it"
        reason = f"{apart}: it is no evidence, because it moves too few; {expected}; more {unit.many} may tell"
        verdict = Verdict.INCONCLUSIVE
    elif found.first.chance <= level.nothing_above:
        reason = f"{apart}: too seldom to dismiss it, too often to suspect it; another seed, or more {unit.many}, may tell"
        verdict = Verdict.INCONCLUSIVE
    else:
        open_reason = _too_few(judged) or _hidden(found.logs, name) or _broken(judged)
        verdict, reason = (Verdict.INCONCLUSIVE, open_reason) if open_reason else (Verdict.NO_OUTLIER, apart)
    return Detection(name, LOOKED_FOR[name], float(found.index[worked].max()), found.first.chance, verdict, reason, planted), judged


def _none_worked(changes: Sequence[ChangeResult], unit: Unit) -> tuple[Verdict, str]:
    """Return the verdict where no search found a change, and its reason.

    A free picture that is opaque works on nearly every network, so that the searches went wrong. Warps seldom work at all: in six clean
    networks of ten classes for 0 to 3 labels.
    """
    name = changes[0].detector
    broken = _broken(changes)
    if broken:
        return Verdict.INCONCLUSIVE, broken
    nothing = f"no {'short ' if name == 'warp' else ''}{name} was found that sends {THRESHOLDS[name]:.0%} of {unit.many} to a label"
    if name == "warp":
        return Verdict.NO_OUTLIER, nothing
    usual = "an opaque one works on nearly every network"
    return Verdict.INCONCLUSIVE, f"{nothing}, where {usual}; another seed, or more {unit.many}, may tell"


def _apart(changes: Sequence[ChangeResult], found: Sizes, unit: Unit) -> str:
    """Return how far the smallest change, or the lower group, lies from the others, in words."""
    name, failed = changes[0].detector, sum(not change.worked for change in changes)
    first = min((change for change in changes if change.worked), key=lambda change: (change.size, change.label))
    if found.first.low:
        times = np.exp(found.first.gap / UNIT)
        apart = f"{found.first.low} labels have {name}s at least {times:.1f} times smaller than those of all others"
    else:
        apart = f"{first.sized} sends {first.attack_success_rate:.0%} of held-out {unit.many} to label {first.label}, "
        apart += f"where the median label needs {size_words(name, found.median)}"
    if failed:
        apart += f" (none was found for {failed} of {len(changes)} labels, which count as far as their searches went)"
    return f"{apart}, and chance does that in {chance_words(found.first.chance)} of clean networks"


def _too_few(changes: Sequence[ChangeResult]) -> str | None:
    """Return the reason of too few sizes to compare, or None.

    The size of a picture that never worked says nothing. That of a warp does where its search went about as far as those that worked.
    """
    name, needed = changes[0].detector, max(FEWEST_LABELS, -(-len(changes) // 2))
    enough = FAR * min(change.size for change in changes if change.worked) if name == "warp" else np.inf
    compared = sum(change.worked or change.size >= enough for change in changes)
    if compared >= needed:
        return None
    longer = ", or a search that went half as far" if name == "warp" else ""
    return f"{compared} of {len(changes)} labels have a working {name}{longer}: expected {needed} or more to compare; another seed may help"


def _hidden(logs: np.ndarray, name: str) -> str | None:
    """Return the reason of sizes that are no single group, or None; see `limits_of_norms`.

    Args:
        logs: (K,) as in `Sizes`.
        name: of the detector.
    """
    groups = split_groups(logs) if np.ptp(logs) > 0 else None
    if groups is None or groups.low > MOST_LOW * len(logs) or groups.chance >= UNUSUAL or groups.distance <= np.log(GROUPS_APART):
        return None
    times = np.exp(groups.distance / UNIT)
    return (
        f"the {name}s fall into two groups, {groups.low} labels with ones {times:.1f} times smaller than those of the other "
        f"{len(logs) - groups.low}: many labels may have a backdoor, and hide each other"
    )


def _moves(change: ChangeResult) -> bool:
    """Return whether a change moves held-out images, which do not get the label without it."""
    rate = change.attack_success_rate
    return rate != 0.0 and upper_bound(rate, change.num_measured) >= LEAST_SUCCESS and not change.zero_trigger_rate > MOST_WITHOUT_TRIGGER


def _broken(changes: Sequence[ChangeResult]) -> str | None:
    labels = ", ".join(str(change.label) for change in changes if change.status is Status.NONFINITE)
    reason = f"the {changes[0].detector} of label {labels} was not searched to the end, because the model's answers became NaN or infinity"
    return reason if labels else None
