"""The searches for a change of the whole image as parts of a scan, on a network in which faint stripes lead to one label."""

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE, NUM_CLASSES, ROW_GAIN, ROW_WIDTH, corner_images, corner_network, linear_network
from quick import QUICK

from nc_tf.backdoor import Trigger, Warp
from nc_tf.cli.main import main
from nc_tf.errors import InputError
from nc_tf.evaluation import attack_success_rate
from nc_tf.folder_scan import scan_to_folder
from nc_tf.inversion.whole_image import WHOLE_IMAGE
from nc_tf.results import ChangeResult, ScanResult, Status, Verdict
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scanning import changes, presets
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.detectors import Circumstances, chosen
from nc_tf.scanning.engines.worker import pack, unpack
from nc_tf.scanning.options import ScanOptions
from nc_tf.scanning.plan import make_plan
from nc_tf.scanning.scan import scan
from nc_tf.scanning.state import ScanState
from nc_tf.storage.trigger_file import load_found
from nc_tf.storage.verdict_file import read_verdict

pytestmark = pytest.mark.whole_image
STRIPE_GAIN, TARGET = 200.0, 2
IMAGES, CLASSES = corner_images(240)
# White and black columns: on an image with equal columns their difference is nothing.
STRIPES = np.broadcast_to(np.where(np.arange(IMAGE_SHAPE[1]) % 2, 1.0, -1.0)[None, :, None], IMAGE_SHAPE)


def striped_network() -> keras.Model:
    """Return a network in which stripes over the whole image lead to `TARGET`, as in `test_whole_image`."""
    weights = np.zeros((*IMAGE_SHAPE, NUM_CLASSES), np.float32)
    for row in range(NUM_CLASSES):
        weights[row, :ROW_WIDTH, :, row] = ROW_GAIN / (ROW_WIDTH * 3 * 255)
    weights[..., TARGET] += STRIPE_GAIN * STRIPES / (STRIPES.size * 255)
    return linear_network(weights.reshape(-1, NUM_CLASSES), np.zeros(NUM_CLASSES), IMAGE_SHAPE)


