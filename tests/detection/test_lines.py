"""The line that is drawn anew: several targets, half of the labels, and how often a clean label lies below it."""

from random import Random
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import made_up

from nc_tf.detection.levels import WHOLE, Level, split_level
from nc_tf.detection.lines import Lines, draw_lines
from nc_tf.detection.outliers import CONSISTENCY, FEWEST_LABELS, GROUP_GAP, largest_by_chance, log_norms, lower_groups, moderated_spread
from nc_tf.detection.verdict import judge
from nc_tf.results import Verdict

quick = settings(deadline=None, derandomize=True, max_examples=40)
STRICT = split_level(("one-label", "all-to-all", "picture", "warp"))["one-label"]
LOGS = st.lists(st.floats(-3.0, 5.0), min_size=FEWEST_LABELS, max_size=12, unique=True).map(np.array)


def clean(count: int, median: float = 40.0, spread: float = 0.25) -> list[float]:
    """Norms like those of labels without a backdoor, as evenly spread as a normal distribution is."""
    return [median * float(np.exp(spread * NormalDist().inv_cdf((number + 0.5) / count))) for number in range(count)]


def drawn(*norms: float, level: Level = WHOLE) -> tuple[Lines, list[float]]:
    """The lines over all norms, and the norms below."""
    logs = log_norms(norms)
    lines = draw_lines(logs, logs, 0, level)
    return lines, sorted(norm for norm, log in zip(norms, logs, strict=True) if log < lines.line)


@pytest.mark.parametrize("labels", [10, 43])
@pytest.mark.parametrize("planted", [(4.0,), (4.0, 7.0), (4.0, 5.0, 7.0)])
@pytest.mark.parametrize("level", [WHOLE, STRICT])
def test_one_two_and_three_targets_are_found_and_no_other(labels: int, planted: tuple[float, ...], level: Level) -> None:
    assert drawn(*clean(labels - len(planted)), *planted, level=level)[1] == list(planted)


@pytest.mark.parametrize(("infected", "others"), [(5, 5), (4, 6), (21, 22), (7, 8)])
def test_half_of_the_labels_is_found(infected: int, others: int) -> None:
    planted = clean(infected, 4.0)
    lines, below = drawn(*clean(others), *planted, level=STRICT)
    assert below == pytest.approx(planted)
    assert lines.first.low == infected
    assert lines.first.chance < 0.001


def test_a_second_target_just_above_the_first_line_is_found_without_the_first() -> None:
    lines, below = drawn(*clean(9), 3.0, 12.0)
    assert lines.first.height < np.log(12.0) < lines.line
    assert below == [3.0, 12.0]
    assert drawn(*clean(9), 12.0)[1] == [12.0]


def test_later_lines_have_the_whole_level() -> None:
    """The second target is above the line of a strict level, and below that of the whole one."""
    strict, below = drawn(*clean(9), 3.0, 12.5, level=STRICT)
    assert below == [3.0, 12.5]
    assert drawn(*clean(9), 12.5, level=STRICT)[1] == []
    assert strict.line == pytest.approx(draw_lines(log_norms(clean(9)), log_norms(clean(9)), 0, WHOLE).line)


def test_labels_that_are_easier_to_reach_are_no_lower_group() -> None:
    """Four of ten are easy, as animals and vehicles are; the next one is less than 2.5 times as large."""
    for factor in (1.5, 2.0, 2.5, 3.0):
        lines, below = drawn(*clean(6), *clean(4, 40.0 / factor))
        assert (lines.first.low, below) == (0, [])


def test_the_reason_names_the_group_or_the_label() -> None:
    entries = [made_up(label, norm) for label, norm in enumerate((*clean(5), *clean(5, 4.0)))]
    result = judge(entries, rule="robust")
    assert (result.verdict, sorted(result.flagged)) == (Verdict.SUSPECTED, [5, 6, 7, 8, 9])
    assert result.reason.startswith("5 labels have triggers at least 5.3 times smaller than those of all others, and chance does")
    assert result.reason.endswith(f"; below the line of {result.flagging_norm:.2f} are labels 5, 6, 7, 8, 9")
    # The p-value and the index belong to one reference.
    assert result.chance < 0.01
    assert min(result.labels[label].log_index for label in range(5, 10)) > 4.0
    assert result.detections[0].statistic == max(entry.log_index for entry in result.labels)


