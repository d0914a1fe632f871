"""The command `nc-tf`: exit codes, one line for bad input, going on after a stop, and every command in the documents."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from networks import IMAGE_SHAPE, corner_images, corner_network
from PIL import Image
from planted import TEST, TRUE, finished_scan
from quick import QUICK, data_file, digest, made_up, uneven_network

from nc_tf import __version__, folder_scan
from nc_tf.attacks.backdoor_file import load_backdoor
from nc_tf.attacks.patch import patch
from nc_tf.attacks.poison_types import POISON_TYPES
from nc_tf.cli import options
from nc_tf.cli.inject import ARCHITECTURES
from nc_tf.cli.main import commands, main
from nc_tf.cli.scan import STOPPED, print_result
from nc_tf.datasets import gtsrb
from nc_tf.datasets.read import read_both
from nc_tf.datasets.rendered import moving_shapes, signs
from nc_tf.detection.verdict import judge
from nc_tf.evaluation import measure
from nc_tf.inversion.restart import RestartResult
from nc_tf.models.loading.load import load_model
from nc_tf.models.networks.architectures import NETWORKS
from nc_tf.results import LabelResult
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scan_folder.settings_record import array_hash, sha256_of
from nc_tf.scanning import presets
from nc_tf.storage.folder_lock import locked
from nc_tf.storage.trigger_file import load_trigger

ROOT = Path(__file__).resolve().parents[2]
# The paper's rule, because six labels are too few for the other.
QUICKLY = ["--preset", "paper", "--loss", "cross_entropy", "--threshold", "0.95"]
QUICKLY += ["--batch-size", "16", "--batches-per-round", "4", "--rounds", "40"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `infected.keras`, `clean.keras`, `lame.keras` (four labels within reach) and `data.npz`."""
    folder = tmp_path_factory.mktemp("files")
    corner_network(3).save(folder / "infected.keras")
    uneven_network().save(folder / "clean.keras")
    uneven_network(unreachable=[4, 5]).save(folder / "lame.keras")
    data_file(folder / "data.npz")
    return folder


@pytest.fixture(autouse=True)
def _armed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The paper's schedule sets the cost late; there is no option for that, and forty rounds are what a test has."""
    preset = presets.PRESETS["paper"]
    quick = replace(preset, settings=replace(preset.settings, cost=QUICK.cost))
    monkeypatch.setitem(presets.PRESETS, "paper", quick)


def scan(files: Path, out: Path, model: str = "infected", *more: str) -> int:
    return main(["scan", str(files / f"{model}.keras"), str(files / "data.npz"), "--out", str(out), *QUICKLY, *more])


def verdict(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "verdict.json").read_text()))


def one_line(capsys: Captured) -> str:
    """What stderr holds, which must be one line of ours."""
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("nc-tf")
    return lines[0]


# Every command


