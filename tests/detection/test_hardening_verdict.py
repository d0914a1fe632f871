"""The verdict of the search on a hardened twin, from rises that were made up."""

import pytest

from nc_tf.detection.hardening import judge_hardening
from nc_tf.detection.rises import Rise, RiseVerdict, judge_rises, judge_scores
from nc_tf.results import Verdict

PIXELS = 1024


def judged(*norms: tuple[float, float], left: float = 0.0) -> RiseVerdict:
    return judge_rises([Rise(label, before, after, left) for label, (before, after) in enumerate(norms)], PIXELS, 0.95, 0.95)


def test_a_label_that_is_far_harder_to_reach_without_its_trigger_is_flagged() -> None:
    detection = judge_hardening(judged((30.0, 33.0), (4.0, 20.0)))
    assert (detection.verdict, detection.labels, detection.statistic) == (Verdict.SUSPECTED, (1,), 5.0)
    assert "raises the norm of label 1 from 4.00 to 20.00 pixels" in detection.reason


@pytest.mark.parametrize(
    ("rises", "words"),
    [
        (judged((30.0, 33.0), (40.0, 42.0)), "the norm of no label rises more than 1.1 times by hardening, too little to suspect one"),
        (judged((5.0, 10.0), (40.0, 42.0)), "the trigger of label 0 grows 2.0 times by hardening, between"),
        (judged((5.0, 50.0), left=0.5), "the trigger of label 0 still moves 50% of the images after hardening"),
    ],
)
def test_without_one_it_says_nothing(rises: RiseVerdict, words: str) -> None:
    detection = judge_hardening(rises)
    assert (detection.verdict, detection.labels) == (Verdict.INCONCLUSIVE, ())
    assert words in detection.reason


def test_with_others_to_compare_with_it_can_say_no_outlier() -> None:
    natural = [Rise(0, 30.0, 50.0, 0.0), Rise(1, 35.0, 40.0, 0.0)]
    detection = judge_hardening(judge_scores(natural, 40.0, 0.9, 0.9))
    assert detection.verdict is Verdict.NO_OUTLIER
    planted = judge_hardening(judge_scores([Rise(3, 5.0, 35.0, 0.0), *natural], 40.0, 0.9, 0.9))
    assert (planted.verdict, planted.labels) == (Verdict.SUSPECTED, (3,))
    assert "of label 3 from 5.00 to 35.00 pixels, where the median is 40.00" in planted.reason
