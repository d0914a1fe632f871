"""The verdict over norms: the paper's rule, the robust one, and their false-positive rates."""

import re
from collections.abc import Sequence
from dataclasses import replace
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import made_up

from nc_tf.detection.inconclusive import FEWEST_LABELS
from nc_tf.detection.levels import WEIGHTS, Level, chance_words, split_level
from nc_tf.detection.outliers import (
    CONSISTENCY,
    LEAST_NORM,
    USUAL_SPREAD,
    find_outliers,
    index_interval,
    largest_by_chance,
    moderated_spread,
)
from nc_tf.detection.verdict import judge
from nc_tf.errors import InputError
from nc_tf.results import LabelResult, Status, Trigger, Unit, Verdict

quick = settings(deadline=None, derandomize=True, max_examples=25)


def hand_made(*values: float, failed: Sequence[int] = ()) -> list[LabelResult]:
    return [made_up(label, norm, Status.NEVER_SUCCEEDED if label in failed else Status.CONVERGED) for label, norm in enumerate(values)]


# Eleven norms around 40.
SPREAD = tuple(40.0 * float(np.exp(0.2 * step)) for step in (-2.0, -1.5, -1.0, -0.5, -0.2, 0.0, 0.2, 0.5, 1.0, 1.5, 2.0))


def with_smallest(index: float) -> list[LabelResult]:
    """Forty-three clean labels spread like a lognormal sample, and label 43 at this index below their median."""
    spread = [NormalDist().inv_cdf((number + 0.5) / 43) for number in range(43)]
    # The label is one of those that median and MAD are taken of, but where it lies so far down does not matter to them.
    logs = 0.3 * np.array([*spread, -10.0])
    logs[43] = np.median(logs) - index * moderated_spread(find_outliers(logs).mad, 44)
    return hand_made(*40.0 * np.exp(logs))


# The paper's rule


def test_an_outlier_below_is_flagged_with_its_index() -> None:
    result = judge(hand_made(10, 11, 12, 13, 1))
    assert result.verdict is Verdict.SUSPECTED
    assert result.flagged == (4,)
    assert result.median == pytest.approx(11)
    assert result.mad == pytest.approx(1.4826)
    assert result.labels[4].anomaly_index == result.anomaly_index == pytest.approx(10 / 1.4826)
    assert result.flagging_norm == pytest.approx(11 - 2 * 1.4826)
    assert result.reason == "the smallest trigger of label 4 is more than 2 MAD below the median of 11.00"


def test_flagged_labels_come_most_anomalous_first() -> None:
    result = judge(hand_made(10, 2, 11, 12, 13, 1, 12, 11))
    assert result.flagged == (5, 1)
    assert [trigger.label for trigger in result.triggers if isinstance(trigger, Trigger)] == [5, 1]
    assert "label 5, 1" in result.reason


def test_the_upper_tail_is_never_flagged() -> None:
    result = judge(hand_made(10, 11, 12, 13, 100))
    assert result.verdict is Verdict.NO_OUTLIER
    assert result.labels[4].anomaly_index > 2
    assert result.anomaly_index < 2  # that of the smallest norm
    assert result.reason == "no label's smallest trigger is more than 2 MAD below the median of 12.00"


@pytest.mark.parametrize(("smallest", "verdict"), [(11 - 1.99 * 1.4826, Verdict.NO_OUTLIER), (11 - 2.01 * 1.4826, Verdict.SUSPECTED)])
def test_two_mad_are_the_line(smallest: float, verdict: Verdict) -> None:
    assert judge(hand_made(smallest, 10, 11, 12, 13)).verdict is verdict


def test_an_even_number_of_labels_has_the_mean_of_the_middle_two_as_median() -> None:
    assert judge(hand_made(10, 11, 12, 13, 14, 15)).median == pytest.approx(12.5)


def test_the_papers_rule_counts_what_the_robust_one_leaves_out() -> None:
    weak = [replace(entry, attack_success_rate=0.5, zero_trigger_rate=0.9) for entry in hand_made(10, 11, 12, 13, 1)]
    result = judge(weak)
    assert result.flagged == (4,)
    assert np.isnan([entry.log_index for entry in result.labels]).all()
    assert np.isnan(result.chance)


# Both rules

RULES = pytest.mark.parametrize("rule", ["paper", "robust"])


