"""Rises of the norm after hardening: which are planted, which natural, and what stays open."""

import math

import pytest

from nc_tf.detection.rises import (
    LARGE_FROM,
    MOST_LOST,
    NATURAL_TO,
    PLANTED_FROM,
    Rise,
    RiseVerdict,
    judge_rises,
    judge_scores,
    lost_accuracy,
)

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


def scored(first: Rise, accuracy: float = 0.9) -> RiseVerdict:
    """The judgement of that rise beside two natural ones; the median of all labels is 40 pixels."""
    return judge_scores([first, Rise(1, 30.0, 50.0, 0.0), Rise(2, 38.0, 60.0, 0.0)], 40.0, 0.9, accuracy)


def test_a_score_is_that_of_a_small_norm_and_its_rise() -> None:
    found = scored(Rise(0, 5.0, 35.0, 0.0))
    assert [rise.label for rise in found.planted] == [0]
    assert found.statistic == pytest.approx(math.log(40.0 / 5.0) + math.log(35.0 / 5.0))
    natural = scored(Rise(0, 20.0, 50.0, 0.0))
    assert (natural.planted, natural.open) == ((), ())
    assert natural.statistic == pytest.approx(math.log(2.0) + math.log(2.5))


def test_labels_that_a_backdoor_made_easier_are_not_planted_themselves() -> None:
    found = judge_scores([Rise(0, 4.0, 60.0, 0.0), Rise(1, 5.0, 60.0, 0.0), Rise(2, 10.0, 40.0, 0.0)], 40.0, 0.9, 0.9)
    assert [rise.label for rise in found.planted] == [0, 1]


@pytest.mark.parametrize(
    ("first", "words"),
    [
        (Rise(0, 12.0, 33.0, 0.0), "grows from 12.00 to 33.00 pixels by hardening: too far to dismiss it, too little to suspect it"),
        (Rise(0, 5.0, 5.0, 0.9), "the trigger of label 0 still moves 90% of the images after hardening"),
        (Rise(0, 5.0, 35.0, math.nan), "still moves nan% of the images"),
        (Rise(0, 5.0, math.nan, 0.0), "label 0 has no working trigger on the hardened twin"),
    ],
)
def test_a_small_trigger_is_not_dismissed_without_its_score(first: Rise, words: str) -> None:
    found = scored(first)
    assert found.planted == ()
    assert words in "; ".join(found.open)


def test_a_large_trigger_needs_no_score() -> None:
    for first in (Rise(0, 35.0, 36.0, 0.9), Rise(0, 35.0, math.nan, 0.0)):
        assert scored(first).open == ()


def test_a_twin_that_lost_accuracy_is_another_network() -> None:
    assert scored(Rise(0, 5.0, 35.0, 0.0), accuracy=0.7).planted == ()
    assert lost_accuracy(0.9, 0.9 - MOST_LOST + 1e-9) is None
    assert "recognises 70% of the held-out images, the model 90%" in str(lost_accuracy(0.9, 0.7))
    assert lost_accuracy(0.9, math.nan) is not None
