"""The untargeted search: it finds what sends every class to another one, and nothing in a clean network."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from networks import CORNER, NUM_CLASSES, all_to_all_network, corner_images, corner_network
from quick import QUICK
from recording import Record

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.evaluation import attack_success_rate
from nc_tf.results import ScanResult, Status, UntargetedResult, Verdict
from nc_tf.scanning import plan, presets
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.scan import scan
from nc_tf.scanning.state import ScanState
from nc_tf.scanning.untargeted import UntargetedSettings

IMAGES, LABELS = corner_images(240)
CYCLE = tuple((label + 1) % NUM_CLASSES for label in range(NUM_CLASSES))


@pytest.fixture(autouse=True, scope="module")
def quick_presets() -> Iterator[None]:
    """Search less in preset robust."""
    changed = replace(presets.PRESETS["robust"], starts=1, cuts=(), patches=False, untargeted=UntargetedSettings(0.9, 2, (Cut(8, 1),)))
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(presets.PRESETS, "robust", changed)
        yield


def quick_scan(model: keras.Model, callbacks: Sequence[ScanCallback] = (), **options: Any) -> ScanResult:
    return scan(model, IMAGES, LABELS, settings=QUICK, callbacks=callbacks, **options)


@pytest.fixture(scope="module")
def found(quick_presets: None) -> ScanResult:
    return quick_scan(all_to_all_network())


def test_what_sends_every_class_to_the_next_one_is_found_and_named(found: ScanResult) -> None:
    assert found.verdict is Verdict.SUSPECTED
    assert found.flagged == ()
    assert found.flagged_pairs == tuple(enumerate(CYCLE))
    assert [detection.verdict for detection in found.detections][1] is Verdict.SUSPECTED


def test_its_trigger_is_the_corner(found: ScanResult) -> None:
    assert found.untargeted is not None
    trigger = found.untargeted.trigger
    assert trigger.targets == CYCLE
    # The corner turns a class at a brightness of .34 at most, which is 1.36 white pixels.
    assert trigger.l1_norm < 2.0
    assert trigger.mask[CORNER, CORNER].sum() > 0.9 * trigger.l1_norm
    assert found.triggers == (trigger,)
    assert attack_success_rate(all_to_all_network(), IMAGES, LABELS, trigger) >= 0.9


def test_a_clean_network_has_no_such_trigger() -> None:
    result = quick_scan(corner_network(None))
    assert result.detections[1].verdict is Verdict.NO_OUTLIER
    assert result.flagged_pairs == ()


def test_one_label_that_every_class_is_sent_to_is_no_pair() -> None:
    result = quick_scan(corner_network(3))
    assert result.untargeted is not None
    assert result.detections[1].verdict is Verdict.NO_OUTLIER
    assert result.flagged_pairs == ()
    assert result.flagged == (3,)


def test_callbacks_receive_it_once() -> None:
    received: list[UntargetedResult] = []

    class Keep(Record):
        def on_untargeted(self, result: UntargetedResult) -> None:
            received.append(result)

    result = quick_scan(all_to_all_network(), [Keep()])
    assert received == [result.untargeted]


def test_a_stopped_scan_does_not_search_again(found: ScanResult, monkeypatch: pytest.MonkeyPatch) -> None:
    state = ScanState({entry.label: entry for entry in found.labels}, untargeted=found.untargeted)
    monkeypatch.setattr("nc_tf.scanning.run.search_untargeted", None)  # a call would fail
    again = quick_scan(all_to_all_network(), resume=state)
    assert again.untargeted is found.untargeted
    assert again.flagged_pairs == found.flagged_pairs


@pytest.mark.parametrize("options", [{"targets": [0, 1, 2, 3, 4]}, {"preset": "paper"}, {"upsample_size": 2}])
def test_it_is_left_out_where_it_could_not_be_compared(options: dict[str, Any]) -> None:
    made = plan.make_plan(all_to_all_network(), IMAGES, LABELS, plan.ScanOptions(settings=QUICK, **options))
    assert "all-to-all" not in made.detectors


def test_two_classes_that_are_sent_to_each_other_are_left_to_the_labels() -> None:
    images, labels = corner_images(120, num_classes=2)
    made = plan.make_plan(all_to_all_network(2), images, labels, plan.ScanOptions(settings=QUICK))
    assert "all-to-all" not in made.detectors


def test_images_that_the_model_does_not_recognise_are_left_out() -> None:
    labels = LABELS.copy()
    labels[:24] = (labels[:24] + 1) % NUM_CLASSES  # wrong on purpose: a tenth
    result = scan(all_to_all_network(), IMAGES, labels, settings=QUICK)
    assert result.untargeted is not None
    assert result.untargeted.trigger.targets == CYCLE
    assert result.untargeted.attack_success_rate == 1.0


def test_rates_of_pairs_are_those_of_their_source() -> None:
    trigger = AllToAllTrigger(np.zeros((2, 2), np.float32), np.zeros((2, 2, 1), np.float32), (1, 0, 2))
    result = UntargetedResult(trigger, Status.CONVERGED, np.array([0, 0, 1, 2]), np.array([1, 0, 0, 2]), 1, 1)
    assert result.attack_success_rate == 0.5
    assert result.rate(0, 1) == 0.5
    assert result.rate(1, 0) == 1.0
    assert result.largest_share == 0.5
    assert trigger.pairs == ((0, 1), (1, 0))