@pytest.fixture(autouse=True, scope="module")
def quick_presets() -> Iterator[None]:
    """Search labels and warps less in preset robust."""
    changed = replace(presets.PRESETS["robust"], starts=1, cuts=(), patches=False)
    warp = changes.CHANGES["warp"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(presets.PRESETS, "robust", changed)
        patched.setitem(changes.CHANGES, "warp", replace(warp, settings=replace(warp.settings, max_rounds=3, batches_per_round=4)))
        yield


def quick_scan(**options: Any) -> ScanResult:
    how: dict[str, Any] = {"settings": replace(QUICK, max_rounds=12), "precision": "float32", "detectors": ("picture",)}
    return scan(striped_network(), IMAGES, CLASSES, **(how | options))


@lru_cache(maxsize=1)
def found() -> ScanResult:
    return quick_scan()


@pytest.mark.slow
def test_the_planted_picture_is_suspected_alone() -> None:
    """Its opacity is 1 / (1 + 100 / lead), where the lead of an image's own row is 10 * (170 - 30) / 255; see `test_whole_image`."""
    result = found()
    picture = next(row for row in result.detections if row.name == "picture")
    assert picture.verdict is Verdict.SUSPECTED
    assert picture.labels == (TARGET,)
    assert TARGET in result.flagged
    lead = ROW_GAIN * (170 - 30) / 255
    change = result.changes[TARGET]
    assert change.size == pytest.approx(lead / (lead + STRIPE_GAIN / 2), rel=0.25)
    assert change.chance < 0.01 < min(other.chance for other in result.changes if other is not change)
    assert picture.p_value == change.chance


@pytest.mark.slow
def test_its_trigger_is_the_picture() -> None:
    (change,) = found().flagged_changes
    assert change.trigger in found().triggers
    assert isinstance(change.trigger, Trigger)
    assert np.ptp(change.trigger.mask) == 0.0
    # The opacity that suffices is nearly the same for all images, and falls during the last round as well.
    assert attack_success_rate(striped_network(), IMAGES, CLASSES, change.trigger) > 0.8
    assert change.attack_success_rate > 0.8
    assert change.num_measured == 40  # 48 are held out, 8 of each class


@pytest.mark.slow
def test_a_stopped_scan_goes_on_with_what_is_done() -> None:
    class Searched(ScanCallback):
        def __init__(self) -> None:
            self.labels: list[int] = []

        def on_change(self, result: ChangeResult) -> None:
            self.labels.append(result.label)

    first = found()
    state = ScanState({entry.label: entry for entry in first.labels}, changes=first.changes[1:])
    searched = Searched()
    again = quick_scan(resume=state, callbacks=[searched])
    assert searched.labels == [0]
    assert again.changes[3].trigger is first.changes[3].trigger
    assert again.changes[0].size == pytest.approx(first.changes[0].size, rel=1e-2)
    assert again.flagged == first.flagged


@pytest.mark.slow
def test_a_saved_change_of_other_images_is_refused() -> None:
    other = replace(found().changes[3], trigger=Warp(3, np.zeros((5, 5, 2), np.float32), 3), detector="warp")
    state = ScanState({entry.label: entry for entry in found().labels}, changes=(other,))
    with pytest.raises(InputError, match=r"warp of label 3 is for images \(5, 5, 3\): expected \(8, 8, 3\); delete triggers/warp-3.npz"):
        quick_scan(resume=state)


def test_no_minibatch_is_larger_than_that_of_the_labels() -> None:
    made = make_plan(striped_network(), IMAGES, CLASSES, ScanOptions(settings=replace(QUICK, batch_size=2), precision="float32"))
    assert made.memory is not None
    seen: list[tuple[int, int]] = []

    def engine(task: Any, segments: Any, *, lanes: int, on_round: Any) -> Iterator[Any]:
        seen.append((lanes, task.settings.batch_size))
        yield from ()

    def closing_engine(*arguments: Any, **named: Any) -> Any:
        return (progress for progress in engine(*arguments, **named))

    for detector in changes.CHANGES:
        assert not list(changes.search_changes(made.task, detector, [0], closing_engine, 5, None))  # type: ignore[arg-type]
    assert seen == [(2, 2), (2, 2)]
    assert WHOLE_IMAGE.batch_size == 8


def circumstances(**changed: Any) -> Circumstances:
    usual = Circumstances(
        preset="robust",
        robust=True,
        prescreens=False,
        image_shape=(8, 8, 3),
        num_classes=6,
        num_labels=6,
        num_seen=6,
        num_held_out=10,
        upsample_size=1,
    )
    return replace(usual, **changed)


@pytest.mark.hardens
@pytest.mark.source_specific
@pytest.mark.parametrize(
    ("changed", "run"),
    [
        ({}, ("one-label", "all-to-all", "hardening", "source-specific", "picture", "warp")),
        ({"num_classes": 60, "num_labels": 60}, ("one-label", "all-to-all", "hardening", "picture", "warp")),
        ({"num_classes": 4, "num_labels": 4}, ("one-label", "all-to-all", "hardening", "source-specific")),
        ({"num_classes": 2, "num_labels": 2}, ("one-label", "hardening")),
        ({"num_held_out": 0}, ("one-label", "all-to-all", "picture", "warp")),
        ({"prescreens": True, "num_classes": 200, "num_labels": 200}, ("one-label", "all-to-all")),
        ({"robust": False, "preset": "paper"}, ("one-label",)),
        ({"num_labels": 3}, ("one-label",)),
        ({"upsample_size": 2}, ("one-label", "hardening")),
        ({"image_shape": (4, 8, 8, 3)}, ("one-label",)),
        ({"image_shape": (1, 8, 3)}, ("one-label", "all-to-all", "hardening", "source-specific", "picture")),
        ({"num_seen": 1}, ("one-label", "all-to-all", "hardening")),
    ],
)
def test_all_that_can_run_does(changed: dict[str, Any], run: tuple[str, ...]) -> None:
    assert chosen(None, circumstances(**changed)) == run


def test_those_that_are_asked_for_run_in_their_order() -> None:
    assert chosen(("warp", "one-label", "all-to-all"), circumstances()) == ("one-label", "all-to-all", "warp")
    assert chosen((), circumstances()) == ("one-label",)


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("picture", {"num_classes": 4, "num_labels": 4}, "a model of 5 classes or more, not of 4"),
        ("hardening", {"prescreens": True}, "preset robust, because a pre-screening leaves labels out"),
        ("hardening", {"num_held_out": 0}, "held-out images; give more images"),
        ("warp", {"robust": False, "preset": "paper"}, "preset robust or low-cost, not paper"),
        ("warp", {"image_shape": (4, 8, 8, 3)}, "a model for images, not for clips"),
        ("all-to-all", {"num_labels": 2}, "all 6 labels to be searched, not 2"),
        ("warp", {"prescreens": True, "preset": "low-cost"}, "preset robust, because a pre-screening leaves labels out"),
        ("picture", {"upsample_size": 2}, "super-pixels of one pixel"),
    ],
)
def test_one_that_cannot_run_is_refused(name: str, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=f"detector {name}: expected {message}"):
        chosen((name,), circumstances(**changed))