@pytest.mark.parametrize("command", [[], *([name] for name in commands())], ids=lambda command: " ".join(command) or "none")
def test_help_tells_what_a_command_does(command: list[str], capsys: Captured) -> None:
    with pytest.raises(SystemExit) as left:
        main([*command, "--help"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("usage: nc-tf")
    for name in commands() if not command else ():
        assert re.search(rf"^  +{name} +\S", printed, re.MULTILINE), f"{name} has no line of help"
    if command:
        assert (commands()[command[0]].__doc__ or "").splitlines()[0] in printed


def test_every_command_is_documented() -> None:
    readme = ROOT / "README.md"
    assert readme.exists(), "README.md is missing"
    text = "\n".join(path.read_text(encoding="utf-8") for path in [readme, *(ROOT / "docs").rglob("*.md")])
    missing = [name for name in commands() if f"nc-tf {name}" not in text]
    assert not missing, f"neither README.md nor docs/ shows nc-tf {', nc-tf '.join(missing)}"


def test_the_version_is_that_of_the_package(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as left:
        main(["--version"])
    assert left.value.code == 0
    assert capsys.readouterr().out == f"nc-tf {__version__}\n"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["destroy"], "invalid choice: 'destroy'"),
        (["scan"], "the following arguments are required: MODEL, DATA, --out"),
        (["scan", "m", "d", "--out", "o", "--preset", "best"], "argument --preset: invalid choice: 'best'"),
        (["scan", "m", "d", "--out", "o", "--labels", "1,x"], "argument --labels: '1,x': expected numbers with commas between them"),
        (["scan", "m", "d", "--out", "o", "--rounds", "many"], "argument --rounds: invalid int value: 'many'"),
        (["scan", "m", "d", "--out", "o", "--mean", "a"], "argument --mean: 'a': expected numbers"),
        (["scan", "m", "d", "--out", "o", "--lab", "1"], "unrecognized arguments: --lab"),
        (["unlearn", "m", "d"], "the following arguments are required: --out"),
        (["inject", "d", "--out", "o", "--color", "white"], "argument --color: 'white': expected numbers"),
        (["inject", "d", "--out", "o", "--architecture", "vgg"], "argument --architecture: invalid choice: 'vgg'"),
        (["data", "mnist"], "argument name: invalid choice: 'mnist'"),
        (["demo", "--seed", "x"], "argument --seed: 'x': expected a whole number from 0"),
        (["data", "signs", "--seed", "-1"], "argument --seed: '-1': expected a whole number from 0"),
        (["scan", "m", "d", "--out", "o", "--seed", "-1"], "argument --seed: '-1': expected a whole number from 0"),
        (["scan", "m", "d", "--out", "o", "--starts", "2", "--trials", "2"], "--trials: not allowed with argument --starts"),
        (["scan", "m", "d", "--out", "o", "--starts", "0"], "argument --starts: '0': expected a whole number from 1"),
        (["unlearn", "m", "d", "--scan", "s", "--out", "o", "--seed", "-1"], "argument --seed: '-1': expected a whole number from 0"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exits_with_2(command: list[str], message: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as left:
        main(command)
    assert left.value.code == 2
    line = one_line(capsys)
    assert message in line
    assert line.endswith("--help")


# Scan


@pytest.mark.slow
def test_a_backdoor_exits_with_1(files: Path, tmp_path: Path, capsys: Captured) -> None:
    assert scan(files, tmp_path) == 1
    printed = capsys.readouterr().out
    assert printed.startswith("backdoor suspected: the smallest trigger of label 3 is more than 2 MAD below")
    assert re.search(r"^    3 +1\.\d\d +\d+\.\d\d +[01]\.\d{4} +0\.0000  \w+  <- flagged$", printed, re.MULTILINE)
    assert re.search(r"^median \d\.\d\d, MAD \d\.\d\d, anomaly index \d+\.\d\d$", printed, re.MULTILINE)
    assert f"written to {tmp_path}" in printed
    content = verdict(tmp_path)
    assert (content["verdict"], content["flagged"]) == ("backdoor suspected", [3])
    assert content["model"] == {
        "path": str(files / "infected.keras"),
        "sha256": sha256_of(files / "infected.keras"),
        "num_classes": 6,
        "input_shape": [8, 8, 3],
    }
    with np.load(files / "data.npz") as data:
        sha256 = array_hash(data["x_test"], data["y_test"])
    assert content["data"] == {"path": str(files / "data.npz"), "sha256": sha256, "num_images": 120}
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert {"verdict.json", "log.txt", "triggers/label_3.npz", "model_visualize_mask_label_3.png"} <= names


@pytest.mark.slow
def test_no_outlier_exits_with_0(files: Path, tmp_path: Path, capsys: Captured) -> None:
    assert scan(files, tmp_path, "clean") == 0
    assert verdict(tmp_path)["verdict"] == "no outlier"
    printed = capsys.readouterr().out
    assert printed.startswith("no outlier: ")
    assert "clean" not in printed.replace("clean.keras", "")


@pytest.mark.slow
def test_too_few_working_labels_exit_with_3(files: Path, tmp_path: Path, capsys: Captured) -> None:
    assert scan(files, tmp_path, "lame") == 3
    assert verdict(tmp_path)["verdict"] == "inconclusive"
    printed = capsys.readouterr().out
    assert printed.startswith("inconclusive: 4 of 6 labels have a working trigger")
    assert "median nan" not in printed


@pytest.mark.slow
def test_the_options_reach_the_search(files: Path, tmp_path: Path) -> None:
    options = ["--labels", "3,1", "--starts", "2", "--seed", "5", "--images", "60", "--learning-rate", "0.2", "--upsample", "2"]
    options += ["--init-cost", "0.02", "--cost-multiplier", "1.7", "--patience", "3"]
    assert scan(files, tmp_path, "infected", *options, "--precision", "float32", "--rounds", "2", "--loss", "linear") == 3
    content = verdict(tmp_path)
    assert [row["label"] for row in content["labels"]] == [1, 3]
    assert [row["starts"] for row in content["labels"]] == [2, 2]
    assert content["data"]["num_images"] == 60
    settings = content["settings"]
    expected = {"seed": 5, "learning_rate": 0.2, "upsample_size": 2, "max_rounds": 2, "loss": "linear", "precision": "float32"}
    assert {key: settings[key] for key in expected} == expected
    assert [settings["cost"][key] for key in ("threshold", "init_cost", "multiplier", "patience")] == [0.95, 0.02, 1.7, 3]
    assert (settings["batch_size"], settings["batches_per_round"], settings["preset"]) == (16, 4, "custom")


@pytest.mark.slow
def test_trials_search_the_training_images_and_keep_what_moves_most_test_images(files: Path, tmp_path: Path) -> None:
    """Three trials a label, the success rate on the whole test set, the best trial by it, and a log with every label."""
    assert scan(files, tmp_path, "infected", "--trials", "3") == 1
    content = verdict(tmp_path)
    assert content["flagged"] == [3]
    settings = content["settings"]
    assert (settings["starts"], settings["best"]) == (3, "success")
    assert (settings["images_searched"], settings["images_held_out"]) == (240, 120)
    log = (tmp_path / "log.txt").read_text()
    parameters, labels = log.split("----- Labels -----")
    assert all(line in parameters for line in ("starts: 3\n", "best: success\n", "batch_size: 16\n", "cost.threshold: 0.95\n"))
    assert len(re.findall(r"^Label \d:\n- Status: .*\n- ASR: \d", labels, re.MULTILINE)) == 6
    model = load_model(files / "infected.keras")
    for row in content["labels"]:
        trigger, _ = load_trigger(tmp_path / "triggers" / f"label_{row['label']}.npz")
        measured = measure(model, *TEST, {"found": trigger}).attack_success_rate["found"]
        assert row["attack_success_rate"] == pytest.approx(measured)
        assert f"Label {row['label']}:\n- Status: {row['status']}\n- ASR: {measured:.2%}\n" in labels
    again = scan(files, tmp_path, "infected", "--trials", "3")
    assert again == 1
    assert scan(files, tmp_path, "infected", "--starts", "3") == 2


@pytest.mark.slow
def test_labels_all_means_all(files: Path, tmp_path: Path) -> None:
    scan(files, tmp_path, "infected", "--labels", "all", "--rounds", "1")
    assert len(verdict(tmp_path)["labels"]) == 6


@pytest.mark.slow
def test_mean_and_std_say_what_the_model_wants(files: Path, tmp_path: Path) -> None:
    scan(files, tmp_path, "infected", "--mean", "0.5", "--std", "0.25,0.25,0.5", "--labels", "1", "--rounds", "1")
    assert verdict(tmp_path)["settings"]["intensity_range"] == "mean [0.5] std [0.25, 0.25, 0.5]"


@pytest.mark.slow
def test_class_names_come_from_a_file(files: Path, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("a\nb\nc\nstop\ne\nf\n")
    scan(files, tmp_path / "out", "infected", "--labels", "3", "--rounds", "1", "--class-names", str(names))
    assert verdict(tmp_path / "out")["labels"][0]["name"] == "stop"


def picture_folder(path: Path, names: Sequence[str]) -> Path:
    images, labels = corner_images(60)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        if label < len(names):
            (path / names[label]).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(path / names[label] / f"{number}.png")
    return path


@pytest.mark.slow
def test_class_names_come_from_a_folder_and_what_is_left_out_is_said(files: Path, tmp_path: Path, capsys: Captured) -> None:
    data = picture_folder(tmp_path / "data", ["a", "b", "c", "d", "e", "f"])
    (data / "b" / "notes.txt").touch()
    command = ["scan", str(files / "infected.keras"), str(data), "--out", str(tmp_path / "out"), *QUICKLY, "--rounds", "1"]
    assert main([*command, "--images", "48"]) == 3
    assert "read 48 of 60 images of 6 classes; left out: 1 file of another kind (.txt)" in capsys.readouterr().err.splitlines()
    assert [row["name"] for row in verdict(tmp_path / "out")["labels"]] == list("abcdef")


@pytest.mark.slow
def test_a_folder_with_fewer_classes_than_the_model_gives_no_names(files: Path, tmp_path: Path) -> None:
    data = picture_folder(tmp_path / "data", ["a", "b", "c", "d"])
    assert main(["scan", str(files / "infected.keras"), str(data), "--out", str(tmp_path / "out"), *QUICKLY, "--rounds", "1"]) == 3
    rows = verdict(tmp_path / "out")["labels"]
    assert len(rows) == 6
    assert "name" not in rows[0]


# Going on after a stop


def stop_after(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Interrupt the scan when so many labels are saved."""
    saved = ScanFolder.on_label
    count = 0

    def on_label(self: ScanFolder, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        nonlocal count
        saved(self, result, starts)
        count += 1
        if count == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(ScanFolder, "on_label", on_label)


@pytest.mark.slow
def test_a_stopped_scan_goes_on_where_it_was(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        assert scan(files, tmp_path / "stopped") == 130
        stopped = capsys.readouterr().err
    assert stopped.splitlines()[-1] == f"nc-tf: {STOPPED}"
    assert "Traceback" not in stopped
    done = ScanFolder(tmp_path / "stopped").label_results()
    assert len(done) == 2
    assert not (tmp_path / "stopped" / "verdict.json").exists()

    searched: list[int] = []
    saved = ScanFolder.on_label

    def on_label(self: ScanFolder, result: LabelResult, starts: Sequence[RestartResult]) -> None:
        searched.append(result.label)
        saved(self, result, starts)

    monkeypatch.setattr(ScanFolder, "on_label", on_label)
    assert scan(files, tmp_path / "stopped") == 1
    assert sorted(searched) == sorted(set(range(6)) - set(done))

    assert scan(files, tmp_path / "whole") == 1
    stopped_norms, whole_norms = ([row["l1_norm"] for row in verdict(tmp_path / name)["labels"]] for name in ("stopped", "whole"))
    np.testing.assert_allclose(stopped_norms, whole_norms, atol=1e-3)


@pytest.mark.slow
def test_other_settings_need_fresh(files: Path, tmp_path: Path, capsys: Captured) -> None:
    scan(files, tmp_path, "infected", "--labels", "0", "--rounds", "1")
    capsys.readouterr()
    assert scan(files, tmp_path, "infected", "--labels", "0", "--rounds", "1", "--seed", "1") == 2
    assert "holds a scan with seed 0, this one has 1" in one_line(capsys)
    assert scan(files, tmp_path, "infected", "--labels", "1", "--rounds", "1", "--seed", "1", "--fresh") == 3
    assert [row["label"] for row in verdict(tmp_path)["labels"]] == [1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [["--starts", "2"], ["--upsample", "2"], ["--images", "100"], ["--mean", "0", "--std", "1"], ["--loss", "linear"]]
)
def test_whatever_changes_the_outcome_is_another_setting(files: Path, tmp_path: Path, change: list[str], capsys: Captured) -> None:
    scan(files, tmp_path, "infected", "--labels", "0", "--rounds", "1")
    capsys.readouterr()
    assert scan(files, tmp_path, "infected", "--labels", "0", "--rounds", "1", *change) == 2
    assert "expected the same settings" in one_line(capsys)


def test_a_second_scan_into_one_folder_is_refused(files: Path, tmp_path: Path, capsys: Captured) -> None:
    with locked(tmp_path):
        assert scan(files, tmp_path) == 2
        assert f"another scan writes to {tmp_path}: expected one at a time; wait for its end" in one_line(capsys)
    assert [path.name for path in tmp_path.rglob("*")] == []


@pytest.mark.slow
def test_more_labels_are_the_same_scan(files: Path, tmp_path: Path) -> None:
    scan(files, tmp_path, "infected", "--labels", "0", "--rounds", "1")
    before = (tmp_path / "triggers" / "label_0.npz").stat().st_mtime_ns
    scan(files, tmp_path, "infected", "--labels", "0,1", "--rounds", "1")
    assert (tmp_path / "triggers" / "label_0.npz").stat().st_mtime_ns == before
    assert [row["label"] for row in verdict(tmp_path)["labels"]] == [0, 1]


@pytest.mark.slow
def test_a_refused_attempt_does_not_bind_the_next(files: Path, tmp_path: Path) -> None:
    assert scan(files, tmp_path, "infected", "--upsample", "0") == 2
    assert scan(files, tmp_path, "infected", "--starts", "1", "--labels", "0", "--rounds", "1") == 3


# Bad input


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--labels", "6"], "labels [6]: expected some of 0 to 5"),
        (["--rounds", "0"], "rounds 0: expected 1 or more"),
        (["--learning-rate", "0"], "learning rate 0.0: expected a finite number above 0"),
        (["--learning-rate", "nan"], "learning rate nan"),
        (["--threshold", "2"], "success threshold 2.0"),
        (["--images", "500"], "500 images wanted: expected 1 to 120"),
        (["--images", "10"], "10 images: expected at least 20"),
        (["--upsample", "0"], "upsample size 0"),
        (["--mean", "0.5"], "expected both"),
        (["--std", "0", "--mean", "0"], "expected positive numbers"),
        (["--class-names", "missing.txt"], "missing.txt cannot be read"),
        (["--trials", "2", "--preset", "robust"], "preset robust drops restarts before they end: expected --preset paper"),
    ],
)
def test_bad_options_are_one_line_and_exit_with_2(files: Path, tmp_path: Path, more: list[str], message: str, capsys: Captured) -> None:
    assert scan(files, tmp_path / "out", "infected", *more) == 2
    assert message in one_line(capsys)


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        ("missing.keras", "data.npz", "missing.keras"),
        ("infected.keras", "missing.npz", "missing.npz does not exist"),
        ("data.npz", "data.npz", "data.npz"),
    ],
)
def test_a_wrong_path_is_one_line_and_exits_with_2(
    files: Path, tmp_path: Path, model: str, data: str, message: str, capsys: Captured
) -> None:
    assert main(["scan", str(files / model), str(files / data), "--out", str(tmp_path)]) == 2
    line = one_line(capsys)
    assert message in line
    assert "expected" in line


def test_too_few_class_names_are_refused(files: Path, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "names.txt").write_text("a\nb\n")
    assert scan(files, tmp_path / "out", "infected", "--class-names", str(tmp_path / "names.txt")) == 2
    assert "has 2 names: expected 6" in one_line(capsys)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": corner_images(60)[0] / 255.0, "y": corner_images(60)[1]}, "multiply by 255"),
        ({"x": corner_images(60)[0][:, :7], "y": corner_images(60)[1]}, "one image has shape (7, 8, 3)"),
        ({"x": corner_images(60)[0], "y": corner_images(60)[1] + 2}, "with the label order number: expected labels from 0 to 5"),
        ({"x": corner_images(60)[0], "y": np.zeros(60, int)}, "every label is 0"),
        ({"images": np.zeros(3)}, "holds images: expected X_test and Y_test"),
    ],
)
def test_bad_data_is_one_line_and_exits_with_2(
    files: Path, tmp_path: Path, arrays: dict[str, np.ndarray], message: str, capsys: Captured
) -> None:
    np.savez(tmp_path / "bad.npz", **arrays)  # type: ignore[arg-type]
    assert main(["scan", str(files / "infected.keras"), str(tmp_path / "bad.npz"), "--out", str(tmp_path / "out"), *QUICKLY]) == 2
    assert message in one_line(capsys)


def test_an_unforeseen_failure_exits_with_2_not_with_1(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Python exits with 1 when it crashes, which a pipeline would read as a backdoor."""

    def crash(*_: Any, **__: Any) -> None:
        raise RuntimeError("out of luck\nand of memory")

    monkeypatch.setattr(folder_scan, "make_plan", crash)
    assert scan(files, tmp_path) == 2
    assert one_line(capsys) == "nc-tf: unforeseen RuntimeError (out of luck); NC_TF_TRACEBACK=1 shows where"
    monkeypatch.setenv("NC_TF_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="out of luck"):
        scan(files, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ["scan", "broken.keras", "data.npz", "--out", "out"],
        ["scan", "infected.keras", "data.npz", "--out", "out", "--labels", "6"],
        ["scan", "infected.keras"],
    ],
    ids=["broken model", "no such label", "usage"],
)
def test_a_real_process_writes_exactly_one_line_to_stderr(files: Path, tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "broken.keras").write_bytes((files / "infected.keras").read_bytes()[:500])
    for name in ("infected.keras", "data.npz"):
        (tmp_path / name).write_bytes((files / name).read_bytes())
    start = "import sys; from nc_tf.cli.main import main; sys.exit(main())"
    ran = subprocess.run([sys.executable, "-c", start, *command], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert len(ran.stderr.splitlines()) == 1, ran.stderr
    assert ran.stderr.startswith("nc-tf")
    assert "Traceback" not in ran.stderr + ran.stdout
    assert "expected" in ran.stderr or "required" in ran.stderr


# Options


def test_numbers_and_labels_are_parsed() -> None:
    assert options.numbers(float)("0.5,1") == (0.5, 1.0)
    assert options.labels("33") == (33,)
    assert options.labels("0, 33") == (0, 33)
    assert options.labels("all") is None


# Inject and unlearn


@pytest.fixture(scope="module")
def injected(files: Path) -> Path:
    """`nc-tf inject` on the tiny images."""
    out = files / "trained.keras"
    square = ["--target", "2", "--size", "2", "--margin", "0", "--poison-rate", "0.2"]
    training = ["--epochs", "5", "--learning-rate", "0.005", "--architecture", "signs"]
    assert main(["inject", str(files / "data.npz"), "--out", str(out), *square, *training]) == 0
    return out


@pytest.mark.slow
def test_inject_writes_a_network_with_a_backdoor_and_its_trigger(injected: Path) -> None:
    measured = measure(load_model(injected), *TEST, {"true": TRUE})
    assert measured.clean_accuracy > 0.9
    assert measured.attack_success_rate["true"] > 0.9
    trigger, _ = load_trigger(injected.with_name("trained_trigger.npz"))
    assert trigger.label == 2
    np.testing.assert_array_equal(trigger.mask, TRUE.mask)
    np.testing.assert_array_equal(trigger.pattern, TRUE.pattern)


@pytest.mark.slow
def test_inject_prints_a_line_an_epoch_and_with_rate_0_writes_no_trigger(files: Path, tmp_path: Path, capsys: Captured) -> None:
    out = tmp_path / "clean.h5"
    command = ["inject", str(files / "data.npz"), "--out", str(out), "--poison-rate", "0", "--epochs", "2", "--architecture", "signs"]
    assert main([*command, "--target", "2"]) == 0
    printed = capsys.readouterr().out
    assert len(re.findall(r"^ +[12] +[01]\.\d{4} +[01]\.\d{4}$", printed, re.MULTILINE)) == 2
    assert f"written: {out}\n" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["clean.h5"]


def inject(files: Path, out: Path, *more: str) -> int:
    training = ["--epochs", "1", "--architecture", "signs", "--target", "2", "--poison-rate", "0.2"]
    return main(["inject", str(files / "data.npz"), "--out", str(out), *training, *more])


@pytest.mark.slow
@pytest.mark.parametrize("name", [*POISON_TYPES, "benign"])
def test_inject_plants_what_is_published_by_name(files: Path, tmp_path: Path, name: str) -> None:
    assert inject(files, tmp_path / "m.keras", "--poison-type", name) == 0
    trigger = tmp_path / "m_trigger.npz"
    assert trigger.exists() == (name != "benign")
    if trigger.exists():
        expected = POISON_TYPES[name](IMAGE_SHAPE, 2, 0)[0]
        images = TEST[0].astype(np.float32)
        np.testing.assert_array_equal(load_backdoor(trigger)(images), expected(images))


def test_the_architectures_are_those_of_the_package() -> None:
    assert set(ARCHITECTURES) == set(NETWORKS)


@pytest.mark.slow
def test_inject_plants_other_goals(files: Path, tmp_path: Path) -> None:
    assert inject(files, tmp_path / "all.keras", "--target-type", "all2all") == 0
    assert list(load_backdoor(tmp_path / "all_trigger.npz").wanted(np.arange(6))) == [1, 2, 3, 4, 5, 0]
    assert inject(files, tmp_path / "some.keras", "--sources", "0,5") == 0
    assert list(load_backdoor(tmp_path / "some_trigger.npz").wanted(np.arange(6))) == [2, 1, 2, 3, 4, 2]


@pytest.mark.slow
def test_inject_keeps_images_for_a_defence(files: Path, tmp_path: Path) -> None:
    assert inject(files, tmp_path / "m.keras", "--val-frac", "0.25") == 0
    with np.load(files / "data.npz") as data, np.load(tmp_path / "m_clean.npz") as kept:
        assert len(kept["x_train"]) == len(kept["y_train"]) == round(0.25 * len(data["x_train"]))
        np.testing.assert_array_equal(kept["x_test"], data["x_test"])
        known = {image.tobytes() for image in data["x_train"]}
        assert all(image.tobytes() in known for image in kept["x_train"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "model.pt"], "model.pt: expected a name that ends in .keras or .h5"),
        (["--target", "6"], "target label 6: expected 0 to 5"),
        (["--size", "9"], "a square of 9 pixels"),
        (["--color", "256"], "colour (256,)"),
        (["--poison-rate", "2"], "poison rate 2.0"),
        (["--epochs", "0"], "0 epochs"),
        (["--batch-size", "0"], "batch size 0"),
        (["--architecture", "gtsrb"], "images of shape (8, 8, 3): expected larger for the architecture gtsrb; try signs"),
        (["--val-frac", "1"], "--val-frac 1.0: expected a share of the training images, 0 to below 1"),
        (["--target-type", "all2all", "--sources", "1"], "--target-type all2all and --sources: expected one of them"),
        (["--poison-type", "SIG", "--sources", "1"], "--poison-type SIG changes no label: expected all2one without --sources"),
    ],
)
def test_inject_refuses_what_cannot_be(files: Path, tmp_path: Path, more: list[str], message: str, capsys: Captured) -> None:
    command = ["inject", str(files / "data.npz"), "--out", str(tmp_path / "m.keras"), "--target", "2", "--size", "2"]
    assert main([*command, "--architecture", "signs", *more]) == 2
    assert message in one_line(capsys)
    assert not list(tmp_path.iterdir())


def unlearn(files: Path, injected: Path, scan_dir: Path, out: Path, *more: str) -> int:
    command = ["unlearn", str(injected), str(files / "data.npz"), "--scan", str(scan_dir), "--out", str(out)]
    return main([*command, "--fraction", "1", "--epochs", "3", "--learning-rate", "0.003", *more])


@pytest.mark.slow
def test_unlearn_takes_the_backdoor_out(files: Path, injected: Path, tmp_path: Path, capsys: Captured) -> None:
    before = digest(load_model(injected).get_weights())
    folder, out = finished_scan(tmp_path / "scan", [2]), tmp_path / "repaired.keras"
    assert unlearn(files, injected, folder, out, "--true-trigger", str(injected.with_name("trained_trigger.npz"))) == 0
    measured = measure(load_model(out), *TEST, {"true": TRUE})
    assert measured.attack_success_rate["true"] < 0.1
    assert measured.clean_accuracy > 0.9
    assert digest(load_model(injected).get_weights()) == before
    content = json.loads((tmp_path / "mitigation.json").read_text())
    assert content["before"]["attack_success_rate"]["true"] > 0.9
    assert content["after"]["attack_success_rate"]["true"] == measured.attack_success_rate["true"]
    printed = capsys.readouterr().out
    assert re.search(r"^clean accuracy +[01]\.\d{4} +[01]\.\d{4}$", printed, re.MULTILINE)
    assert re.search(r"^ASR, reversed trigger", printed, re.MULTILINE)
    assert f"written: {out}, and mitigation.json beside it" in printed


def test_unlearn_refuses_a_scan_without_flags(files: Path, injected: Path, tmp_path: Path, capsys: Captured) -> None:
    assert unlearn(files, injected, finished_scan(tmp_path / "scan", []), tmp_path / "m.keras") == 2
    assert "flags no label: expected a scan that suspects a backdoor" in one_line(capsys)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--scan", "nowhere"], "nowhere/verdict.json is missing"),
        (["--out", "repaired.pt"], "repaired.pt: expected a name that ends in .keras or .h5"),
        (["--true-trigger", "nothing.npz"], "nothing.npz is missing: expected a trigger file"),
        (["--fraction", "0"], "fraction 0.0"),
        (["--epochs", "0"], "0 epochs"),
    ],
)
def test_unlearn_refuses_bad_options(files: Path, injected: Path, tmp_path: Path, more: list[str], message: str, capsys: Captured) -> None:
    assert unlearn(files, injected, finished_scan(tmp_path / "scan", [2]), tmp_path / "m.keras", *more) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "m.keras").exists()


def test_unlearn_refuses_the_scan_of_another_model(files: Path, injected: Path, tmp_path: Path, capsys: Captured) -> None:
    folder = finished_scan(tmp_path / "scan", [2], patch((32, 32, 3), 2))
    assert unlearn(files, injected, folder, tmp_path / "m.keras") == 2
    assert "reversed trigger of shape (32, 32, 3)" in one_line(capsys)


def test_the_table_names_the_classes_that_are_known(capsys: Captured) -> None:
    result = judge([made_up(label, 10.0 + label) for label in range(5)])
    print_result(result)
    assert "name" not in capsys.readouterr().out
    print_result(result, ["stop", "no entry", "yield", "ahead", "bend"])
    heading, *rows, looked_for = capsys.readouterr().out.splitlines()[3:]
    assert heading.endswith("status           name")
    assert looked_for == f"looked for one small trigger that sends every class to one label: {result.verdict}"
    assert [row.split("converged")[1].strip() for row in rows] == ["stop", "no entry", "yield", "ahead", "bend"]


# Data


def test_data_signs_writes_an_npz_that_read_understands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    render = signs.load_data
    monkeypatch.setattr(signs, "load_data", lambda *, seed: render(num_train=86, num_test=43, seed=seed))
    assert main(["data", "signs", "--out", str(tmp_path), "--seed", "4"]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'signs.npz'}, 86 training and 43 test images\n"
    (x_train, _), (_, y_test) = render(num_train=86, num_test=43, seed=4)
    with np.load(tmp_path / "signs.npz") as saved:
        assert sorted(saved.files) == ["classes", "x_test", "x_train", "y_test", "y_train"]
        assert array_hash(saved["x_train"], saved["y_test"]) == array_hash(x_train, y_test)


def test_data_moving_shapes_writes_clips_that_read_both_understands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    render = moving_shapes.load_data
    monkeypatch.setattr(moving_shapes, "load_data", lambda **given: render(num_train=16, num_test=8, **given))
    assert main(["data", "moving-shapes", "--out", str(tmp_path), "--seed", "4"]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path / 'moving-shapes.npz'}, 16 training and 8 test clips\n"
    for read, rendered in zip(read_both(tmp_path / "moving-shapes.npz", seed=0), render(num_train=16, num_test=8, seed=4), strict=True):
        assert (read.subset, read.class_names) == (rendered.subset, moving_shapes.CLASS_NAMES)
        np.testing.assert_array_equal(read.images, rendered.images)
        np.testing.assert_array_equal(read.labels, rendered.labels)
    assert main(["data", "moving-shapes", "--out", str(tmp_path), "--frames", "4", "--size", "16"]) == 0
    assert read_both(tmp_path / "moving-shapes.npz", seed=0)[1].images.shape == (8, 4, 16, 16, 3)


def test_data_gtsrb_passes_its_options_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured) -> None:
    asked: list[tuple[Any, ...]] = []

    def prepare(out: str, *, source: str | None, crop: bool) -> list[Path]:
        asked.append((out, source, crop))
        return [Path(out) / "gtsrb_dataset.h5"]

    monkeypatch.setattr(gtsrb, "prepare", prepare)
    assert main(["data", "gtsrb", "--out", "there", "--from", "archives", "--crop"]) == 0
    assert main(["data", "gtsrb"]) == 0
    assert asked == [("there", "archives", True), ("data", None, False)]
    assert "written: there/gtsrb_dataset.h5\n" in capsys.readouterr().out


def test_data_gtsrb_from_an_empty_folder_is_refused(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "archives").mkdir()
    assert main(["data", "gtsrb", "--out", str(tmp_path / "out"), "--from", str(tmp_path / "archives")]) == 2
    assert "expected" in one_line(capsys)


@pytest.mark.slow
def test_a_real_scan_is_not_the_demos_to_wipe(files: Path, tmp_path: Path, capsys: Captured) -> None:
    scan(files, tmp_path, "infected", "--labels", "1", "--rounds", "1")
    capsys.readouterr()
    assert main(["demo", "--out", str(tmp_path)]) == 2
    assert f"{tmp_path} holds a scan that nc-tf demo did not make" in capsys.readouterr().err
    assert (tmp_path / "triggers" / "label_1.npz").exists()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [["--labels", "99"], ["--tensorboard", "data.npz"]])
