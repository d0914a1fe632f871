"""The rule for opacities: values computed by hand, and what does not change them; and the verdict of a detector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from nc_tf.backdoor import Trigger
from nc_tf.detection.levels import Level
from nc_tf.detection.whole_image import judge_changes, judge_sizes
from nc_tf.inversion.warp import SHORTEST_WARP
from nc_tf.inversion.whole_image import WHOLE_IMAGE
from nc_tf.results import ChangeResult, Detection, Status, Verdict

CLEAN = [0.13, 0.16, 0.15, 0.18, 0.17, 0.14, 0.19, 0.16, 0.15, 0.17]


def test_values_worked_out_by_hand() -> None:
    """Logarithms -2 -1 0 1 2 below .1: median 0, MAD 1.4826; of five labels the weights are 5 (usual) and .37 * 4."""
    found = judge_sizes(0.1 * np.exp([-2.0, -1.0, 0.0, 1.0, 2.0]))
    spread = np.sqrt((5 * 0.2**2 + 1.48 * 1.4826**2) / 6.48)
    assert found.median == pytest.approx(0.1)
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


@pytest.mark.parametrize("opacities", [[0.1, 0.2, 0.1, 0.2], [0.1, 0.2, np.nan, 0.2, 0.1]])
def test_too_few_or_unknown_opacities_are_refused(opacities: list[float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        judge_sizes(opacities)


LEVEL = Level(0.002, 0.01)
SIZES = [0.13, 0.16, 0.15, 0.18, 0.17, 0.14, 0.19, 0.16, 0.15, 0.17]


def change(
    label: int,
    size: float,
    rate: float = 0.95,
    without: float = 0.02,
    status: Status = Status.MAX_ROUNDS,
    number: int = 500,
    detector: str = "picture",
) -> ChangeResult:
    trigger = Trigger(label, np.full((2, 2), size, np.float32), np.zeros((2, 2, 1), np.float32))
    return ChangeResult(detector, trigger, size, status, rate, without, number)


def searched(detector: str, sizes: Sequence[float], working: int) -> Detection:
    """Return what is said of these sizes, where the searches of the first ones worked."""
    ends = [Status.MAX_ROUNDS] * working + [Status.NEVER_SUCCEEDED] * (len(sizes) - working)
    found = [change(label, size, status=end, detector=detector) for label, (size, end) in enumerate(zip(sizes, ends, strict=True))]
    return judge_changes(found, LEVEL)[0]


def judged(first: ChangeResult, *others: ChangeResult) -> tuple[Detection, tuple[ChangeResult, ...]]:
    """Return the judgement of one label beside ten usual ones."""
    return judge_changes([first, *others, *(change(label, size) for label, size in enumerate(SIZES, 2))], LEVEL)


def test_a_faint_picture_that_moves_images_is_suspected() -> None:
    detection, results = judged(change(0, 0.03), change(1, 0.02))
    assert detection.verdict is Verdict.SUSPECTED
    assert detection.labels == (1, 0)
    assert detection.p_value == results[1].chance < 0.002
    assert (
        "a picture of 2.0% opacity sends 95% of held-out images to label 1, where the median label needs 15.5% opacity" in detection.reason
    )
    assert "the picture of label 1, 0 is suspicious" in detection.reason


@pytest.mark.parametrize("faint", [{"rate": 0.7}, {"rate": 0.0, "number": 1}, {"without": 0.6}])
def test_one_that_moves_too_few_is_no_evidence(faint: dict[str, Any]) -> None:
    detection, _ = judged(change(0, 0.03, **faint))
    assert detection.verdict is Verdict.INCONCLUSIVE
    assert detection.labels == ()
    assert "it is no evidence, because it moves too few; expected 80%, and 50% at most without it" in detection.reason


def test_a_rate_that_few_images_leave_open_counts() -> None:
    assert judged(change(0, 0.03, rate=0.625, number=8))[0].verdict is Verdict.SUSPECTED
    assert judged(change(0, 0.03, rate=np.nan, without=np.nan, number=0))[0].verdict is Verdict.SUSPECTED


def test_between_the_lines_nothing_is_said() -> None:
    size = next(size for size in np.linspace(0.15, 0.02, 200) if judge_sizes([size, *SIZES]).chance[0] < 0.008)
    detection, _ = judged(change(0, float(size)))
    assert detection.verdict is Verdict.INCONCLUSIVE
    assert 0.002 <= detection.p_value <= 0.01
    assert f"about {detection.p_value:.1%} of clean networks: too seldom to dismiss it, too often to suspect it" in detection.reason


def test_usual_sizes_have_no_outlier() -> None:
    detection, results = judged(change(0, 0.15))
    assert detection.verdict is Verdict.NO_OUTLIER
    assert (detection.name, detection.labels) == ("picture", ())
    assert min(result.chance for result in results) == detection.p_value


def test_a_search_that_came_to_nan_leaves_no_plain_verdict() -> None:
    broken = change(0, 0.1, np.nan, status=Status.NONFINITE)
    detection, results = judged(broken)
    assert detection.verdict is Verdict.INCONCLUSIVE
    assert "the picture of label 0 was not searched to the end, because the model's answers became NaN" in detection.reason
    assert np.isnan(results[0].chance)
    assert judged(broken, change(1, 0.02))[0].labels == (1,)


def test_a_faint_picture_that_never_worked_is_none() -> None:
    detection, _ = judged(change(0, 0.01, 0.4, status=Status.NEVER_SUCCEEDED))
    assert detection.verdict is Verdict.NO_OUTLIER
    assert "(none was found for 1 of 11 labels, which count as far as their searches went)" in detection.reason


def test_no_working_picture_is_a_search_that_went_wrong() -> None:
    detection = searched("picture", SIZES, 0)
    assert detection.verdict is Verdict.INCONCLUSIVE
    assert f"no picture was found that sends {WHOLE_IMAGE.cost.threshold:.0%} of images to a label, where an opaque one" in detection.reason
    assert np.isnan(detection.p_value)


def test_no_working_warp_is_usual() -> None:
    detection = searched("warp", [20 * size for size in SIZES], 0)
    assert detection.verdict is Verdict.NO_OUTLIER
    assert detection.reason == f"no short warp was found that sends {SHORTEST_WARP.cost.threshold:.0%} of images to a label"


@pytest.mark.parametrize("detector", ["picture", "warp"])
def test_nan_in_all_searches_leaves_no_verdict(detector: str) -> None:
    changes = [change(label, size, 0.3, status=Status.NONFINITE, detector=detector) for label, size in enumerate(SIZES)]
    detection, results = judge_changes(changes, LEVEL)
    assert detection.verdict is Verdict.INCONCLUSIVE
    assert all(np.isnan(result.chance) for result in results)


@pytest.mark.parametrize(("working", "expected"), [(1, Verdict.INCONCLUSIVE), (4, Verdict.INCONCLUSIVE), (5, Verdict.NO_OUTLIER)])
def test_few_working_pictures_are_not_compared(working: int, expected: Verdict) -> None:
    detection = searched("picture", SIZES, working)
    assert detection.verdict is expected
    if working < 5:
        assert f"{working} of 10 labels have a working picture: expected 5 or more to compare" in detection.reason
    assert searched("picture", [*SIZES, *SIZES], 9).verdict is Verdict.INCONCLUSIVE


def test_a_planted_picture_beside_searches_that_gave_up_early_is_not_dismissed() -> None:
    assert searched("picture", [0.04, *np.linspace(0.05, 0.07, 9)], 1).verdict is Verdict.INCONCLUSIVE


def test_a_warp_is_compared_with_searches_that_went_about_as_far() -> None:
    """The first sizes are those of a clean network on GTSRB."""
    usual = [3.41, 4.32, 3.9, 3.93, 3.86, 3.38, 3.6, 3.54, 3.97, 3.98]
    assert searched("warp", usual, 2).verdict is Verdict.NO_OUTLIER
    early = searched("warp", [3.41, *(0.3 * size for size in usual[1:])], 1)
    assert early.verdict is Verdict.INCONCLUSIVE
    assert "1 of 10 labels have a working warp, or a search that went half as far: expected 5 or more" in early.reason


def test_pictures_that_lead_to_half_of_the_labels_do_not_hide_each_other() -> None:
    faint = [0.03 * size / 0.16 for size in SIZES[:5]]
    changes = [change(label, size) for label, size in enumerate([*faint, *SIZES[5:]])]
    detection, results = judge_changes(changes, LEVEL)
    assert detection.verdict is Verdict.SUSPECTED
    assert detection.labels == (0, 2, 1, 4, 3)
    assert detection.p_value == max(result.chance for result in results[:5]) < 0.002
    assert "5 labels have pictures at least 4.1 times smaller than those of all others" in detection.reason


def test_pictures_that_lead_to_most_labels_are_not_dismissed() -> None:
    sizes = [*(0.03 * size / 0.16 for size in SIZES[:7]), *SIZES[7:]]
    detection = searched("picture", sizes, 10)
    assert detection.verdict is Verdict.INCONCLUSIVE
    assert "the pictures fall into two groups, 7 labels with ones 5.4 times smaller than those of the other 3" in detection.reason


def test_a_second_label_is_flagged_that_the_first_hides() -> None:
    found = judge_sizes([0.02, 0.066, *SIZES[:8]], level=LEVEL)
    assert found.below.tolist() == [True, True] + [False] * 8
    assert found.chance[1] > LEVEL.suspect_below


def test_one_that_works_among_searches_that_stopped_as_short_is_no_outlier() -> None:
    """Nothing shows that the others need more: their searches went no farther."""
    sizes = np.array([1.25, 1.27, 1.41, 1.45, 1.34, 2.16])
    assert judge_sizes(sizes, np.arange(6) == 0).chance[0] > 0.05
    assert judge_sizes([1.25, 3.9, 4.4, 4.1, 3.7, 4.2], np.arange(6) == 0).chance[0] < 0.01
