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
    again = None if np.isnan(after) else Status.MAX_ROUNDS
    return SourceResult(source, trigger, Status.MAX_ROUNDS, rate, 0.98, 40, 2, 32, again, after, 0.05)


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


@pytest.mark.parametrize("changed", [{"attack_success_rate": 0.3}, {"kept_rate": 0.3}, {"status": Status.NEVER_SUCCEEDED}])
def test_a_trigger_that_does_something_else_does_not_count(changed: dict[str, object]) -> None:
    odd = replace(result(0, 4.0, 24.0), **changed)  # type: ignore[arg-type]
    assert judge_sources(all_of(odd), CLASSES).verdict is Verdict.NO_OUTLIER


@pytest.mark.parametrize("rate", [0.6, 0.65, 0.7, 0.75])
def test_images_that_go_to_several_labels_are_not_suspicious_but_open(rate: float) -> None:
    found = judge_sources(all_of(replace(result(0, 4.0, 24.0), attack_success_rate=rate)), CLASSES)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"which leads {rate:.0%} of 40 held-out images of the class to the label" in found.reason


@pytest.mark.parametrize("changed", [{"num_measured": 2, "attack_success_rate": 1.0}, {"attack_success_rate": float("nan")}])
def test_too_little_evidence_is_open(changed: dict[str, float]) -> None:
    few = replace(result(0, 4.0, 24.0), **changed)  # type: ignore[arg-type]
    assert judge_sources(all_of(few), CLASSES).verdict is Verdict.INCONCLUSIVE


def test_a_trigger_that_hardening_left_in_is_open() -> None:
    found = judge_sources(all_of(replace(result(0, 4.0, 4.0), left_rate=0.9)), CLASSES)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the small trigger of class 0 still moves 90% of its images after hardening" in found.reason
    assert judge_sources(all_of(replace(result(0, 19.0, 19.0), left_rate=0.9)), CLASSES).verdict is Verdict.NO_OUTLIER


def test_one_image_of_few_may_be_missed() -> None:
    few = replace(result(0, 4.0, 24.0), attack_success_rate=0.75, num_measured=8)
    assert judge_sources(all_of(few), CLASSES).verdict is Verdict.SUSPECTED


def unfound(source: int, norm: float) -> SourceResult:
    """A result whose class no trigger reaches on the hardened twin."""
    return replace(result(source, norm, 0.0), again=Status.NEVER_SUCCEEDED, norm_after=float("nan"))


def test_a_twin_without_any_trigger_counts_as_the_largest_norm() -> None:
    found = judge_sources(all_of(unfound(0, 4.0)), CLASSES)
    assert found.verdict is Verdict.SUSPECTED
    assert found.statistic == pytest.approx(np.log(23.0 / 4.0) + np.log(28.0 / 4.0), abs=1e-4)
    assert "from 4.00 to none that works, where the median of all classes is 23.00" in found.reason
    # Where that is not enough, nothing is known of a small one.
    assert "it cannot be compared" in judge_sources(all_of(unfound(0, 11.0)), CLASSES).reason


def test_what_was_not_searched_is_said() -> None:
    def reason(results: list[SourceResult], problem: str | None = None) -> str:
        found = judge_sources(results, CLASSES, problem)
        assert found.verdict is Verdict.INCONCLUSIVE
        return found.reason

    usual = result(0, 19.0, 30.0)
    assert "1 of 6 classes have too few recognised images to search on" in reason(all_of(usual)[:5])
    assert "class 0 has no recognised held-out images" in reason(all_of(replace(usual, num_measured=0)))
    broken = "the search from class 0 did not end, because the model's answers became NaN or infinity"
    assert broken in reason(all_of(replace(usual, status=Status.NONFINITE)))
    assert broken in reason(all_of(replace(usual, again=Status.NONFINITE)))
    assert reason(all_of(result(0, 19.0)), "the model could not be hardened (no copy)").startswith(
        "the model could not be hardened (no copy)"
    )
    failed = [replace(one, status=Status.NEVER_SUCCEEDED) for one in all_of(result(0, 4.0))]
    assert "only 0 of 6 classes have a working trigger of their own" in reason(failed)
    assert "only 1 of 6 classes have a working trigger" in reason([result(0, 4.0, 24.0), *failed[1:]])


def test_a_class_without_a_working_trigger_counts_as_the_largest() -> None:
    results = all_of(result(0, 4.0, 24.0))
    results[1:3] = [replace(one, status=Status.NEVER_SUCCEEDED) for one in results[1:3]]
    found = judge_sources(results, CLASSES)
    assert found.verdict is Verdict.SUSPECTED
    assert found.statistic == pytest.approx(np.log(27.0 / 4.0) + np.log(6.0), abs=1e-4)


def test_small_working_triggers_are_worth_a_second_search() -> None:
    results = all_of(result(0, 4.0))
    assert candidates(results) == [0, 1, 2]
    assert candidates([replace(results[0], status=Status.NEVER_SUCCEEDED), *results[1:]]) == [1, 2, 3]
    assert candidates([]) == []