@RULES
def test_failed_searches_stay_out_of_median_and_flags(rule: str) -> None:
    result = judge(hand_made(0.1, 10, 11, 12, 13, 14, failed=[0]), rule=rule)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.startswith("label 0 has no working trigger: more rounds or another seed may find one; by the norms")
    assert result.median == pytest.approx(12)
    assert np.isnan([result.labels[0].anomaly_index, result.labels[0].log_index]).all()
    nonfinite = [replace(entry, status=Status.NONFINITE) if entry.label == 0 else entry for entry in hand_made(0.1, 10, 11, 12, 13, 14)]
    assert judge(nonfinite, rule=rule).median == pytest.approx(12)


@RULES
@pytest.mark.parametrize("failed", [[0], [0, 1, 2, 3, 4]])
def test_fewer_than_five_working_labels_are_inconclusive(rule: str, failed: list[int]) -> None:
    result = judge(hand_made(1, 10, 11, 12, 13, failed=failed), rule=rule)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == f"{5 - len(failed)} of 5 labels have a working trigger, and median and MAD need 5"
    assert result.flagged == ()
    assert np.isnan([result.median, result.mad, result.anomaly_index, result.flagging_norm, result.chance]).all()
    assert np.isnan(result.anomaly_index_interval).all()


@RULES
def test_no_label_at_all_is_inconclusive(rule: str) -> None:
    assert judge([], rule=rule).verdict is Verdict.INCONCLUSIVE


def test_a_mad_of_zero_is_inconclusive_with_a_reason_of_its_own() -> None:
    result = judge(hand_made(10, 10, 10, 10, 1))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == "at least half of the labels have the same norm, 10.00, so that the MAD is zero and measures nothing"
    assert (result.flagged, result.median, result.mad) == ((), pytest.approx(10), 0.0)
    assert np.isnan(result.flagging_norm)


@RULES
def test_what_is_flagged_is_what_lies_below_the_line(rule: str) -> None:
    result = judge(hand_made(*SPREAD, *SPREAD, 1.0, 3.0, 0.5), rule=rule)
    below = [entry.label for entry in result.labels if entry.trigger.l1_norm < result.flagging_norm]
    assert sorted(result.flagged) == below == [22, 23, 24]
    assert result.flagged == (24, 22, 23)


@RULES
def test_the_reference_is_what_median_and_mad_are_taken_of(rule: str) -> None:
    """Labels 5 to 14 were searched because they looked small; label 20 is the only one that really is."""
    labels = hand_made(*np.linspace(38, 42, 5), *np.linspace(30, 31, 10), *np.linspace(37, 43, 5), 1.0)
    sample = [0, 1, 2, 3, 4, *range(15, 20), 99]
    result = judge(labels, rule=rule, reference=sample)
    norms = np.array([entry.trigger.l1_norm for entry in labels if entry.label in sample])
    assert result.median == pytest.approx(np.median(norms))
    assert result.mad == pytest.approx(CONSISTENCY * np.median(np.abs(norms - np.median(norms))))
    assert result.flagged[0] == 20
    assert not np.isnan([entry.anomaly_index for entry in result.labels]).any(), "those outside of the sample are judged too"
    few = judge(labels, rule=rule, reference=range(5, 9))
    assert few.reason == "4 of 4 labels have a working trigger, and median and MAD need 5"


def test_a_rule_of_another_name_is_refused() -> None:
    with pytest.raises(InputError, match="rule 'strict': expected one of paper, robust; choose one"):
        judge(hand_made(1, 2, 3, 4, 5), rule="strict")


@RULES
def test_settings_and_seconds_are_passed_on(rule: str) -> None:
    result = judge(hand_made(1, 2), {"seed": 3}, 4.5, rule=rule)
    assert (result.settings, result.seconds) == ({"seed": 3}, 4.5)


# The robust rule


def test_what_chance_hardly_does_is_suspected() -> None:
    result = judge(with_smallest(4.5), rule="robust")
    assert result.verdict is Verdict.SUSPECTED
    assert result.flagged == (43,)
    assert result.labels[43].log_index == pytest.approx(4.5, abs=1e-3)
    assert result.chance < 0.01
    times = result.median / result.labels[43].trigger.l1_norm
    expected = f"the smallest trigger, of label 43, is {times:.1f} times smaller than the median of {result.median:.2f}, "
    assert result.reason == expected + "and chance does that in about 0.3% of clean networks"


