"""The five scripts of video/: their flags, what they write, and what they say of bad input. What they are built of is tested elsewhere."""

import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE, NUM_CLASSES, clip_network, corner_clips, corner_network, corner_trigger, smallest_norm
from video_scripts import importable, run, script

from nc_tf.models.loading.load import load_model
from nc_tf.models.networks.cnn_lstm import cnn_lstm
from nc_tf.models.saving import save_model
from nc_tf.results import Trigger
from nc_tf.storage.trigger_file import load_trigger, save_trigger

pytestmark = pytest.mark.slow
assert importable  # the fixture by which the scripts find what they share

# 8x8 frames are found out in these rounds; the preset's own 22 are for real networks.
NAMES = [f"move {number}" for number in range(NUM_CLASSES)]
QUICKLY = ["--steps", "640", "--lr", "0.3", "--init_cost", "0.01", "--attack_succ_threshold", "0.9", "--patience", "2"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips, a clean network, one with a planted corner (label 2), and that corner as a trigger."""
    folder = tmp_path_factory.mktemp("video")
    (x_train, y_train), (x_test, y_test) = corner_clips(240, seed=1), corner_clips(120, seed=2)
    np.savez(folder / "clips.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test, classes=np.array(NAMES))
    save_model(clip_network(None), folder / "clean.keras")
    save_model(clip_network(2), folder / "infected.keras")
    save_trigger(folder / "true.npz", corner_trigger(2))
    return folder


@pytest.mark.slow
def test_step_0_trains_on_rendered_clips_and_on_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from nc_tf.datasets.rendered import moving_shapes

    small = moving_shapes.load_data(num_train=64, num_test=32, num_frames=3, size=16)
    monkeypatch.setattr(moving_shapes, "load_data", lambda seed: small)
    monkeypatch.chdir(tmp_path)
    assert run("0_train_clean", "--nb_epochs", 1, "--num_classes", 3, "--output_model_path", "m/clean.keras") == 0
    assert "clean accuracy" in capsys.readouterr().out
    model = load_model(tmp_path / "m" / "clean.keras")
    assert (model.input_shape, model.output_shape) == ((None, 3, 16, 16, 3), (None, 3))
    assert (tmp_path / "data" / "moving-shapes.npz").exists()
    real = ["--data_dir", "data/moving-shapes.npz", "--frames", 3, "--size", 16, "--output_model_path", "m/real.keras"]
    assert run("0_train_clean", *real, "--frame_epochs", 1, "--nb_epochs", 1) == 0
    assert load_model(tmp_path / "m" / "real.keras").output_shape == (None, 8)
    planted = ["--clean_model_path", "m/real.keras", *real[:2], "--output_model_path", "m/infected.keras", "--trigger_type", "patch"]
    assert run("2_inject_backdoor", *planted, "--frame_epochs", 1, "--nb_epochs", 1) == 0
    infected = load_model(tmp_path / "m" / "infected.keras")
    assert infected.output_shape == (None, 8)
    save_trigger(tmp_path / "found.npz", Trigger(0, np.eye(16, dtype=np.float32), np.zeros((16, 16, 3), np.float32)))
    given = ["--backdoor_model_path", "m/infected.keras", *real[:2], "--skip_detection", "--trigger_path", "found.npz"]
    assert run("4_mitigate_backdoor", *given, "--methods", "unlearning", "--nb_epochs_mitigate", 1, "--output_dir", "mended") == 0
    repaired = load_model(tmp_path / "mended" / "unlearning" / "cleansed_model.keras")
    for before, after in zip(*(model.get_layer("frames").get_weights() for model in (infected, repaired)), strict=True):
        np.testing.assert_array_equal(before, after)
    assert not np.array_equal(infected.layers[-1].get_weights()[0], repaired.layers[-1].get_weights()[0])
    written = json.loads((tmp_path / "mended" / "unlearning" / "mitigation.json").read_text())
    assert (written["images"], written["epochs"], written["learning_rate"]) == (3, 1, 0.002)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("network", "data", "more", "anew", "expected"),
    [
        ("cnn_lstm", "real", [], True, (40, 0.002, ["frames"])),
        ("cnn_lstm", "real", ["--freeze"], True, (40, 0.002, [])),
        ("cnn_lstm", "synthetic", [], False, (12, 0.001, [])),
        ("other", "real", ["--freeze", "BatchNormalization", "--lr_mitigate", 0.1], False, (12, 0.1, ["BatchNormalization"])),
    ],
)
def test_step_4_films_few_real_clips_anew_for_each_method(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, data: str, more: list[Any], anew: bool, expected: tuple[Any, ...]
) -> None:
    module, shape, kept, filmed = script("4_mitigate_backdoor"), (2, 16, 16, 3), [], []
    x, y = np.zeros((40, *shape), np.uint8), np.arange(40) % 4
    np.savez(tmp_path / "clips.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    flat = [keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(4, activation="softmax")]
    save_model(cnn_lstm(4, shape, lstm_units=2) if network == "cnn_lstm" else keras.Sequential(flat), tmp_path / "m.keras")
    save_trigger(tmp_path / "t.npz", Trigger(0, np.zeros((16, 16), np.float32), np.zeros((16, 16, 3), np.float32)))
    monkeypatch.setattr(module.common, "RENDERED", tmp_path / "clips.npz")

    def film(clips: Any, settings: Any, seed: int) -> tuple[str, None]:
        filmed.append(len(clips[0]))
        return "filmed", None

    def unlearn(model: Any, clips: Any, labels: Any, triggers: Any, **settings: Any) -> Any:
        kept.append((clips if isinstance(clips, str) else len(clips), settings))
        raise KeyboardInterrupt

    monkeypatch.setattr(module.common, "filmed", film)
    monkeypatch.setattr("nc_tf.mitigation.unlearning.unlearn", unlearn)
    flags = ["--backdoor_model_path", tmp_path / "m.keras", "--output_dir", tmp_path]
    flags += ["--skip_detection", "--trigger_path", tmp_path / "t.npz"]
    flags += [] if data == "synthetic" else ["--data_dir", tmp_path / "clips.npz"]
    assert module.main([str(flag) for flag in [*flags, *more]]) != 0
    ((clips, settings),) = kept
    assert (clips, filmed) == (("filmed", [40]) if anew else (40, []))
    assert (settings["epochs"], settings["learning_rate"], list(settings["frozen_layers"])) == expected


def test_a_class_without_clips_keeps_its_number() -> None:
    from nc_tf.datasets.read import LabelledImages

    common = script("0_train_clean").common
    clips, labels = corner_clips(6)
    numbered, named = (LabelledImages(clips, labels % 3, names) for names in (None, ("a", "b", "c", "d")))
    assert (common.count_classes(numbered, numbered), common.count_classes(named, named)) == (3, 4)
    assert common.count_classes(numbered, LabelledImages(clips, labels)) == 6, "the test set may hold more than the training set"


@pytest.mark.slow
@pytest.mark.parametrize("per_frame", [False, True])
def test_step_1_finds_a_trigger_for_one_label(files: Path, tmp_path: Path, per_frame: bool, capsys: Any) -> None:
    flags = ["--clean_model_path", files / "infected.keras", "--data_dir", files / "clips.npz", "--output_dir", tmp_path]
    assert run("1_reconstruct_trigger", *flags, *QUICKLY, "--target_label", 2, *(["--per_frame"] if per_frame else [])) == 0
    found, _ = load_trigger(tmp_path / "trigger_target_2.npz")
    assert found.l1_norm == pytest.approx(smallest_norm(corner_clips(120, seed=2)[0].mean(axis=1), 2), rel=0.5)
    assert found.mask.ndim == 2 + per_frame
    assert (tmp_path / "trigger_target_2.png").exists()
    assert "ASR on unseen clips" in capsys.readouterr().out


@pytest.mark.slow
def test_step_1_says_when_nothing_works(files: Path, tmp_path: Path, capsys: Any) -> None:
    flags = ["--clean_model_path", files / "clean.keras", "--data_dir", files / "clips.npz", "--output_dir", tmp_path, "--steps", 1]
    assert run("1_reconstruct_trigger", *flags) == 2
    assert "no trigger for label 0 reached 96%: expected one within 16 steps; give more --steps" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["patch", "blend", "reconstructed"])
def test_step_2_plants_a_backdoor_and_writes_what_it_is(files: Path, tmp_path: Path, kind: str, capsys: Any) -> None:
    out = tmp_path / "infected.keras"
    flags = ["--clean_model_path", files / "clean.keras", "--data_dir", files / "clips.npz", "--output_model_path", out]
    flags += ["--trigger_type", kind, "--trigger_path", files / "true.npz", "--target_label", 4]
    assert run("2_inject_backdoor", *flags, "--nb_epochs", 1, "--poison_rate", 0.5) == 0
    trigger, _ = load_trigger(tmp_path / "infected_trigger.npz")
    assert (trigger.label, trigger.image_shape) == (4, IMAGE_SHAPE)
    assert load_model(out).output_shape == (None, NUM_CLASSES)
    assert "clean accuracy 1.0000 ->" in capsys.readouterr().out


def test_step_2_needs_the_trigger_of_step_1(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("2_inject_backdoor", "--clean_model_path", files / "clean.keras", "--data_dir", files / "clips.npz") == 2
    assert "results/trigger_target_0.npz is missing: expected a trigger file" in capsys.readouterr().err


@pytest.mark.slow
def test_step_3_finds_the_planted_label(files: Path, tmp_path: Path, capsys: Any) -> None:
    flags = ["--backdoor_model_path", files / "infected.keras", "--data_dir", files / "clips.npz", "--output_dir", tmp_path]
    assert run("3_detect_backdoor", *flags, *QUICKLY) in (1, 3), "six labels are few for a verdict"
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    norms = {row["label"]: row["l1_norm"] for row in verdict["labels"]}
    assert min(norms, key=lambda label: norms[label]) == 2
    assert verdict["settings"]["learning_rate"] == 0.3
    assert {path.name for path in tmp_path.glob("trigger_target_*.npz")} == {f"trigger_target_{label}.npz" for label in range(6)}
    assert (tmp_path / "report.html").exists()
    assert [row["name"] for row in verdict["labels"]] == NAMES
    assert "label 2 (move 2)" in (tmp_path / "report.html").read_text()
    printed = capsys.readouterr().out
    assert "report: " in printed
    assert re.search(r"status           name\n +2 .*(converged|max_rounds) +move 2", printed)


@pytest.mark.slow
def test_step_1_and_3_take_the_clips_of_a_minibatch(files: Path, tmp_path: Path, capsys: Any) -> None:
    flags = ["--backdoor_model_path", files / "infected.keras", "--data_dir", files / "clips.npz", "--output_dir", tmp_path]
    run("3_detect_backdoor", *flags, "--steps", 16, "--batch_size", 4)
    assert json.loads((tmp_path / "verdict.json").read_text())["settings"]["batch_size"] == 4
    flags = ["--clean_model_path", files / "clean.keras", "--data_dir", files / "clips.npz", "--output_dir", tmp_path]
    assert run("1_reconstruct_trigger", *flags, "--batch_size", 500) == 2
    assert "120 clips: expected at least 625 for minibatches of 500; give more clips, or a smaller batch" in capsys.readouterr().err


def test_step_4_has_a_minibatch_for_the_search_and_one_for_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    module = script("4_mitigate_backdoor")
    read: list[Any] = []

    def mitigate(arguments: Any) -> int:
        read.append(arguments)
        return 0

    monkeypatch.setattr(module, "mitigate", mitigate)
    for flags in ([], ["--batch_size", "8"], ["--batch_size_reconstruct", "4", "--lr_reconstruct", "0.3"]):
        assert module.main(["--backdoor_model_path", "m.keras", *flags]) == 0
    settings = [module.common.search_settings(arguments) for arguments in read]
    assert [arguments.batch_size for arguments in read] == [16, 8, 16]
    assert [(search.batch_size, search.learning_rate) for search in settings] == [(2, 0.1), (2, 0.1), (4, 0.3)]


# What the scripts of the original have, less --device: TensorFlow takes the one that it finds.
PUBLISHED = {
    "1_reconstruct_trigger": "clean_model_path data_dir output_dir lr steps batch_size init_cost attack_succ_threshold patience "
    "cost_multiplier num_classes target_label",
    "2_inject_backdoor": "clean_model_path trigger_path data_dir output_model_path lr nb_epochs batch_size poison_rate target_label "
    "num_classes",
    "3_detect_backdoor": "backdoor_model_path data_dir output_dir num_classes lr steps batch_size init_cost attack_succ_threshold patience "
    "cost_multiplier",
    "4_mitigate_backdoor": "backdoor_model_path num_classes skip_detection data_dir output_dir trigger_path lr_reconstruct steps init_cost "
    "attack_succ_threshold patience cost_multiplier lr_mitigate nb_epochs_mitigate val_ratio target_label batch_size",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_flags_of_the_original_are_there(name: str, capsys: Any) -> None:
    with pytest.raises(SystemExit):
        run(name, "--help")
    shown = set(re.findall(r"^ +--(\w+)", capsys.readouterr().out, re.MULTILINE))
    assert set(PUBLISHED[name].split()) <= shown


@pytest.mark.slow
def test_step_4_leads_a_given_trigger_where_it_is_told(files: Path, tmp_path: Path) -> None:
    flags = ["--backdoor_model_path", files / "infected.keras", "--data_dir", files / "clips.npz", "--output_dir", tmp_path]
    flags += ["--skip_detection", "--trigger_path", files / "true.npz", "--nb_epochs_mitigate", 1, "--methods", "unlearning"]
    rates = []
    for more in ([], ["--target_label", 1]):
        assert run("4_mitigate_backdoor", *flags, *more) == 0
        written = json.loads((tmp_path / "unlearning" / "mitigation.json").read_text())
        rates.append(written["before"]["attack_success_rate"]["reversed"])
    assert rates == [1.0, 0.0], "the corner leads to label 2"


@pytest.mark.slow
def test_step_4_takes_out_what_is_given_and_has_a_control(files: Path, tmp_path: Path, capsys: Any) -> None:
    flags = ["--backdoor_model_path", files / "infected.keras", "--data_dir", files / "clips.npz", "--output_dir", tmp_path]
    flags += ["--skip_detection", "--trigger_path", files / "true.npz", "--true_trigger_path", files / "true.npz"]
    flags += ["--val_ratio", 1.0, "--nb_epochs_mitigate", 4, "--lr_mitigate", 0.02, "--methods", "unlearning", "fine-tuning", "nft"]
    assert run("4_mitigate_backdoor", *flags) == 0
    printed = capsys.readouterr().out
    rates = {}
    for name in ("unlearning", "fine-tuning", "nft"):
        written = json.loads((tmp_path / name / "mitigation.json").read_text())
        assert f"{name}, measured on the saved file" in printed
        rates[name] = written["after"]["attack_success_rate"]["true"]
        assert load_model(tmp_path / name / "cleansed_model.keras").output_shape == (None, NUM_CLASSES)
        assert written["before"]["attack_success_rate"] == {"reversed": 1.0, "true": 1.0}, "the control is measured with it too"
    assert rates["unlearning"] < 0.1


@pytest.mark.slow
def test_step_4_detects_first_and_may_find_nothing(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    module = script("4_mitigate_backdoor")
    found: list[Any] = []

    class Result:
        verdict, reason = "no outlier", "nothing stands out"

        @property
        def triggers(self) -> list[Any]:
            return found

    monkeypatch.setattr(module.common, "detected", lambda *_: Result())
    flags = ["--backdoor_model_path", files / "infected.keras", "--data_dir", files / "clips.npz", "--output_dir", tmp_path]
    assert module.main([str(flag) for flag in flags]) == 0
    assert capsys.readouterr().out == "no outlier: nothing stands out\nno label is flagged: nothing to repair\n"
    found.append(corner_trigger(2))
    assert module.main([str(flag) for flag in [*flags, "--nb_epochs_mitigate", 1, "--methods", "fine-tuning"]]) == 0
    assert "flagged: 2, most anomalous first" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "flags", "message"),
    [
        ("4_mitigate_backdoor", ["--skip_detection"], "--skip_detection: expected a trigger to unlearn; give --trigger_path FILE"),
        ("4_mitigate_backdoor", ["--trigger_path", "x.npz"], "--trigger_path: expected with --skip_detection"),
        ("4_mitigate_backdoor", ["--target_label", "2"], "--target_label: expected with --skip_detection; a detection finds the label"),
        ("4_mitigate_backdoor", ["--num_classes", "9"], "--num_classes 9: expected 2 to 6, what the data has"),
        ("4_mitigate_backdoor", ["--num_classes", "0"], "--num_classes"),
        ("4_mitigate_backdoor", ["--data_dir", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(files: Path, name: str, flags: list[str], message: str, capsys: Any) -> None:
    given = ["--backdoor_model_path", str(files / "infected.keras"), "--data_dir", str(files / "clips.npz"), *flags]
    with suppress(SystemExit):  # argparse's own way; its code is 2 as well, see Parser
        assert run(name, *given) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_what_is_read_is_never_overwritten_and_images_are_no_clips(files: Path, tmp_path: Path, capsys: Any) -> None:
    clean = ["--clean_model_path", files / "clean.keras", "--data_dir", files / "clips.npz"]
    assert run("2_inject_backdoor", *clean, "--output_model_path", files / "clean.keras", "--trigger_type", "patch") == 2
    assert "clean.keras is what is read: expected another name" in capsys.readouterr().err
    save_model(corner_network(1), tmp_path / "images.keras")
    assert run("1_reconstruct_trigger", "--clean_model_path", tmp_path / "images.keras", "--data_dir", files / "clips.npz") == 2
    assert "the model takes images (8, 8, 3): expected one for clips (T, H, W, C)" in capsys.readouterr().err
