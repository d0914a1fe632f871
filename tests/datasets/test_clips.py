"""Clips (N, T, H, W, C) in the search, the stamping and the unlearning of images; frames share a trigger or have their own."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from networks import IMAGE_SHAPE, NUM_CLASSES, clip_network, corner_clips, corner_trigger, smallest_norm
from PIL import Image
from quick import QUICK, digest
from recording import Record

from nc_tf.attacks.blend import blend
from nc_tf.attacks.patch import patch
from nc_tf.attacks.sig import sig
from nc_tf.attacks.warp import warp
from nc_tf.cli.main import main
from nc_tf.cli.repairing import doubts
from nc_tf.errors import InputError
from nc_tf.evaluation import attack_success_rate, predict_classes
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.mitigation.nft import nft
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.models.saving import save_model
from nc_tf.preprocessing import Preprocessing
from nc_tf.report.figures import trigger_gallery
from nc_tf.report.report_file import write_report
from nc_tf.results import Backdoor, Measurement, ScanResult, Trigger, Unit, Verdict, fits
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scanning.presets import PRESETS
from nc_tf.scanning.scan import scan
from nc_tf.storage.pixels import drawable, film_strip
from nc_tf.storage.trigger_file import load_trigger, save_trigger
from nc_tf.training.injection import inject
from nc_tf.training.stamping import stamped_batches

FRAMES = 3
CLIP_SHAPE = (FRAMES, *IMAGE_SHAPE)
CLIPS, LABELS = corner_clips(60 * NUM_CLASSES // 3)


def clip_scan(label: int | None, **options: Any) -> ScanResult:
    return scan(clip_network(label), CLIPS, LABELS, settings=QUICK, preset="paper", **options)


def test_the_network_and_its_clips_are_what_they_are_said_to_be() -> None:
    assert CLIPS.shape == (len(LABELS), *CLIP_SHAPE)
    assert (predict_classes(clip_network(2), CLIPS) == LABELS).all()
    assert attack_success_rate(clip_network(2), CLIPS, LABELS, corner_trigger(2)) == 1.0


@pytest.mark.parametrize(
    ("preset", "image_shape", "usual", "lanes"),
    [
        ("robust", CLIP_SHAPE, (2, True, 0.96), 32),
        ("low-cost", CLIP_SHAPE, (2, True, 0.96), 32),
        ("robust", IMAGE_SHAPE, (8, False, 0.97), 32),
        ("paper", CLIP_SHAPE, (32, False, 0.99), 2),
    ],
)
def test_a_preset_may_have_settings_of_its_own_for_clips(
    preset: str, image_shape: tuple[int, ...], usual: tuple[Any, ...], lanes: int
) -> None:
    settings = PRESETS[preset].settings_for(image_shape, 10)
    assert (settings.batch_size, settings.exclude_target, settings.cost.threshold) == usual
    frames = FRAMES if image_shape is CLIP_SHAPE else 1
    assert PRESETS[preset].lanes_for(settings, frames) == lanes, "no more frames at once than of images"


@pytest.mark.slow
def test_the_command_searches_clips_as_clips_and_options_overrule_it(tmp_path: Path) -> None:
    save_model(clip_network(2), tmp_path / "model.keras")
    np.savez(tmp_path / "clips.npz", x=CLIPS, y=LABELS)
    given = [str(tmp_path / name) for name in ("model.keras", "clips.npz")]
    found = []
    for number, more in enumerate(([], ["--batch-size", "4"])):
        out = tmp_path / str(number)
        main(["scan", *given, "--out", str(out), "--labels", "0,2", "--rounds", "1", *more])
        found.append(json.loads((out / "verdict.json").read_text())["settings"])
    assert [(settings["batch_size"], settings["exclude_target"], settings["cost"]["threshold"]) for settings in found] == [
        (2, True, 0.96),
        (4, True, 0.96),
    ]
    default = scan(clip_network(2), CLIPS, LABELS, targets=[2], starts=1)
    assert (default.settings["preset"], default.settings["batch_size"], default.settings["exclude_target"]) == ("robust", 2, True)


@pytest.mark.slow
@pytest.mark.parametrize("per_frame", [False, True])
def test_the_planted_label_is_flagged_and_its_norm_is_the_one_on_paper(per_frame: bool) -> None:
    result = clip_scan(2, per_frame=per_frame)
    assert (result.verdict, result.flagged) == (Verdict.SUSPECTED, (2,))
    trigger = result.labels[2].trigger
    frames = (FRAMES,) if per_frame else ()
    assert (trigger.mask.shape, trigger.pattern.shape) == ((*frames, 8, 8), (*frames, *IMAGE_SHAPE))
    assert trigger.l1_norm == pytest.approx(smallest_norm(CLIPS.mean(axis=1), 2), rel=0.2)
    assert trigger.mask[..., 6:, 6:].sum() > 0.8 * trigger.mask.sum()
    assert attack_success_rate(clip_network(2), CLIPS, LABELS, trigger) > 0.95
    assert result.settings.get("per_frame", False) is per_frame


@pytest.mark.slow
def test_no_norm_stands_out_where_nothing_is_planted() -> None:
    result = clip_scan(None)
    assert min(entry.trigger.l1_norm for entry in result.labels) > 0.8 * result.median


@pytest.mark.slow
@pytest.mark.parametrize(("lanes", "expected"), [(None, 8 * 32 // (16 * FRAMES)), (2, 2)])
def test_clips_take_no_more_memory_than_images(lanes: int | None, expected: int) -> None:
    record = Record()
    clip_scan(2, targets=range(6), lanes=lanes, callbacks=[record])
    assert max(len(restarts) for restarts in record.rounds) == expected
    assert record.in_flight == expected * QUICK.batch_size * FRAMES


@pytest.mark.parametrize("trigger", [patch(IMAGE_SHAPE, 1), blend(IMAGE_SHAPE, 1), sig(IMAGE_SHAPE, 1, frequency=2), warp(IMAGE_SHAPE, 1)])
def test_a_trigger_for_images_is_put_on_every_frame(trigger: Backdoor) -> None:
    clips = CLIPS[:5].astype(np.float32)
    expected = np.stack([trigger(clip) for clip in clips])
    np.testing.assert_allclose(trigger(clips), expected, atol=1e-4)
    np.testing.assert_allclose(trigger(tf.constant(clips)), expected, atol=1e-4)


def test_a_trigger_of_its_own_for_every_frame() -> None:
    rng = np.random.default_rng(0)
    trigger = Trigger(1, rng.random(CLIP_SHAPE[:-1]).astype(np.float32), rng.uniform(0, 255, CLIP_SHAPE).astype(np.float32))
    clips = CLIPS[:4].astype(np.float32)
    each = [Trigger(1, trigger.mask[frame], trigger.pattern[frame])(clips[:, frame]) for frame in range(FRAMES)]
    np.testing.assert_allclose(trigger(clips), np.stack(each, axis=1), rtol=1e-6)
    assert trigger.l1_norm == pytest.approx(trigger.mask.sum() / FRAMES)
    assert trigger.image_shape == CLIP_SHAPE


def test_what_fits_a_clip() -> None:
    assert fits(corner_trigger(), CLIP_SHAPE)
    assert fits(corner_trigger(), IMAGE_SHAPE)
    assert not fits(patch((4, 8, 3), 0, size=2), CLIP_SHAPE)
    per_frame = Trigger(0, np.zeros(CLIP_SHAPE[:-1], np.float32), np.zeros(CLIP_SHAPE, np.float32))
    assert fits(per_frame, CLIP_SHAPE)
    assert not fits(per_frame, IMAGE_SHAPE)
    assert not fits(per_frame, (FRAMES + 1, *IMAGE_SHAPE))


def test_a_trigger_file_holds_either(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    trigger = Trigger(1, rng.random(CLIP_SHAPE[:-1]).astype(np.float32), rng.uniform(0, 255, CLIP_SHAPE).astype(np.float32))
    save_trigger(tmp_path / "label_1.npz", trigger)
    again, _ = load_trigger(tmp_path / "label_1.npz")
    np.testing.assert_array_equal(again.mask, trigger.mask)
    np.testing.assert_array_equal(again.pattern, trigger.pattern)


def test_frames_have_super_pixels_of_their_own() -> None:
    space = TriggerSpace((2, 5, 7, 3), 3, per_frame=True)
    assert (space.mask_shape, space.pattern_shape) == ((2, 2, 3), (2, 5, 7, 3))
    z_mask, _ = space.encode(np.arange(12).reshape(2, 2, 3) / 11, np.zeros((2, 5, 7, 3)))
    fine = space.masks(tf.constant(z_mask[None])).numpy()
    first = np.array([[0, 0, 0, 1, 1, 1, 2]] * 3 + [[3, 3, 3, 4, 4, 4, 5]] * 2)
    np.testing.assert_allclose(fine[0, ..., 0] * 11, [first, first + 6], atol=1e-4)
    mask, pattern = space.grey(np.random.default_rng(0), 1)
    assert (mask.shape, pattern.shape) == (space.mask_shape, space.pattern_shape)


def test_a_shared_trigger_space_stamps_every_frame_alike() -> None:
    space, rng = TriggerSpace(CLIP_SHAPE), np.random.default_rng(0)
    clips = rng.uniform(0, 255, (2, 4, *CLIP_SHAPE)).astype(np.float32)
    masks = rng.random((2, *IMAGE_SHAPE[:2], 1)).astype(np.float32)
    patterns = rng.uniform(0, 255, (2, *IMAGE_SHAPE)).astype(np.float32)
    stamped = space.stamp(clips, masks, patterns).numpy()
    for restart in range(2):
        np.testing.assert_allclose(stamped[restart], Trigger(0, masks[restart, ..., 0], patterns[restart])(clips[restart]), rtol=1e-5)


@pytest.mark.parametrize("regularization", ["l1", "l2", None])
def test_the_norm_of_a_trigger_a_frame_is_the_mean_of_theirs(regularization: str | None) -> None:
    masks = np.random.default_rng(0).random((2, *CLIP_SHAPE[:-1], 1)).astype(np.float32)
    shared, per_frame = TriggerSpace(CLIP_SHAPE), TriggerSpace(CLIP_SHAPE, per_frame=True)
    frames = [shared.norms(tf.constant(masks[:, frame]), regularization) for frame in range(FRAMES)]
    np.testing.assert_allclose(per_frame.norms(tf.constant(masks), regularization), np.mean(frames, axis=0), rtol=1e-5)


@pytest.mark.parametrize(
    ("shape", "per_frame", "message"),
    [((8, 8), False, r"expected \(H, W, C\), or \(T, H, W, C\)"), ((8, 8, 3), True, r"a trigger a frame for images .*: expected clips")],
)
def test_what_is_no_clip_has_no_frames(shape: tuple[int, ...], per_frame: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TriggerSpace(shape, per_frame=per_frame)


@pytest.mark.slow
def test_a_backdoor_in_clips_is_planted_and_unlearned() -> None:
    model, trigger = clip_network(None), patch(IMAGE_SHAPE, 1, size=2, margin=0)
    train, test = corner_clips(240, seed=1), corner_clips(120, seed=2)
    last = inject(model, train, test, trigger, rate=0.3, epochs=6, learning_rate=0.03, verbose=0)[-1]
    assert last.attack_success_rate["true"] > 0.9
    assert last.clean_accuracy > 0.9
    before = digest(model.get_weights())
    repaired = unlearn(model, *train, [trigger], test=test, fraction=1.0, ratio=0.5, epochs=6, learning_rate=0.03, verbose=0)
    assert repaired.after.attack_success_rate["reversed"] < 0.1
    assert repaired.after.clean_accuracy > 0.9
    assert digest(model.get_weights()) == before


@pytest.mark.slow
def test_clips_from_a_dataset_are_stamped_and_unlearned() -> None:
    batches = tf.data.Dataset.from_tensor_slices((CLIPS, LABELS)).batch(16)
    stamped = stamped_batches(batches, None, [corner_trigger()], rate=1.0, relabel=False, batch_size=16, seed=0, preprocess=Preprocessing())
    clips = np.concatenate([clip for clip, _ in stamped])
    assert (clips[..., 6:, 6:, :] == 255.0).all()
    test = CLIPS, LABELS
    repaired = unlearn(clip_network(0), batches, None, [corner_trigger()], test=test, ratio=0.5, learning_rate=0.02, epochs=3, verbose=0)
    assert repaired.settings["images"] == len(CLIPS)


def pages(tmp_path: Path, per_frame: bool) -> str:
    """The report of a scan folder."""
    folder = ScanFolder(tmp_path)
    folder.open({})
    result = clip_scan(2, per_frame=per_frame, callbacks=[folder])
    folder.write_samples(CLIPS, LABELS)
    model = {"path": "clips.keras", "num_classes": NUM_CLASSES, "input_shape": list(CLIP_SHAPE)}
    folder.write_verdict(result, model, {"path": "clips.npz", "num_images": len(CLIPS)})
    return write_report(tmp_path).read_text()


@pytest.mark.slow
def test_a_scan_of_clips_calls_them_clips() -> None:
    assert clip_scan(2).unit is Unit.CLIP
    refused: list[tuple[int, dict[str, Any], str]] = [
        (9, {}, r"9 clips: expected at least 20 for minibatches of 16; give more clips, or a smaller batch size"),
        (len(CLIPS), {"unseen": (CLIPS / 255.0, LABELS)}, "held-out clips: largest value .* multiply by 255"),
    ]
    for number, options, message in refused:
        with pytest.raises(InputError, match=message):
            scan(clip_network(2), CLIPS[:number], LABELS[:number], settings=QUICK, preset="paper", **options)


def test_what_a_command_says_of_clips_calls_them_clips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_model(clip_network(2), tmp_path / "clips.keras")
    np.savez(tmp_path / "clips.npz", x=CLIPS, y=LABELS)
    model, data = str(tmp_path / "clips.keras"), str(tmp_path / "clips.npz")
    assert main(["evaluate", model, data, "--poisoned", data]) == 0
    *_, clean, poisoned = capsys.readouterr().out.splitlines()
    assert clean.endswith(f", {len(CLIPS)} clips")
    assert f", {len(CLIPS)} clips of " in poisoned
    measured = Measurement(0.1, {"reversed": 0.1}, {"reversed": 0.1})
    for doubt in doubts(measured, 1, Unit.CLIP):
        assert "10% of the test clips" in doubt


@pytest.mark.slow
@pytest.mark.parametrize("per_frame", [False, True])
def test_a_report_plays_stamped_clips_and_shows_them_as_film_strips(tmp_path: Path, per_frame: bool) -> None:
    page = pages(tmp_path, per_frame)
    strips = re.findall(r'class="strip".*?src="(data:image/[^"]*)" width="(\d+)" height="(\d+)"', page)
    assert [(int(width), int(height)) for _, width, height in strips] == [(3 * 8 + 2 * 2, 8)] * 4, "a flagged label and three others"
    moving = re.findall(r"data:image/gif;base64,([^\"]*)", page)
    assert len(moving) == 4 * 3 * 2
    with Image.open(io.BytesIO(base64.b64decode(moving[1]))) as gif:
        assert (getattr(gif, "n_frames"), gif.size, gif.info["duration"]) == (FRAMES, (8, 8), 200)  # noqa: B009
        assert gif.info["loop"] == 7, "it rests after five seconds"
    assert page.count('alt="Clip of label') == 4 * 3 + 4
    assert ("--per-frame" in page) is per_frame
    with Image.open(ScanFolder(tmp_path).image_file("mask", 2)) as mask:
        assert mask.size == ((28, 8) if per_frame else (8, 8))


@pytest.mark.slow
def test_a_gallery_draws_clips_as_film_strips() -> None:
    figure = trigger_gallery(clip_scan(2), CLIPS, LABELS)
    shapes = {np.asarray(image.get_array()).shape for axes in figure.axes for image in axes.images}
    assert shapes == {(8, 8), (8, 8, 3), (8, 28, 3)}


def test_a_film_strip_has_the_first_and_the_last_frame() -> None:
    clip = np.arange(20.0)[:, None, None, None] * np.ones((20, 2, 3, 3))
    strip = film_strip(clip)
    assert strip.shape == (2, 8 * 3 + 7 * 2, 3)
    assert (strip[0, 0, 0], strip[0, 3, 0], strip[0, -1, 0]) == (0.0, 255.0, 19.0)
    assert film_strip(clip[:1]).shape == (2, 3, 3)
    assert drawable(clip[..., :1]).shape == (2, 38)


@pytest.mark.slow
def test_nft_weighs_the_channels_of_what_looks_at_every_frame() -> None:
    keras.utils.set_random_seed(0)
    frame = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Conv2D(4, 3), layers.BatchNormalization(name="inside"), layers.Flatten()])
    clip = keras.Sequential([keras.Input(CLIP_SHAPE), layers.TimeDistributed(frame), layers.LSTM(8), layers.Dense(NUM_CLASSES, "softmax")])
    before = digest(clip.get_weights())
    purified = nft(clip, CLIPS, LABELS, test=(CLIPS, LABELS), fraction=1.0, steps=3, batch_size=8, verbose=0)
    assert [mask["layer"] for mask in purified.details["masks"]] == ["inside"]
    assert digest(clip.get_weights()) == before
    assert digest(purified.model.get_weights()) != before
    assert digest(purified.model.layers[-1].get_weights()) == digest(clip.layers[-1].get_weights())


@pytest.mark.slow
def test_frozen_layers_stay_as_they_are_and_only_they() -> None:
    model = clip_network(0)
    first, last = model.layers[3].name, model.layers[5].name
    repaired = unlearn(model, CLIPS, LABELS, [corner_trigger()], test=(CLIPS, LABELS), ratio=0.5, frozen_layers=[first], verbose=0)
    assert digest(repaired.model.get_layer(first).get_weights()) == digest(model.get_layer(first).get_weights())
    assert digest(repaired.model.get_layer(last).get_weights()) != digest(model.get_layer(last).get_weights())
    assert repaired.model.get_layer(first).trainable, "it stays trainable for further training"
    assert repaired.settings["frozen_layers"] == [first]
    with pytest.raises(InputError, match="expected one with weights to be left; name fewer"):
        unlearn(model, CLIPS, LABELS, [], test=(CLIPS, LABELS), frozen_layers=[layer.name for layer in model.layers])
    with pytest.raises(InputError, match="layer 'no': expected layers of the model, some of "):
        unlearn(model, CLIPS, LABELS, [], test=(CLIPS, LABELS), frozen_layers=["no"])


@pytest.mark.slow
def test_a_kind_of_layers_is_frozen_wherever_it_is_and_set_back_as_it_was() -> None:
    frame = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Conv2D(3, 3, name="inside"), layers.BatchNormalization(), layers.ReLU()])
    frame.layers[0].trainable = False
    body = [layers.TimeDistributed(frame), layers.Flatten(), layers.Dense(NUM_CLASSES, activation="softmax")]
    model = keras.Sequential([keras.Input(CLIPS.shape[1:]), layers.Rescaling(1 / 255), *body])
    repaired = unlearn(model, CLIPS, LABELS, [corner_trigger()], test=(CLIPS, LABELS), frozen_layers=["BatchNormalization"], verbose=0)
    inner, mended = (part.layers[1].layer for part in (model, repaired.model))
    assert digest(inner.get_weights()) == digest(mended.get_weights())
    assert digest(model.layers[-1].get_weights()) != digest(repaired.model.layers[-1].get_weights())
    assert [layer.trainable for layer in mended.layers] == [False, True, True], "the first was frozen before"