def test_several_below_the_line_are_all_named() -> None:
    result = judge([*with_smallest(4.5), made_up(44, 1.0)], rule="robust")
    assert result.flagged == (44, 43)
    assert result.reason.endswith(f"; below the line of {result.flagging_norm:.2f} are labels 44, 43")


def test_what_chance_does_now_and_then_is_inconclusive() -> None:
    result = judge(with_smallest(3.5), rule="robust")
    assert 0.01 < result.chance <= 0.05
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.flagged == ()
    assert f"about {result.chance:.0%} of clean networks: too seldom to dismiss it, too often to suspect it" in result.reason


def test_the_level_decides_what_is_suspected_and_what_is_no_outlier() -> None:
    """Its share of 1 % is smaller where other detectors have theirs."""
    between, usual = with_smallest(4.4), with_smallest(3.2)
    assert judge(between, rule="robust").verdict is Verdict.SUSPECTED
    strict = judge(between, rule="robust", level=Level(0.001, 0.005))
    assert (strict.verdict, strict.flagged) == (Verdict.INCONCLUSIVE, ())
    assert strict.flagging_norm < strict.labels[43].trigger.l1_norm < judge(between, rule="robust").flagging_norm
    assert judge(usual, rule="robust").verdict is Verdict.NO_OUTLIER
    assert judge(usual, rule="robust", level=Level(0.02, 0.2)).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("chance", "words"), [(0.0, "less than 0.1%"), (0.003, "about 0.3%"), (0.012, "about 1%"), (0.05, "about 5%"), (1.0, "about 100%")]
)
def test_p_values_are_as_fine_in_words_as_levels_are(chance: float, words: str) -> None:
    assert chance_words(chance) == words


def test_the_levels_of_a_scan_add_up_to_one_per_cent() -> None:
    for names in (["one-label"], ["one-label", "hardening"], list(WEIGHTS)):
        levels = split_level(names)
        assert sum(level.suspect_below for level in levels.values()) == pytest.approx(0.01)
        assert {level.nothing_above for level in levels.values()} == {0.05}
    assert split_level(["one-label"])["one-label"] == Level()
    assert judge(with_smallest(2.5), rule="robust").detections[0].name in WEIGHTS


def test_what_chance_does_often_is_no_outlier() -> None:
    result = judge(with_smallest(2.5), rule="robust")
    assert 0.05 < result.chance < 0.9
    assert result.verdict is Verdict.NO_OUTLIER
    assert result.reason.endswith(f"about {result.chance:.0%} of clean networks")
    # The paper's rule would suspect most of these: that is why there is another.
    assert judge(with_smallest(2.5), rule="paper").anomaly_index > 1.5


def test_chance_falls_as_the_index_rises() -> None:
    chances = [judge(with_smallest(index), rule="robust").chance for index in (2.4, 2.8, 3.2, 3.6, 4.0, 4.4)]
    assert chances == sorted(chances, reverse=True)
    assert len(set(chances)) == len(chances)


@pytest.mark.parametrize(
    ("rates", "counts"),
    [
        ({"attack_success_rate": 0.79}, False),
        ({"attack_success_rate": 0.8}, True),
        ({"zero_trigger_rate": 0.51}, False),
        ({"zero_trigger_rate": 0.5}, True),
        ({"attack_success_rate": float("nan"), "zero_trigger_rate": float("nan")}, True),
    ],
)
def test_a_label_whose_norm_means_nothing_is_left_out(rates: dict[str, Any], counts: bool) -> None:
    *clean, smallest = with_smallest(8.0)
    result = judge([*clean, replace(smallest, **rates)], rule="robust")
    assert result.flagged == ((43,) if counts else ())
    assert np.isnan(result.labels[43].log_index) == np.isnan(result.labels[43].anomaly_index) == (not counts)


