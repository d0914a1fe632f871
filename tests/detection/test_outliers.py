"""The MAD over norms: values computed by hand, and properties of an index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nc_tf.detection.outliers import PAPER_INDEX, find_outliers

quick = settings(deadline=None, derandomize=True, max_examples=80)
NORMS = st.lists(st.integers(0, 60), min_size=1, max_size=20).map(lambda values: [value / 4 for value in values])


def test_values_worked_out_by_hand() -> None:
    """Median of 1 8 10 11 12 is 10, distances 9 2 0 1 2 have the median 2."""
    found = find_outliers([10.0, 1.0, 12.0, 8.0, 11.0])
    assert found.median == 10.0
    assert found.mad == pytest.approx(2 * 1.4826)
    np.testing.assert_allclose(found.index, np.array([0, 9, 2, 2, 1]) / (2 * 1.4826))
    assert found.flagged == (1,)


def test_an_even_number_has_the_mean_of_the_middle_two() -> None:
    """Not the lower middle, as `torch.median` has it. Distances from 6: 5 1 1 3, median 2."""
    found = find_outliers([1.0, 5.0, 7.0, 9.0])
    assert found.median == 6.0
    assert found.mad == pytest.approx(2 * 1.4826)


def test_only_small_norms_are_flagged() -> None:
    norms = [50.0, 51.0, 49.0, 52.0, 48.0, 500.0]
    found = find_outliers(norms)
    assert found.index[5] > 100
    assert found.flagged == ()
    assert find_outliers([*norms, 1.0]).flagged == (6,)


def test_the_smallest_norm_comes_first() -> None:
    assert find_outliers([50.0, 3.0, 51.0, 49.0, 1.0, 52.0, 48.0, 2.0, 50.5, 51.5, 49.5]).flagged == (4, 7, 1)


def test_the_index_of_the_paper_is_exceeded_not_reached() -> None:
    """About a median of 0 and a distance of 1 the arithmetic is exact."""
    line = -2 * 1.4826
    found = find_outliers([line, line - 1e-9], reference=[-1.0, 0.0, 1.0])
    assert found.index[0] == PAPER_INDEX == 2
    assert found.flagged == (1,)


@pytest.mark.parametrize("norms", [[7.0], [7.0, 7.0, 7.0]])
def test_equal_norms_are_no_outliers(norms: list[float]) -> None:
    found = find_outliers(norms)
    assert (found.median, found.mad, found.flagged) == (7.0, 0.0, ())
    np.testing.assert_array_equal(found.index, 0.0)


def test_a_mad_of_zero_puts_others_infinitely_far() -> None:
    found = find_outliers([7.0, 7.0, 7.0, 2.0, 9.0])
    assert found.mad == 0.0
    np.testing.assert_array_equal(found.index, [0, 0, 0, np.inf, np.inf])
    assert found.flagged == (3,)


@pytest.mark.parametrize("norms", [[], [1.0, float("nan")], [1.0, float("inf")], [-float("inf")]])
def test_nothing_and_what_is_not_finite_is_refused(norms: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected at least one, all finite; leave out labels whose search failed"):
        find_outliers(norms)


@quick
@given(NORMS, st.sampled_from([0.5, 2.0, 8.0]), st.integers(-4, 40))
def test_scale_and_shift_change_no_index(norms: list[float], scale: float, shift: int) -> None:
    """Quarters, powers of two and whole numbers keep the arithmetic exact, so ties stay ties."""
    before, after = find_outliers(norms), find_outliers([scale * norm + shift for norm in norms])
    np.testing.assert_allclose(after.index, before.index, rtol=1e-12)
    assert after.flagged == before.flagged
    assert after.median == scale * before.median + shift
    assert after.mad == pytest.approx(scale * before.mad)


@quick
@given(NORMS, st.randoms(use_true_random=False))
def test_the_order_of_labels_changes_nothing(norms: list[float], random: object) -> None:
    order = list(range(len(norms)))
    random.shuffle(order)  # type: ignore[attr-defined]
    before, after = find_outliers(norms), find_outliers([norms[position] for position in order])
    np.testing.assert_array_equal(after.index, before.index[order])
    assert sorted(norms[order[position]] for position in after.flagged) == sorted(norms[position] for position in before.flagged)


@quick
@given(NORMS)
def test_flagged_are_exactly_those_below_the_median_and_above_the_index_of_the_paper(norms: list[float]) -> None:
    found = find_outliers(norms)
    assert set(found.flagged) == {p for p, norm in enumerate(norms) if norm < found.median and found.index[p] > PAPER_INDEX}
    chosen = [norms[position] for position in found.flagged]
    assert chosen == sorted(chosen)
