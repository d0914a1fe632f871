"""Rises of the norm after hardening: which are planted, which natural, and what stays open."""

import math

import pytest

from nc_tf.detection.rises import LARGE_FROM, NATURAL_TO, PLANTED_FROM, Rise, judge_rises

PIXELS = 1024
SMALL, LARGE = 0.5 * LARGE_FROM * PIXELS, 1.5 * LARGE_FROM * PIXELS


def rise(label: int, factor: float, before: float = SMALL, left: float = 0.0) -> Rise:
    return Rise(label, before, factor * before, left)


def test_a_trigger_that_grows_is_planted_and_one_that_does_not_is_natural() -> None:
    judged = judge_rises([rise(0, 1.2), rise(1, 8.0)], PIXELS, 0.9, 0.9)
    assert [found.label for found in judged.planted] == [1]
    assert judged.open == ()
    assert judged.statistic == pytest.approx(8.0)


def test_all_labels_may_be_planted_largest_rise_first() -> None:
    judged = judge_rises([rise(0, 5.0), rise(1, 17.0), rise(2, 1.0)], PIXELS, 0.9, 0.88)
    assert [found.label for found in judged.planted] == [1, 0]


def test_nothing_is_planted_or_open_where_no_norm_grows() -> None:
    judged = judge_rises([rise(0, 0.9), rise(1, NATURAL_TO)], PIXELS, 0.9, 0.9)
    assert (judged.planted, judged.open) == ((), ())


@pytest.mark.parametrize(("before", "is_open"), [(SMALL, True), (LARGE, False)])
def test_a_rise_between_the_lines_is_open_for_a_small_trigger_alone(before: float, is_open: bool) -> None:
    judged = judge_rises([rise(1, (NATURAL_TO + PLANTED_FROM) / 2, before)], PIXELS, 0.9, 0.9)
    assert judged.planted == ()
    assert ["label 1 grows 2.8 times" in sentence for sentence in judged.open] == [True] * is_open


def test_a_large_trigger_that_grows_far_is_planted_too() -> None:
    assert judge_rises([rise(1, PLANTED_FROM, LARGE)], PIXELS, 0.9, 0.9).planted


@pytest.mark.parametrize(("before", "after", "where"), [(math.nan, 20.0, "model"), (20.0, math.nan, "hardened twin")])
def test_a_label_without_a_working_trigger_is_open(before: float, after: float, where: str) -> None:
    judged = judge_rises([Rise(0, before, after, 0.0), rise(1, 8.0)], PIXELS, 0.9, 0.9)
    assert f"label 0 has no working trigger on the {where}" in judged.open[0]
    assert [found.label for found in judged.planted] == [1]


def test_no_rise_is_no_statistic() -> None:
    assert math.isnan(judge_rises([Rise(0, math.nan, math.nan, 0.0)], PIXELS, 0.9, 0.9).statistic)


def test_a_trigger_that_was_not_unlearned_is_open_however_it_grows() -> None:
    judged = judge_rises([rise(0, 8.0, left=0.5)], PIXELS, 0.9, 0.9)
    assert judged.planted == ()
    assert "still moves 50%" in judged.open[0]


@pytest.mark.parametrize("twin_accuracy", [0.7, math.nan])
def test_a_twin_that_lost_its_task_says_nothing(twin_accuracy: float) -> None:
    judged = judge_rises([rise(0, 8.0)], PIXELS, 0.9, twin_accuracy)
    assert judged.planted == ()
    assert len(judged.open) == 1
    assert "give more images" in judged.open[0]


def test_a_trigger_that_was_not_measured_on_the_twin_is_open() -> None:
    judged = judge_rises([Rise(1, SMALL, 10 * SMALL, float("nan"))], PIXELS, 0.9, 0.9)
    assert judged.planted == ()
    assert len(judged.open) == 1


def test_a_twin_that_is_far_better_is_another_network() -> None:
    judged = judge_rises([rise(1, 10.0)], PIXELS, 0.5, 0.9)
    assert judged.planted == ()
    assert "expected a difference of 10% at most" in judged.open[0]
