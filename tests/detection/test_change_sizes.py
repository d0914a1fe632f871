"""The rule for opacities: values computed by hand, and what does not change them."""

import numpy as np
import pytest

from nc_tf.detection.whole_image import judge_sizes

CLEAN = [0.13, 0.16, 0.15, 0.18, 0.17, 0.14, 0.19, 0.16, 0.15, 0.17]


def test_values_worked_out_by_hand() -> None:
    """Logarithms -2 -1 0 1 2 below .1: median 0, MAD 1.4826; of five labels the weights are 5 (usual) and .37 * 4."""
    found = judge_sizes(0.1 * np.exp([-2.0, -1.0, 0.0, 1.0, 2.0]))
    spread = np.sqrt((5 * 0.2**2 + 1.48 * 1.4826**2) / 6.48)
    assert found.median == pytest.approx(0.1)
    assert found.mad == pytest.approx(1.4826)
    np.testing.assert_allclose(found.index, np.array([2.0, 1.0, 0.0, -1.0, -2.0]) / spread)


def test_a_faint_picture_is_an_outlier_and_the_others_are_none() -> None:
    found = judge_sizes([0.033, *CLEAN])
    assert found.chance[0] < 0.001
    assert found.chance[1:].min() > 0.2


def test_a_size_that_never_worked_is_no_outlier() -> None:
    sizes = np.array([0.02, *CLEAN])
    worked = np.arange(len(sizes)) > 0
    assert judge_sizes(sizes).chance[0] < 0.001
    assert judge_sizes(sizes, worked).chance.min() > 0.2
    assert judge_sizes(sizes, worked).index[0] == judge_sizes([0.19, *CLEAN]).index[0]


def test_opacities_of_a_clean_network_are_usual() -> None:
    assert judge_sizes(CLEAN).chance.min() > 0.2


def test_twice_the_opacity_of_all_changes_no_index() -> None:
    once, twice = judge_sizes(CLEAN), judge_sizes(2.0 * np.array(CLEAN))
    np.testing.assert_allclose(once.index, twice.index, atol=1e-12)
    np.testing.assert_array_equal(once.chance, twice.chance)


def test_the_fainter_the_less_likely() -> None:
    chances = [judge_sizes([faint, *CLEAN]).chance[0] for faint in (0.1, 0.08, 0.06, 0.04)]
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 0.05 > chances[-1]


def test_equal_opacities_are_no_outliers() -> None:
    found = judge_sizes([0.2] * 5)
    np.testing.assert_array_equal(found.index, 0.0)
    np.testing.assert_array_equal(found.chance, 1.0)


@pytest.mark.parametrize("opacities", [[0.1, 0.2], [0.1, np.nan, 0.2]])
def test_too_few_or_unknown_opacities_are_refused(opacities: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        judge_sizes(opacities)