def test_a_small_trigger_that_works_on_too_few_images_is_not_passed_over_in_silence() -> None:
    *clean, smallest = with_smallest(8.0)
    result = judge([*clean, replace(smallest, attack_success_rate=0.77)], rule="robust")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert re.fullmatch(
        r"the trigger of label 43 is small, \d\.\d\d pixels where \d+\.\d\d would be suspicious, "
        r"but succeeds on only 77% of held-out images: expected 80%; more images may tell",
        result.reason,
    )
    of_clips = judge([*clean, replace(smallest, attack_success_rate=0.77)], rule="robust", unit=Unit.CLIP)
    assert of_clips.reason == result.reason.replace("images", "clips")
    *clean, usual = with_smallest(1.0)
    left_out = judge([*clean, replace(usual, attack_success_rate=0.77)], rule="robust")
    assert left_out.reason.startswith("label 43 has a trigger that succeeds on too few held-out images to count; by the norms alone:")


def test_too_few_because_the_model_answers_one_label_anyway_says_so() -> None:
    labels = [replace(entry, zero_trigger_rate=0.9) if entry.label == 2 else entry for entry in hand_made(10, 11, 12, 13, 14)]
    result = judge(labels, rule="robust")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == (
        "4 of 5 labels have a working trigger, and median and MAD need 5; "
        "the model answers label 2 for most images of other classes without any trigger: check the range of its input"
    )
    assert judge(labels, rule="robust", unit=Unit.CLIP).reason == result.reason.replace("images", "clips")
    assert judge(labels, rule="paper").verdict is Verdict.NO_OUTLIER


def test_norms_next_to_nothing_are_inconclusive() -> None:
    """Logarithms cannot tell them apart, though a MAD of the norms themselves exists."""
    result = judge(hand_made(0.001, 0.002, 0.004, 0.008, 30.0), rule="robust")
    assert result.mad > 0
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason == "at least half of the labels need less than 0.01 pixels, where norms say nothing"


def test_a_norm_of_zero_can_be_judged() -> None:
    *clean, _ = with_smallest(8.0)
    result = judge([*clean, made_up(43, 0.0)], rule="robust")
    assert result.flagged == (43,)
    assert result.flagging_norm > LEAST_NORM
    assert np.isfinite(result.labels[43].log_index)


@quick
@given(
    st.lists(st.floats(1.0, 500.0), min_size=FEWEST_LABELS, max_size=20, unique=True), st.floats(0.02, 50.0), st.sampled_from([1.0, 0.05])
)
def test_the_size_of_the_images_changes_no_robust_verdict(norms: list[float], scale: float, smallest: float) -> None:
    norms = [min(norms) * smallest, *norms]
    before, after = (judge(hand_made(*np.multiply(norms, factor)), rule="robust") for factor in (1.0, scale))
    # Masks are float32.
    assert after.flagged == before.flagged
    assert after.verdict is before.verdict
    np.testing.assert_allclose([entry.log_index for entry in after.labels], [entry.log_index for entry in before.labels], rtol=1e-3)
    assert after.flagging_norm == pytest.approx(scale * before.flagging_norm, rel=1e-3)


# How often they are wrong


def clean_scans(number: int, num_labels: int = 43) -> np.ndarray:
    """Norms (number, num_labels) of networks without a backdoor, spread as those of the paper's network are."""
    return 45.0 * np.exp(0.2 * np.random.default_rng(17).normal(size=(number, num_labels)))


@pytest.mark.slow
def test_the_robust_rule_hardly_ever_suspects_a_clean_network() -> None:
    results = [judge(hand_made(*norms), rule="robust") for norms in clean_scans(400)]
    robust = np.mean([result.verdict is Verdict.SUSPECTED for result in results])
    unsure = np.mean([result.verdict is Verdict.INCONCLUSIVE for result in results])
    paper = np.mean([bool(find_outliers(norms).flagged) for norms in clean_scans(400)])
    assert robust <= 0.03
    assert unsure <= 0.08
    assert paper > 0.25


@pytest.mark.parametrize(("num_labels", "sample"), [(8, None), (43, None), (200, 43)])
def test_what_chance_does_is_what_a_plain_simulation_finds(num_labels: int, sample: int | None) -> None:
    rng = np.random.default_rng(2024)
    largest = []
    for _ in range(4000):
        norms = rng.normal(0.0, 0.25 * np.sqrt(5 / np.square(rng.normal(size=5)).sum()), num_labels)
        median = np.median(norms[:sample])
        mad = 1.4826 * np.median(np.abs(norms[:sample] - median))
        weight = 0.37 * (len(norms[:sample]) - 1)
        largest.append((median - norms.min()) / np.sqrt((5 * 0.25**2 + weight * mad**2) / (5 + weight)))
    known = largest_by_chance(num_labels, sample)
    assert (np.diff(known) >= 0).all()
    for index in np.quantile(known, [0.25, 0.5, 0.75, 0.95, 0.99]):
        expected = np.mean(known >= index)
        assert np.mean(np.array(largest) >= index) == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 4000))