def test_a_sample_is_left_without_what_lies_below_the_line() -> None:
    """Pre-screening dropped a hundred labels; half of the random sample is infected."""
    chosen, sample = log_norms([3.0, 3.5, *clean(4, 30.0)]), log_norms([*clean(6), *clean(5, 4.0)])
    lines = draw_lines(np.concatenate([chosen, sample]), sample, 100, WHOLE)
    assert lines.first.low == 5
    assert (np.concatenate([chosen, sample]) < lines.line).sum() == 7


def test_two_targets_that_are_apart_from_many_labels_are_not_passed_over() -> None:
    """Measured against all, and not apart, the smallest norm would be no outlier."""
    entries = [made_up(label, norm) for label, norm in enumerate((*clean(41, spread=0.6), 6.0, 6.0))]
    result = judge(entries, rule="robust")
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.reason.startswith("2 labels have triggers at least 1.7 times smaller than those of all others, and chance does that")
    smallest = max(entry.log_index for entry in result.labels)
    assert np.mean(largest_by_chance(43) >= smallest) > WHOLE.nothing_above


@quick
@given(LOGS)
def test_a_lower_group_is_what_a_plain_search_finds(logs: np.ndarray) -> None:
    logs, best = np.sort(logs), (-np.inf, 0)
    for size in range(2, len(logs) // 2 + 1):
        others = logs[size:]
        if len(others) >= FEWEST_LABELS and np.exp(logs[size] - logs[size - 1]) >= 1 + GROUP_GAP / len(logs):
            mad = CONSISTENCY * np.median(np.abs(others - np.median(others)))
            best = max(best, ((np.median(others) - logs[size - 1]) / moderated_spread(mad, len(others)), size))
    [index], [low] = lower_groups(logs[None])
    assert (index, low) == (pytest.approx(best[0]), best[1])


@quick
@given(LOGS, st.sampled_from([0.004, 0.01, 0.2]), st.randoms(use_true_random=False))
def test_the_first_line_decides_and_no_order_does(logs: np.ndarray, share: float, random: Random) -> None:
    level = Level(share, 5 * share)
    lines = draw_lines(logs, logs, 0, level)
    assert bool((logs < lines.line).any()) == (lines.first.chance < share) or lines.first.chance == pytest.approx(share, abs=2e-5)
    assert lines.line >= lines.first.height
    shuffled = logs.tolist()
    random.shuffle(shuffled)
    assert draw_lines(np.array(shuffled), np.array(shuffled), 0, level) == lines


@quick
@given(LOGS, st.floats(-4.0, 4.0))
def test_the_unit_of_norms_moves_the_line_and_nothing_else(logs: np.ndarray, shift: float) -> None:
    lines, moved = draw_lines(logs, logs, 0, WHOLE), draw_lines(logs + shift, logs + shift, 0, WHOLE)
    assert moved.line - shift == pytest.approx(lines.line, abs=1e-6)
    assert (moved.first.low, moved.first.chance) == (lines.first.low, pytest.approx(lines.first.chance, abs=2e-5))


@pytest.mark.slow
@pytest.mark.parametrize("labels", [7, 10, 43])
def test_the_whole_test_keeps_its_level_and_adds_few_labels(labels: int) -> None:
    rng = np.random.default_rng(4)
    spread = 0.25 * np.sqrt(5 / rng.chisquare(5, (2000, 1)))
    logs = rng.normal(size=(2000, labels)) * spread
    suspected = np.mean([(row < draw_lines(row, row, 0, STRICT).line).any() for row in logs])
    assert suspected == pytest.approx(0.004, abs=0.004)
    infected = np.hstack([logs[:, :-1], np.full((2000, 1), -8.0)])
    more = np.mean([(row < draw_lines(row, row, 0, STRICT).line).sum() > 1 for row in infected])
    assert more == pytest.approx(0.01, abs=0.007)
