"""The commands on networks of other forms and on weights alone: what is printed, written down and saved."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forms import TEST, TRAIN, one_value, two_heads
from networks import corner_trigger

from nc_tf.cli.main import main
from nc_tf.cli.options import image_shape
from nc_tf.models.loading.load import load_network
from nc_tf.models.networks.architectures import signs_network
from nc_tf.report.commands import commands
from nc_tf.storage.trigger_file import save_trigger
from nc_tf.storage.verdict_schema import verdict_from

SHORT = ["--preset", "paper", "--batch-size", "16", "--batches-per-round", "2", "--rounds", "2"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`value.keras`, `heads.keras` and their trigger, the weights alone of a third network, and data for each."""
    folder = tmp_path_factory.mktemp("forms")
    one_value().save(folder / "value.keras")
    two_heads(age=None).save(folder / "heads.keras")
    (x_train, y_train), (x_test, y_test) = TRAIN, TEST
    np.savez(folder / "data.npz", x_train=x_train, y_train=y_train, x_test=x_test.reshape(len(x_test), -1), y_test=y_test)
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    signs = signs_network(3, (16, 16, 3))
    bias = signs.layers[-1].bias
    bias.assign(bias - np.log(signs.predict(images.astype(np.float32), verbose=0)).mean(axis=0))  # so that every class is answered
    signs.save_weights(folder / "signs.weights.h5")
    np.savez(folder / "signs.npz", x=images, y=signs.predict(images.astype(np.float32), verbose=0).argmax(-1))
    save_trigger(folder / "corner.npz", corner_trigger(0))
    return folder


def run(folder: Path, command: str, model: str, *more: object, data: str = "data.npz") -> int:
    return main([command, str(folder / model), str(folder / data), *map(str, more)])


def verdict(out: Path) -> dict[str, Any]:
    return dict(json.loads((out / "verdict.json").read_text()))


@pytest.mark.slow
def test_a_scan_says_what_it_took_a_flat_sigmoid_for(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    assert run(folder, "scan", "value.keras", "--out", tmp_path, *SHORT) == 3
    words = "one sigmoid output, input (192,) for images (8, 8, 3)"
    assert f"{folder / 'value.keras'} has {words}\n" in capsys.readouterr().err
    found = verdict(tmp_path)
    assert [row["label"] for row in found["labels"]] == [0, 1]
    assert found["model"] | {"path": "", "sha256": ""} == {
        "path": "", "sha256": "", "num_classes": 2, "input_shape": [8, 8, 3], "own_input_shape": [192], "adapted": words,
    }  # fmt: skip
    assert all("--image-shape 8x8x3" in command.line for command in commands(verdict_from(found), "out") if command.opens_model)


@pytest.mark.slow
def test_a_scan_of_another_output_is_another_scan(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    assert run(folder, "scan", "heads.keras", "--out", tmp_path, "--output", "kind", *SHORT) == 3
    assert verdict(tmp_path)["model"]["output"] == "kind"
    assert all("--output=kind" in command.line for command in commands(verdict_from(verdict(tmp_path)), "out") if command.opens_model)
    assert run(folder, "scan", "heads.keras", "--out", tmp_path, "--output", "age", *SHORT) == 2
    assert "holds a scan with adapted output 'kind' of 2, this one has one linear output, the logit" in capsys.readouterr().err
    repair = ("--scan", tmp_path, "--out", tmp_path / "m.keras", "--output", "age")
    verdict_file = tmp_path / "verdict.json"
    verdict_file.write_text(json.dumps(verdict(tmp_path) | {"flagged": [0]}))
    assert run(folder, "unlearn", "heads.keras", *repair) == 2
    assert """is the scan of a model with "output 'kind' of 2", this one has "one linear output""" in capsys.readouterr().err


@pytest.mark.slow
def test_several_outputs_are_listed(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    for command in ("scan", "unlearn", "prune", "filter", "nft"):
        trigger = () if command == "scan" else ("--trigger", folder / "corner.npz")
        assert run(folder, command, "heads.keras", "--out", tmp_path / "m.keras", *trigger) == 2
        assert "choose with --output (output= of nc_tf.adapt) one of 0: 'age' (None, 1), 1: 'kind' (None, 2)" in capsys.readouterr().err
    assert run(folder, "evaluate", "heads.keras") == 2


@pytest.mark.slow
def test_a_repaired_file_has_the_form_of_the_given_one(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    more = ("--trigger", folder / "corner.npz", "--fraction", 1, "--out", tmp_path / "m.keras", "--epochs", 2, "--learning-rate", 0.003)
    assert run(folder, "unlearn", "value.keras", *more) == 0
    stored = load_network(tmp_path / "m.keras")
    assert (stored.input_shape, stored.output_shape) == ((None, 192), (None, 1))
    capsys.readouterr()
    assert run(folder, "evaluate", str(tmp_path / "m.keras"), "--image-shape", "8x8x3", "--trigger", folder / "corner.npz") == 0
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "mitigation.json").read_text())["after"]
    assert written["attack_success_rate"]["reversed"] < 0.05
    assert f"ASR, corner                      {written['attack_success_rate']['reversed']:.4f}" in printed
    assert f"clean accuracy                   {written['clean_accuracy']:.4f}, 120 images" in printed


@pytest.mark.slow
def test_weights_alone_are_scanned_repaired_and_evaluated(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    weights, out, named = "signs.weights.h5", tmp_path / "scan", ("--weights-of", "signs", "--image-shape", "16x16x3")
    assert run(folder, "scan", weights, "--out", out, *named, *SHORT, "--rounds", 1, "--labels", 0, data="signs.npz") == 3
    assert (verdict(out)["model"]["weights_of"], verdict(out)["model"]["num_classes"]) == ("signs", 3)
    lines = [command.line for command in commands(verdict_from(verdict(out)), "out") if command.opens_model]
    assert all("--image-shape 16x16x3 --weights-of signs" in line for line in lines)
    repair = ("--out", tmp_path / "m.keras", "--architecture", *named[1:], "--fraction", 1, "--steps", 1)
    assert run(folder, "nft", weights, *repair, data="signs.npz") == 0
    assert load_network(tmp_path / "m.keras").output_shape == (None, 3)
    assert run(folder, "evaluate", weights, *named, data="signs.npz") == 0
    capsys.readouterr()
    assert run(folder, "evaluate", weights, "--weights-of", "gtsrb", data="signs.npz") == 2
    assert "are not the weights of gtsrb for images of its usual shape" in capsys.readouterr().err


def test_the_shape_of_images_is_parsed() -> None:
    assert image_shape("28x28x1") == (28, 28, 1)
    assert image_shape("4x8x8x3") == (4, 8, 8, 3)


@pytest.mark.parametrize("text", ["28x28", "28x28x0", "ax2x3", "28,28,1", "-1x2x3", "1x2x3x4x5", "99999999x1x1"])
def test_other_texts_are_no_shape(text: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit) as left:
        main(["evaluate", "m", "d", f"--image-shape={text}"])
    assert left.value.code == 2
    assert f"argument --image-shape: {text!r}: expected HxWxC such as 28x28x1, or TxHxWxC" in capsys.readouterr().err