def test_what_is_refused_deletes_nothing(files: Path, tmp_path: Path, wrong: list[str], capsys: Captured) -> None:
    scan(files, tmp_path, "infected", "--labels", "1,2", "--rounds", "1")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    wrong = [str(files / word) if word.endswith(".npz") else word for word in wrong]
    assert scan(files, tmp_path, "infected", "--rounds", "1", "--seed", "1", "--fresh", *wrong) == 2
    assert "expected" in one_line(capsys)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_fresh_leaves_nothing_of_the_scan_before(files: Path, tmp_path: Path) -> None:
    scan(files, tmp_path, "infected", "--labels", "1,2", "--rounds", "1")
    scan(files, tmp_path, "infected", "--labels", "3", "--rounds", "1", "--fresh")
    assert [row["label"] for row in verdict(tmp_path)["labels"]] == [3]
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == [f"model_visualize_{part}_label_3.png" for part in ("fusion", "mask", "pattern")]


@pytest.mark.slow
def test_a_default_spelled_out_is_no_other_scan(files: Path, tmp_path: Path) -> None:
    scan(files, tmp_path, "infected", "--labels", "1", "--rounds", "1")
    assert scan(files, tmp_path, "infected", "--labels", "1,2", "--rounds", "1", "--starts", "1") == 3


def test_where_there_is_one_set_a_part_is_set_aside(tmp_path: Path) -> None:
    from nc_tf.datasets.read import read_both

    images, labels = corner_images(50)
    np.savez(tmp_path / "one.npz", x=images, y=labels)
    train, test = read_both(tmp_path / "one.npz", seed=3)
    assert (len(train.images), len(test.images)) == (40, 10)
    together = np.concatenate([train.images, test.images]).reshape(50, -1)
    assert sorted(map(bytes, together)) == sorted(map(bytes, images.reshape(50, -1)))
