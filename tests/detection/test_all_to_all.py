"""The verdict of the untargeted search, from results that were made up."""

from dataclasses import replace

import numpy as np
import pytest

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.detection.all_to_all import judge_untargeted
from nc_tf.detection.verdict import judge
from nc_tf.results import Detection, LabelResult, ScanResult, Status, Trigger, UntargetedResult, Verdict

SIDE, CLASSES = 8, 6
LABELS = np.repeat(np.arange(CLASSES), 10)
CYCLE, TO_ONE = np.roll(np.arange(CLASSES), -1), np.full(CLASSES, 2)


def found(norm: float, targets: np.ndarray, status: Status = Status.MAX_ROUNDS, moved: float = 1.0) -> UntargetedResult:
    """An untargeted search that found a trigger of this norm, which moves this share of every class's images."""
    trigger = AllToAllTrigger(
        np.full((SIDE, SIDE), norm / SIDE**2, np.float32), np.zeros((SIDE, SIDE, 3), np.float32), tuple(targets.tolist())
    )
    stays = np.arange(len(LABELS)) % 10 >= 10 * moved
    return UntargetedResult(trigger, status, LABELS, np.where(stays, LABELS, targets[LABELS]), 1, 1)


def labels(smallest: float = 10.0) -> list[LabelResult]:
    norms = [smallest, 20.0, 22.0, 24.0, 26.0, 28.0]
    masks = [np.full((SIDE, SIDE), norm / SIDE**2, np.float32) for norm in norms]
    triggers = [Trigger(label, mask, np.zeros((SIDE, SIDE, 3), np.float32)) for label, mask in enumerate(masks)]
    return [LabelResult(trigger, Status.MAX_ROUNDS, 0.99, 0.01, 3, 46, num_measured=500) for trigger in triggers]


@pytest.mark.parametrize(
    ("result", "verdict", "words"),
    [
        (found(2.0, CYCLE), Verdict.SUSPECTED, "a trigger of 2.00 pixels takes 100% of held-out images to another class, to different"),
        (found(6.0, CYCLE), Verdict.INCONCLUSIVE, "too little to tell"),
        (found(9.0, CYCLE), Verdict.NO_OUTLIER, "where the smallest trigger of a single label has 10.00"),
        (found(2.0, TO_ONE), Verdict.NO_OUTLIER, "most classes to one label, as clean networks do"),
        (found(2.0, CYCLE, Status.NEVER_SUCCEEDED, moved=0.3), Verdict.NO_OUTLIER, "the best moves 30% of held-out images"),
        (found(2.0, CYCLE, moved=0.6), Verdict.INCONCLUSIVE, "too few of them to suspect it"),
    ],
)
def test_it_suspects_a_small_trigger_that_sends_classes_to_different_labels(result: UntargetedResult, verdict: Verdict, words: str) -> None:
    detection = judge_untargeted(result, labels())
    assert detection.verdict is verdict
    assert words in detection.reason


@pytest.mark.parametrize(
    ("result", "words"),
    [
        (replace(found(2.0, CYCLE), labels=LABELS[:0], answers=LABELS[:0]), "recognised held-out images are of 0 classes: expected 5"),
        (replace(found(2.0, CYCLE), labels=LABELS[:20], answers=CYCLE[LABELS[:20]]), "of 2 classes: expected 5 or more"),
        (replace(found(2.0, CYCLE), answers=np.where(LABELS > 3, -1, CYCLE[LABELS])), "the model's answers became NaN or infinity"),
        (found(2.0, CYCLE, Status.NONFINITE), "the model's answers became NaN or infinity"),
    ],
    ids=["no image", "few classes", "answers of NaN", "a search of NaN"],
)
def test_it_says_nothing_where_nothing_was_measured(result: UntargetedResult, words: str) -> None:
    detection = judge_untargeted(result, labels())
    assert detection.verdict is Verdict.INCONCLUSIVE
    assert words in detection.reason


def test_an_answer_of_nan_has_not_moved() -> None:
    assert replace(found(2.0, CYCLE), answers=np.full(len(LABELS), -1)).attack_success_rate == 0.0


def test_without_a_label_to_compare_with_it_says_nothing() -> None:
    failed = [LabelResult(entry.trigger, Status.NEVER_SUCCEEDED, 0.1, 0.0, 3, 46) for entry in labels()]
    assert judge_untargeted(found(2.0, CYCLE), failed).verdict is Verdict.INCONCLUSIVE


def detection(verdict: Verdict) -> Detection:
    return Detection("another", "something else", 1.0, 0.5, verdict, f"it said {verdict.name}")


def judged(*others: Detection, smallest: float = 15.0) -> ScanResult:
    return judge(labels(smallest), rule="robust", others=others)


def test_one_detector_that_suspects_is_enough() -> None:
    result = judged(detection(Verdict.SUSPECTED))
    assert (result.verdict, result.flagged) == (Verdict.SUSPECTED, ())
    assert result.reason == "it said SUSPECTED"
    assert [one.verdict for one in result.detections] == [Verdict.NO_OUTLIER, Verdict.SUSPECTED]


def test_no_outlier_needs_all_detectors() -> None:
    assert judged().verdict is Verdict.NO_OUTLIER
    assert judged(detection(Verdict.INCONCLUSIVE)).verdict is Verdict.INCONCLUSIVE
    both = judged(detection(Verdict.NO_OUTLIER))
    assert both.verdict is Verdict.NO_OUTLIER
    assert "it said NO_OUTLIER" in both.reason


def test_a_label_that_is_flagged_stays_so_beside_a_detector_that_sees_nothing() -> None:
    result = judged(detection(Verdict.NO_OUTLIER), smallest=1.0)
    assert (result.verdict, result.flagged) == (Verdict.SUSPECTED, (0,))
    assert "it said" not in result.reason