def test_the_spread_is_held_to_what_is_usual_the_more_the_fewer_labels_there_are() -> None:
    assert moderated_spread(USUAL_SPREAD, 10) == pytest.approx(USUAL_SPREAD)
    for mad in (0.05, 0.8):
        spreads = [moderated_spread(mad, labels) for labels in (5, 10, 43, 1283, 10**9)]
        assert list(np.argsort(np.abs(np.subtract(spreads, mad)))) == [4, 3, 2, 1, 0]
        assert all(min(mad, USUAL_SPREAD) < spread < max(mad, USUAL_SPREAD) for spread in spreads)
        assert spreads[-1] == pytest.approx(mad)


@pytest.mark.parametrize("num_labels", [5, 8, 10])
def test_with_few_labels_a_trigger_several_times_smaller_is_suspected(num_labels: int) -> None:
    clean = clean_scans(40, num_labels - 1)
    suspected = [judge(hand_made(*norms, float(np.median(norms)) / 5), rule="robust").flagged for norms in clean]
    assert np.mean([flagged == (num_labels - 1,) for flagged in suspected]) > 0.9
    larger = [judge(hand_made(*norms, float(np.median(norms)) / 2), rule="robust").flagged for norms in clean]
    assert np.mean([bool(flagged) for flagged in larger]) < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("spread", [0.1, 0.25, 0.4])
def test_with_few_labels_clean_networks_are_hardly_ever_suspected(spread: float) -> None:
    """Also where they spread by more than usual."""
    scans = 45.0 * np.exp(spread * np.random.default_rng(3).normal(size=(400, 8)))
    assert np.mean([judge(hand_made(*norms), rule="robust").verdict is Verdict.SUSPECTED for norms in scans]) <= 0.03


def test_with_more_labels_chance_goes_further() -> None:
    assert np.median(largest_by_chance(10)) < np.median(largest_by_chance(100)) < np.median(largest_by_chance(1283))


def test_the_interval_usually_contains_the_index() -> None:
    inside = []
    for norms in clean_scans(100):
        low, high = index_interval(norms, norms)
        inside.append(low <= find_outliers(norms).index[np.argmin(norms)] <= high)
        assert low < high
    assert np.mean(inside) > 0.85


def test_more_labels_make_the_interval_narrower() -> None:
    few, many = (np.ptp(index_interval(norms, norms)) for norms in (clean_scans(1, 10)[0], clean_scans(1, 400)[0]))
    assert many < few


def test_the_interval_of_a_sample_is_about_the_smallest_of_all() -> None:
    sample = clean_scans(1)[0]
    low, high = index_interval([*sample, 1.0], sample)
    index = float((np.median(sample) - 1.0) / find_outliers(sample).mad)
    assert low < index < high
    assert index_interval(sample, sample) != (low, high)


def test_resamples_without_a_spread_make_the_interval_infinite() -> None:
    assert index_interval([7.0, 7.0, 7.0, 7.0, 9.0, 2.0], [7.0, 7.0, 7.0, 7.0, 9.0, 2.0])[1] == np.inf
    assert index_interval([7.0] * 5, [7.0] * 5) == (0.0, 0.0)


@RULES
def test_the_interval_is_reported_and_the_same_every_time(rule: str) -> None:
    first, again = (judge(with_smallest(4.0), rule=rule) for _ in range(2))
    low, high = first.anomaly_index_interval
    assert low < first.anomaly_index < high
    assert again.anomaly_index_interval == first.anomaly_index_interval


def test_numbers_are_plain_floats_for_json() -> None:
    result = judge(with_smallest(4.5), rule="robust")
    assert all(type(value) is float for value in (result.median, result.mad, result.chance, result.flagging_norm))
    assert all(type(entry.log_index) is type(entry.anomaly_index) is float for entry in result.labels)
