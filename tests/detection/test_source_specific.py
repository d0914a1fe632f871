"""The verdict over triggers of one class alone, from results that were made up."""

from dataclasses import replace

import numpy as np
import pytest

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.detection.source_specific import candidates, judge_sources
from nc_tf.results import SourceResult, Status, Verdict

SIDE, CLASSES = 16, 6
NATURAL = (20.0, 22.0, 24.0, 26.0, 28.0)


def result(source: int, norm: float, after: float = float("nan"), rate: float = 0.95) -> SourceResult:
    """The result of a search that never was: the source goes to the class before it."""
    targets = tuple((source - 1) % CLASSES if label == source else label for label in range(CLASSES))
    trigger = AllToAllTrigger(np.full((SIDE, SIDE), norm / SIDE**2, np.float32), np.zeros((SIDE, SIDE, 3), np.float32), targets)
    return SourceResult(source, trigger, Status.MAX_ROUNDS, rate, 0.98, 40, 2, 32, after)


def all_of(first: SourceResult) -> list[SourceResult]:
    """That result, and natural ones whose norms rise as usual."""
    return [first, *(result(source, norm, 1.8 * norm) for source, norm in enumerate(NATURAL, 1))]


def test_a_small_trigger_whose_norm_rises_is_suspicious() -> None:
    found = judge_sources(all_of(result(0, 4.0, 24.0)), CLASSES)
    assert found.verdict is Verdict.SUSPECTED
    assert found.pairs == ((0, 5),)
    # log(median of 23 / 4) + log(24 / 4).
    assert found.statistic == pytest.approx(np.log(23.0 / 4.0) + np.log(6.0), abs=1e-4)
    assert "class 0 to 5 from 4.00 to 24.00 pixels" in found.reason


def test_neither_a_small_norm_nor_a_rise_is_enough() -> None:
    assert judge_sources(all_of(result(0, 4.0, 5.0)), CLASSES).verdict is Verdict.NO_OUTLIER
    assert judge_sources(all_of(result(0, 19.0, 100.0)), CLASSES).verdict is Verdict.NO_OUTLIER


def test_between_the_lines_nothing_is_said() -> None:
    found = judge_sources(all_of(result(0, 7.0, 19.0)), CLASSES)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "too far to dismiss it, too little to suspect it" in found.reason


@pytest.mark.parametrize("changed", [{"attack_success_rate": 0.4}, {"kept_rate": 0.3}, {"status": Status.NEVER_SUCCEEDED}])
def test_a_trigger_that_does_something_else_does_not_count(changed: dict[str, object]) -> None:
    odd = replace(result(0, 4.0, 24.0), **changed)  # type: ignore[arg-type]
    assert judge_sources(all_of(odd), CLASSES).verdict is Verdict.NO_OUTLIER


def test_images_that_go_to_several_labels_are_not_suspicious_but_open() -> None:
    found = judge_sources(all_of(replace(result(0, 4.0, 24.0), attack_success_rate=0.75)), CLASSES)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "but that leads only 75% of held-out images of the class to the label" in found.reason


def test_one_image_of_few_may_be_missed() -> None:
    few = replace(result(0, 4.0, 24.0), attack_success_rate=0.75, num_measured=8)
    assert judge_sources(all_of(few), CLASSES).verdict is Verdict.SUSPECTED


def test_a_twin_without_any_trigger_counts_as_the_largest_norm() -> None:
    found = judge_sources(all_of(result(0, 4.0, float("inf"))), CLASSES)
    assert found.verdict is Verdict.SUSPECTED
    assert found.statistic == pytest.approx(np.log(23.0 / 4.0) + np.log(28.0 / 4.0), abs=1e-4)
    assert found.reason.endswith("from 4.00 to none that works")


def test_what_was_not_searched_is_said() -> None:
    missing = judge_sources(all_of(result(0, 19.0, 30.0))[:5], CLASSES)
    assert missing.verdict is Verdict.INCONCLUSIVE
    assert "1 of 6 classes have no recognised images to search on" in missing.reason
    broken = judge_sources(all_of(replace(result(0, 19.0, 30.0), status=Status.NONFINITE)), CLASSES)
    assert broken.verdict is Verdict.INCONCLUSIVE
    assert "the search from class 0 did not end, because the model's answers became NaN or infinity" in broken.reason
    hardened = judge_sources(all_of(result(0, 19.0)), CLASSES, "the model could not be hardened (no copy)")
    assert hardened.reason.startswith("the model could not be hardened (no copy)")
    none = [replace(one, status=Status.NEVER_SUCCEEDED) for one in all_of(result(0, 4.0))]
    assert judge_sources(none, CLASSES).verdict is Verdict.NO_OUTLIER


def test_small_working_triggers_are_worth_a_second_search() -> None:
    results = all_of(result(0, 4.0))
    assert candidates(results) == [0, 1, 2]
    assert candidates([replace(results[0], status=Status.NEVER_SUCCEEDED), *results[1:]]) == [1, 2, 3]
    assert candidates([]) == []
