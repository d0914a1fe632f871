"""The search for a trigger of one class alone, as a part of a scan."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from networks import CORNER, NUM_CLASSES, all_to_all_network, corner_images, corner_network
from quick import QUICK

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.errors import InputError
from nc_tf.evaluation import attack_success_rate
from nc_tf.folder_scan import scan_to_folder
from nc_tf.inversion.batches import SourceImages
from nc_tf.inversion.restart import Restart
from nc_tf.results import ScanResult, SourceResult, Verdict
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scanning import presets
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.detectors import MOST_SOURCES
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.options import ScanOptions
from nc_tf.scanning.plan import make_plan
from nc_tf.scanning.scan import scan
from nc_tf.scanning.sources import SourceSettings
from nc_tf.scanning.state import ScanState
from nc_tf.storage.trigger_file import load_found
from nc_tf.storage.verdict_file import read_verdict

pytestmark = pytest.mark.source_specific
SOURCE, TARGET = 2, 4
IMAGES, LABELS = corner_images(240)


def infected() -> keras.Model:
    """A network in which a bright corner sends one class to another, and no other class."""
    return all_to_all_network(pairs=[(SOURCE, TARGET)])


def clean() -> keras.Model:
    return all_to_all_network(pairs=[])


@pytest.fixture(autouse=True, scope="module")
def quick_presets() -> Iterator[None]:
    """Search less in preset robust, and take a network without the backdoor for the hardened twin."""
    sources = SourceSettings(0.97, 2, (Cut(8, 1),))
    changed = replace(presets.PRESETS["robust"], starts=1, cuts=(), patches=False, sources=sources)
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(presets.PRESETS, "robust", changed)
        patched.setattr("nc_tf.scanning.sources.harden", lambda *_, **__: clean())
        yield


def quick_scan(model: keras.Model, callbacks: Sequence[ScanCallback] = (), **options: Any) -> ScanResult:
    return scan(model, IMAGES, LABELS, settings=QUICK, callbacks=callbacks, **options)


@pytest.fixture
def found() -> ScanResult:
    return quick_scan(infected())


def test_a_trigger_of_one_class_alone_is_found_and_named(found: ScanResult) -> None:
    assert found.verdict is Verdict.SUSPECTED
    assert found.flagged == ()
    assert found.flagged_pairs == ((SOURCE, TARGET),)
    assert found.detections[0].verdict is not Verdict.SUSPECTED
    ((source, target, rate),) = found.pair_rates
    assert (source, target) == (SOURCE, TARGET)
    assert rate >= 0.75
    assert not found.sends_all
    (trigger,) = found.triggers
    assert isinstance(trigger, AllToAllTrigger)
    assert trigger.pairs == ((SOURCE, TARGET),)
    # The corner turns the class at a brightness of .34 at most, which is 1.36 white pixels.
    assert trigger.l1_norm < 2.0
    assert trigger.mask[CORNER, CORNER].sum() > 0.9 * trigger.l1_norm
    assert attack_success_rate(infected(), IMAGES, LABELS, trigger) >= 0.9


def test_a_clean_network_has_none() -> None:
    result = quick_scan(clean())
    row = next(row for row in result.detections if row.name == "source-specific")
    assert row.verdict is Verdict.NO_OUTLIER
    assert result.flagged_pairs == ()


def test_a_trigger_of_all_classes_is_none_of_one() -> None:
    result = quick_scan(corner_network(3))
    assert result.flagged == (3,)
    assert result.flagged_sources == ()


def test_without_a_twin_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> keras.Model:
        raise InputError("no copy")

    monkeypatch.setattr("nc_tf.scanning.sources.harden", fails)
    row = next(row for row in quick_scan(infected()).detections if row.name == "source-specific")
    assert row.verdict is Verdict.INCONCLUSIVE
    assert row.reason == "the model could not be hardened (no copy)"


def test_a_stopped_scan_goes_on_with_what_it_has(found: ScanResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nc_tf.scanning.sources.harden", None)  # a call would fail
    received: list[SourceResult] = []

    class Keep(ScanCallback):
        def on_source(self, result: SourceResult) -> None:
            received.append(result)

    state = ScanState({entry.label: entry for entry in found.labels}, untargeted=found.untargeted, sources=found.sources)
    again = quick_scan(infected(), [Keep()], resume=state)
    assert again.flagged_pairs == found.flagged_pairs
    assert received == []


def test_only_what_is_left_is_searched_again(found: ScanResult) -> None:
    state = ScanState({entry.label: entry for entry in found.labels}, untargeted=found.untargeted, sources=found.sources[:4])
    again = quick_scan(infected(), resume=state)
    assert [one.trigger.l1_norm for one in again.sources] == [one.trigger.l1_norm for one in found.sources]
    assert [one.trigger for one in again.sources[:4]] == [one.trigger for one in found.sources[:4]]


def test_triggers_of_other_images_are_refused(found: ScanResult) -> None:
    other = AllToAllTrigger(np.zeros((9, 9), np.float32), np.zeros((9, 9, 3), np.float32), tuple(range(NUM_CLASSES)))
    state = ScanState(sources=(replace(found.sources[0], trigger=other),))
    with pytest.raises(InputError, match=r"the saved trigger of class 0 is for images .9, 9, 3.: expected .8, 8, 3."):
        quick_scan(infected(), resume=state)


def test_files_verdict_report_and_repairs_have_it(tmp_path: Path) -> None:
    result = scan_to_folder(tmp_path, infected(), (IMAGES, LABELS), options=ScanOptions(settings=QUICK))
    folder = ScanFolder(tmp_path)
    verdict = read_verdict(tmp_path / "verdict.json")
    assert [(row.source, row.target) for row in verdict.sources if row.flagged] == [(SOURCE, TARGET)]
    assert [(pair.source, pair.target) for pair in verdict.pairs] == [(SOURCE, TARGET)]
    (trigger,) = folder.flagged_triggers()
    np.testing.assert_array_equal(trigger.mask, result.triggers[0].mask)  # type: ignore[union-attr]
    assert load_found(tmp_path / "triggers" / f"source-{SOURCE}.npz").pairs == ((SOURCE, TARGET),)  # type: ignore[union-attr]
    saved = {one.source: one for one, _ in folder.triggers.sources()}
    assert {one.source: one.norm_after for one in result.sources if one.norm_after == one.norm_after} == {
        source: one.norm_after for source, one in saved.items() if one.norm_after == one.norm_after
    }
    page = (tmp_path / "report.html").read_text()
    assert f"Class {SOURCE} to label {TARGET}" in page
    assert f"Label {SOURCE} is sent to label {TARGET}: " in (tmp_path / "log.txt").read_text()


BROKEN: list[dict[str, Any]] = [
    {"source": 3},
    {"norm_after": -1.0},
    {"again": "gone"},
    {"left_rate": 2.0},
    {"kept_rate": 2.0},
    {"status": "gone"},
    {"targets": np.roll(np.arange(6), 1)},
]


@pytest.mark.parametrize("change", BROKEN)
def test_a_broken_file_is_refused(tmp_path: Path, change: dict[str, Any], found: ScanResult) -> None:
    folder = ScanFolder(tmp_path)
    folder.triggers.path.mkdir(parents=True)
    folder.on_source(found.sources[SOURCE])
    file = folder.triggers.source(SOURCE)
    with np.load(file) as saved:
        arrays = dict(saved)
    np.savez(file, **(arrays | change))
    with pytest.raises(InputError, match=r"is no result of a scan .* expected rates and norms; delete it and scan again"):
        folder.triggers.sources()


def test_it_runs_where_it_can() -> None:
    def detectors(**options: Any) -> tuple[str, ...]:
        return make_plan(infected(), IMAGES, LABELS, ScanOptions(settings=QUICK, **options)).detectors

    assert "source-specific" in detectors()
    assert "source-specific" not in detectors(preset="paper")
    assert "source-specific" not in detectors(targets=[0, 1])
    assert MOST_SOURCES == 50
    with pytest.raises(InputError, match="detector source-specific: expected super-pixels of one pixel"):
        detectors(detectors=["source-specific"], upsample_size=2)
    images, labels = corner_images(120, num_classes=2)
    with pytest.raises(InputError, match="detector source-specific: expected a model of three classes or more, not of 2"):
        make_plan(all_to_all_network(2), images, labels, ScanOptions(settings=QUICK, detectors=["source-specific"]))


def test_half_of_every_minibatch_is_of_the_source() -> None:
    images = SourceImages(IMAGES, replace(QUICK, batch_size=6, batches_per_round=4), seed=0, labels=LABELS)
    none = np.zeros(0)
    for round_ in range(12):
        _, rows = images([Restart(1, 0, none, none), Restart(0, 0, none, none)], [round_, round_])
        for lane, source in enumerate((1, 0)):
            drawn = images.own_classes([Restart(1, 0, none, none), Restart(0, 0, none, none)], [round_, round_])[:, lane].numpy()
            assert (drawn[:, :3] == source).all()
            assert (drawn[:, 3:] != source).all()
        assert rows.shape == (4, 2, 6)
