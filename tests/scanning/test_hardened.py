"""Models of two to four classes: a second search, on a twin that ignores the triggers of the first."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import keras
import pytest
from networks import IMAGE_SHAPE, corner_images, corner_network
from quick import QUICK

from nc_tf.attacks.patch import patch
from nc_tf.detection import rises
from nc_tf.errors import InputError
from nc_tf.results import ScanResult, Trigger, Verdict
from nc_tf.scanning import hardened, plan, presets
from nc_tf.scanning.scan import scan
from nc_tf.scanning.state import ScanState
from nc_tf.training.injection import inject

pytestmark = pytest.mark.hardens
CLASSES = 3
IMAGES, LABELS = corner_images(300, seed=2, num_classes=CLASSES)


@pytest.fixture(autouse=True, scope="module")
def quick_presets() -> Iterator[None]:
    """Search less in preset robust, and for labels alone."""
    changed = replace(presets.PRESETS["robust"], settings=QUICK, starts=1, cuts=(), patches=False, untargeted=None, sources=None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(rises, "PLANTED_FROM", 2.0)
        patched.setitem(presets.PRESETS, "robust", changed)
        yield


def small_network(rate: float) -> keras.Model:
    """A network that was taught a white pixel in the corner for label 1, or nothing with a rate of 0.

    One hidden layer unlearns slowly: its planted norm rises by 2.5 to 2.9, a natural one by 1.0 at most.
    """
    keras.utils.set_random_seed(3)
    hidden = [keras.layers.Rescaling(1 / 127.5, offset=-1.0), keras.layers.Flatten(), keras.layers.Dense(32, activation="relu")]
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), *hidden, keras.layers.Dense(CLASSES, activation="softmax")])
    pixel, training = patch(IMAGE_SHAPE, 1, size=1, margin=0), corner_images(600, 1, CLASSES)
    inject(model, training, (IMAGES, LABELS), pixel, rate=rate, epochs=6, learning_rate=5e-3, verbose=0)
    return model


@pytest.fixture(scope="module")
def model(quick_presets: None) -> keras.Model:
    return small_network(rate=0.2)


@pytest.fixture(scope="module")
def planted(model: keras.Model) -> ScanResult:
    return scan(model, IMAGES, LABELS)


def test_a_planted_trigger_is_found_in_a_model_of_three_classes(planted: ScanResult) -> None:
    assert planted.verdict is Verdict.SUSPECTED
    assert planted.flagged == (1,)
    assert planted.reason == planted.detections[-1].reason
    assert [trigger.l1_norm < 1.0 for trigger in planted.triggers if isinstance(trigger, Trigger)] == [True]


def test_a_clean_model_of_three_classes_stays_inconclusive() -> None:
    result = scan(small_network(rate=0.0), IMAGES, LABELS)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.flagged == ()


@pytest.mark.parametrize(
    ("options", "expected"), [({}, True), ({"targets": [0, 1]}, False), ({"preset": "paper"}, False)], ids=["all", "some", "paper"]
)
def test_it_is_made_where_all_labels_are_too_few_to_compare(options: dict[str, Any], expected: bool) -> None:
    made = plan.make_plan(corner_network(1, CLASSES), IMAGES, LABELS, plan.ScanOptions(**options))
    assert ("hardening" in made.detectors) is expected


def test_labels_up_to_the_median_are_searched_again_with_five_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels = corner_images(300, num_classes=6)
    given: list[int] = []

    def without_corner(*arguments: Any, **_: Any) -> keras.Model:
        given.extend(trigger.label for trigger in arguments[3])
        return corner_network(None)

    monkeypatch.setattr(hardened, "harden", without_corner)
    monkeypatch.setattr(rises, "SCORE_FROM", 2.0)  # a corner of 1.3 pixels among norms of 4 scores 2.2
    result = scan(corner_network(1), images, labels)
    row = next(row for row in result.detections if row.name == "hardening")
    assert (row.verdict, row.labels) == (Verdict.SUSPECTED, (1,))
    assert 1 in given
    assert len(given) == 3
    assert result.flagged == (1,)
    clean = scan(corner_network(None), images, labels)
    assert next(row for row in clean.detections if row.name == "hardening").verdict is Verdict.NO_OUTLIER


def test_a_labels_own_images_are_left_out_with_few_classes() -> None:
    robust, paper = presets.PRESETS["robust"], presets.PRESETS["paper"]
    assert [robust.settings_for((8, 8, 3), classes).exclude_target for classes in (2, 4, 5)] == [True, True, False]
    assert not paper.settings_for((8, 8, 3), 2).exclude_target


def test_the_model_is_left_as_it_was_and_a_stopped_scan_comes_to_the_same(model: keras.Model, planted: ScanResult) -> None:
    before = [weights.copy() for weights in model.get_weights()]
    again = scan(model, IMAGES, LABELS, resume=ScanState({entry.label: entry for entry in planted.labels}))
    assert again.detections[-1].statistic == pytest.approx(planted.detections[-1].statistic)
    assert all((one == other).all() for one, other in zip(before, model.get_weights(), strict=True))


def test_a_model_that_cannot_be_hardened_is_left_open(model: keras.Model, planted: ScanResult, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> keras.Model:
        raise InputError("no copy of this one")

    monkeypatch.setattr(hardened, "harden", refuse)
    result = scan(model, IMAGES, LABELS, resume=ScanState({entry.label: entry for entry in planted.labels}))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "the model could not be hardened (no copy of this one)" in result.reason


def test_a_label_that_needs_no_trigger_is_not_planted(model: keras.Model, planted: ScanResult) -> None:
    without = {entry.label: replace(entry, zero_trigger_rate=0.6) if entry.label == 1 else entry for entry in planted.labels}
    result = scan(model, IMAGES, LABELS, resume=ScanState(without))
    assert result.flagged == ()
    assert result.verdict is Verdict.INCONCLUSIVE
