"""Reasons for an inconclusive scan: too few or too similar images, norms in two groups, labels that were not searched."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import NUM_CLASSES, corner_images, corner_network
from quick import QUICK, made_up

from nc_tf.detection.inconclusive import (
    FEWEST_CLASSES,
    FEWEST_IMAGES,
    Limit,
    limit_of_recognition,
    limit_of_unknown_classes,
    limits_of_images,
)
from nc_tf.detection.outliers import split_groups, spread_chance
from nc_tf.detection.rates import upper_bound
from nc_tf.detection.recognition import Recognition
from nc_tf.detection.verdict import judge
from nc_tf.results import LabelResult, Status, Unit, Verdict
from nc_tf.scanning.scan import scan

IMAGES, LABELS = corner_images(120)
ROWS = np.arange(120)
CLEAN = [30.0 * float(np.exp(0.2 * step)) for step in (-1.6, -1.0, -0.6, -0.3, -0.1, 0.1, 0.3, 0.6, 1.0, 1.6)]


def results(*norms: float) -> list[LabelResult]:
    return [made_up(label, norm) for label, norm in enumerate(norms)]


# The verdict under limits


def test_a_limit_turns_no_outlier_into_inconclusive_and_leaves_a_suspicion() -> None:
    limit = Limit("too little is recognised")
    silent = judge(results(*CLEAN), rule="robust", limits=[limit])
    assert silent.verdict is Verdict.INCONCLUSIVE
    assert silent.reason.startswith("too little is recognised; by the norms alone: the smallest trigger, of label 0, is")
    suspected = judge(results(*CLEAN, 1.0), rule="robust", limits=[limit])
    assert (suspected.verdict, suspected.flagged) == (Verdict.SUSPECTED, (10,))
    assert suspected.warnings == ("too little is recognised",)


def test_a_limit_that_blocks_leaves_no_suspicion_either() -> None:
    result = judge(results(*CLEAN, 1.0), rule="robust", limits=[Limit("nothing is recognised", blocks_suspicion=True)])
    assert (result.verdict, result.flagged) == (Verdict.INCONCLUSIVE, ())
    assert result.reason.startswith("nothing is recognised; by the norms alone:")


@pytest.mark.parametrize("rule", ["paper", "robust"])
@pytest.mark.parametrize(
    ("infected", "clean"),
    [(5, 5), (8, 7), (21, 22), (3, 3)],
)
def test_half_of_the_labels_infected_is_never_no_outlier(rule: str, infected: int, clean: int) -> None:
    spread = np.exp(np.random.default_rng(infected).normal(0, 0.25, infected + clean))
    result = judge(results(*4.0 * spread[:infected], *50.0 * spread[infected:]), rule=rule)
    assert result.verdict is not Verdict.NO_OUTLIER
    assert "hide each other" in result.reason or result.flagged


def test_norms_in_two_groups_are_described() -> None:
    """More than half of the labels are small, so that it is open which group is the usual one."""
    result = judge(results(3.9, 4.0, 4.1, 4.2, 4.3, 4.4, 40.0, 41.0, 42.0, 43.0), rule="robust")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.startswith(
        "the norms fall into two groups, 6 labels with norms 10.0 times smaller than those of the other 4: many labels may have a backdoor"
    )


def test_what_is_flagged_is_no_second_group() -> None:
    result = judge(results(*CLEAN, 3.0, 3.3, 3.6), rule="robust")
    assert (result.flagged, result.warnings) == ((10, 11, 12), ())


def test_norms_that_spread_as_no_clean_networks_do_are_inconclusive() -> None:
    result = judge(results(*np.exp(np.linspace(0.5, 4.5, 12))), rule="robust")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the norms spread by a factor of" in result.reason


def test_a_label_that_could_not_be_searched_forbids_no_outlier() -> None:
    broken = [*results(*CLEAN), replace(made_up(10, 1.0), status=Status.NONFINITE)]
    result = judge(broken, rule="robust")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.startswith("label 10 was not searched to the end, because the model's answers became NaN or infinity")


def test_a_search_that_broke_down_does_not_hide_what_another_found() -> None:
    small = replace(made_up(10, 1.0), broke_down=True)
    result = judge([*results(*CLEAN), small], rule="robust")
    assert (result.verdict, result.flagged) == (Verdict.SUSPECTED, (10,))
    assert result.warnings == ("label 10 was not searched to the end, because the model's answers became NaN or infinity",)
    assert judge([*results(*CLEAN), replace(small, trigger=made_up(10, 30.0).trigger)], rule="robust").verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"attack_success_rate": 0.5, "num_measured": 600}, "label 10, 11 has a trigger that succeeds on too few held-out images to count"),
        ({"zero_trigger_rate": 0.7, "num_measured": 600}, "label 10, 11 is given to most images of other classes without any trigger"),
        ({"zero_trigger_rate": 1.0, "num_measured": 4}, "label 10, 11 is given to most images of other classes without any trigger"),
    ],
)
def test_labels_that_are_left_out_are_named_and_forbid_no_outlier(change: dict[str, Any], reason: str) -> None:
    left_out = [replace(made_up(label, 30.0), **change) for label in (10, 11)]
    result = judge([*results(*CLEAN), *left_out], rule="robust")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.startswith(f"{reason}; by the norms alone:")


def test_a_few_labels_that_are_hard_to_reach_are_no_second_group() -> None:
    result = judge(results(*CLEAN, *CLEAN, *CLEAN, 400.0, 410.0), rule="robust")
    assert result.verdict is Verdict.NO_OUTLIER


def test_four_equal_norms_and_a_small_one_are_judged_by_the_moderated_spread() -> None:
    result = judge(results(3.0, 50.0, 50.0, 50.0, 50.0), rule="robust")
    assert (result.verdict, result.flagged, result.mad) == (Verdict.SUSPECTED, (0,), 0.0)


@pytest.mark.parametrize(("hits", "counts"), [(5, True), (4, True), (3, False)])
def test_a_rate_of_eight_images_drops_a_label_only_where_it_must_be_low(hits: int, counts: bool) -> None:
    """Of eight images five that obey are compatible with a rate of .8, three are not."""
    eighth = replace(made_up(10, 30.0), attack_success_rate=hits / 8, num_measured=8)
    judged = judge([*results(*CLEAN), eighth], rule="robust").labels[10]
    assert np.isfinite(judged.log_index) == counts


def test_norms_of_clean_networks_are_one_group() -> None:
    result = judge(results(*CLEAN), rule="robust")
    assert result.verdict is Verdict.NO_OUTLIER


# The statistics


def test_the_best_split_is_the_one_that_leaves_the_least_variance() -> None:
    groups = split_groups(np.array([1.0, 5.0, 1.2, 5.1, 0.9, 4.9]))
    assert (groups.low, round(groups.distance, 2)) == (3, 3.97)
    assert groups.chance < 0.01
    assert split_groups(np.random.default_rng(1).normal(size=20)).chance > 0.05


@given(st.floats(0.1, 10), st.floats(-5, 5))
def test_the_chance_of_a_split_depends_on_no_scale_and_no_place(scale: float, place: float) -> None:
    values = np.array([0.0, 0.1, 0.3, 1.0, 1.1, 1.4])
    assert split_groups(values * scale + place).chance == pytest.approx(split_groups(values).chance, abs=1e-3)


def test_wide_spreads_are_rare() -> None:
    chances = [spread_chance(mad, 43) for mad in (0.1, 0.25, 0.5, 1.0)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.9
    assert chances[-1] < 0.01


@given(st.integers(1, 500), st.floats(0, 1))
def test_binomial_bounds_hold_the_measured_rate(count: int, share: float) -> None:
    rate = round(share * count) / count
    assert rate <= upper_bound(rate, count) <= 1.0


def test_binomial_bounds_are_those_of_clopper_and_pearson() -> None:
    assert upper_bound(0.0, 10) == pytest.approx(1 - 0.05 ** (1 / 10))
    assert upper_bound(1.0, 10) == 1.0
    assert (upper_bound(float("nan"), 10), upper_bound(0.3, 0), upper_bound(0.3, None)) == (1.0, 1.0, 0.3)


# The images


def test_images_that_are_few_or_alike_say_how_many_there_are() -> None:
    few = limits_of_images(np.repeat(IMAGES[:3], 40, axis=0), ROWS, LABELS, NUM_CLASSES)
    assert [limit.reason for limit in few] == [
        f"3 different images to search on: expected {FEWEST_IMAGES} or more; give more: small norms mean nothing with so few"
    ]
    assert few[0].blocks_suspicion


def test_images_of_two_classes_say_how_many_there_are() -> None:
    [limit] = limits_of_images(IMAGES, ROWS, LABELS % 2, 43)
    assert limit.reason.startswith(f"images of 2 of the model's 43 classes to search on: expected {FEWEST_CLASSES} or more; add others")
    assert limits_of_images(IMAGES, ROWS, LABELS % 2, 2) == []
    assert limits_of_images(IMAGES, ROWS, LABELS, NUM_CLASSES) == []


@pytest.mark.parametrize(("accuracy", "limits", "blocks"), [(0.95, 0, False), (0.3, 1, False), (0.12, 1, True)])
def test_how_much_is_recognised_decides_what_may_be_said(accuracy: float, limits: int, blocks: bool) -> None:
    found = limit_of_recognition(Recognition(accuracy, 0.1, 500))
    assert (len(found), any(limit.blocks_suspicion for limit in found)) == (limits, blocks)
    words = "the classes of the clips are not given, so that it is not known how many of them the model recognises"
    assert limit_of_unknown_classes(Unit.CLIP, raw_assumed=False) == Limit(words)
    assumed = f"{words}, and the intensity range raw was assumed: give the classes, or name the range"
    assert limit_of_unknown_classes(Unit.CLIP, raw_assumed=True) == Limit(assumed, blocks_suspicion=True)


# The whole scan


def test_a_scan_with_labels_of_another_data_set_ends_before_it_searches() -> None:
    result = scan(corner_network(3), IMAGES, (LABELS + 1) % NUM_CLASSES, preset="paper", settings=QUICK)
    assert (result.verdict, result.model_accuracy) == (Verdict.INCONCLUSIVE, 0.0)
    assert "with its classes numbered in another order, it would recognise 100%" in result.reason
    assert {(entry.status, entry.rounds) for entry in result.labels} == {(Status.NEVER_SUCCEEDED, 0)}
    assert len(result.labels) == NUM_CLASSES