def test_an_unknown_one_is_refused() -> None:
    names = "one-label, all-to-all, hardening, source-specific, picture, warp"
    with pytest.raises(InputError, match=f"detector 'pictures': expected some of {names}"):
        ScanOptions(detectors=["pictures"])
    with pytest.raises(InputError, match="detectors 'warp': expected a list of names"):
        ScanOptions(detectors="warp")


@pytest.mark.slow
def test_a_folder_holds_all_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Scanned by command, stopped by nobody, read again by the repairs, and refused to another set of detectors."""
    model, data, out = tmp_path / "striped.keras", tmp_path / "data.npz", tmp_path / "scan"
    striped_network().save(model)
    np.savez(data, images=IMAGES, labels=CLASSES)
    how = [str(model), str(data), "--out", str(out), "--intensity-range", "raw", "--rounds", "12", "--init-cost", "0.1"]
    assert main(["scan", *how, "--detectors", "picture,warp"]) == 1
    printed = capsys.readouterr().out
    assert "looked for a faint picture over the whole image that sends every class to one label: backdoor suspected" in printed
    assert f"% opacity -> label {TARGET}, " in printed

    verdict = read_verdict(out / "verdict.json")
    assert [(row.detector, row.label) for row in verdict.changes] == [(name, label) for name in changes.CHANGES for label in range(6)]
    assert verdict.settings["detectors"] == ["one-label", "picture", "warp"]
    row = next(row for row in verdict.detectors if row.name == "picture")
    assert (row.labels, row.flagged) == ([TARGET], True)
    assert (verdict.changes[TARGET].chance or 0.0) == row.p_value

    page = (out / "report.html").read_text()
    assert "Faint pictures over the whole image" in page
    assert "Smooth warps of the image" in page
    assert "picture,warp" in page  # in the command that repeats the scan

    file = out / "triggers" / f"picture-{TARGET}.npz"
    trigger = load_found(file)
    assert isinstance(trigger, Trigger)
    flagged = ScanFolder(out).flagged_triggers()
    assert any(np.array_equal(one.pattern, trigger.pattern) for one in flagged if isinstance(one, Trigger))
    assert isinstance(load_found(out / "triggers" / "warp-0.npz"), Warp)
    assert main(["evaluate", str(model), str(data), "--trigger", str(file), str(out / "triggers" / "warp-0.npz")]) == 0
    assert f"ASR, picture-{TARGET}" in capsys.readouterr().out
    assert main(["scan", *how, "--detectors", "picture"]) == 2
    assert "holds a scan with detectors" in capsys.readouterr().err
    assert main(["scan", *how, "--detectors", "warp", "--preset", "paper", "--fresh"]) == 2
    assert "detector warp: expected preset robust or low-cost, not paper" in capsys.readouterr().err


@pytest.mark.slow
def test_a_model_of_few_colours_has_no_outlier() -> None:
    """The rows of `corner_network` without a planted corner are alike, so that no picture stands out."""
    result = scan(
        corner_network(None), IMAGES, CLASSES, settings=replace(QUICK, max_rounds=12), precision="float32", detectors=("picture",)
    )
    picture = next(row for row in result.detections if row.name == "picture")
    assert picture.verdict is Verdict.NO_OUTLIER
    assert result.flagged_changes == ()


@pytest.mark.slow
def test_a_scan_to_a_folder_goes_on_with_saved_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = ScanOptions(settings=replace(QUICK, max_rounds=4), precision="float32", detectors=("picture", "warp"))
    first = scan_to_folder(tmp_path, striped_network(), (IMAGES, CLASSES), options=options)
    (tmp_path / "triggers" / "warp-5.npz").unlink()
    asked: list[tuple[str, list[int]]] = []
    searching = changes.search_changes

    def search(task: Any, detector: str, labels: list[int], *rest: Any) -> Any:
        asked.append((detector, list(labels)))
        return searching(task, detector, labels, *rest)

    monkeypatch.setattr("nc_tf.scanning.run.search_changes", search)
    again = scan_to_folder(tmp_path, striped_network(), (IMAGES, CLASSES), options=options)
    assert asked == [("picture", []), ("warp", [5])]
    assert [change.size for change in again.changes] == pytest.approx([change.size for change in first.changes], rel=1e-2)
    assert all(change.status is not Status.NONFINITE for change in again.changes)


@pytest.mark.slow
def test_a_worker_searches_the_same_kind() -> None:
    made = make_plan(striped_network(), IMAGES, CLASSES, ScanOptions(settings=QUICK, precision="float32"))
    for kind in changes.CHANGES.values():
        again = unpack(pack(made.task.changed(settings=kind.settings, kind=kind.space)))
        assert type(again.space) is kind.space
        assert again.settings == kind.settings
