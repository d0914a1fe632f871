"""A defence in one file and one line of the registry: `nc-tf NAME` repairs with it, with the shared options and its own."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from planted import TEST, TRAIN, TRUE

from nc_tf.attacks.backdoor_file import save_backdoor
from nc_tf.cli.main import main
from nc_tf.cli.signature import parameters
from nc_tf.mitigation.registry import DEFENCES, Defence
from nc_tf.models.loading.load import load_model
from nc_tf.models.saving import save_model

Captured = pytest.CaptureFixture[str]

NEWCOMER = '''
"""Shrinking: smaller weights."""

from nc_tf.detection.recognition import AUTO
from nc_tf.mitigation.repair import Repair

MANY = 3


def shrink(
    model,
    images,
    labels,
    triggers,
    *,
    factor: float = 0.9,
    layers: "Sequence[str]" = (),
    note: str | None = None,
    times: int = MANY,
    test,
    known_triggers=None,
    fraction: float = 0.25,
    intensity_range=AUTO,
    seed: int = 0,
):
    """Return a copy of `model` with smaller weights.

    Args:
        factor: what every weight is multiplied by,
            at most 100 % of it.
        note: kept in the settings.
        times: no option, because its default is a name.

    Returns:
        The repaired model.
    """
    repair = Repair.of(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    images, labels = repair.sample(images, labels, fraction)
    repaired = repair.copy()
    repaired.set_weights([factor * weights for weights in repaired.get_weights()])
    return repair.done(repaired, "shrinking", factor=factor, note=note, images=len(images))


def in_words(done):
    return [f"every weight times {done.settings['factor']}"]
'''


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Register a toy defence; returns its name."""
    (tmp_path / "shrinking.py").write_text(NEWCOMER, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    line = Defence("shrinking:shrink", "Make all weights smaller.", options={"note": "remark"}, words="shrinking:in_words")
    monkeypatch.setitem(DEFENCES, "shrink", line)
    return "shrink"


def test_help_lists_it_and_its_options(registered: str, capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "Make all weights smaller." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main([registered, "--help"])
    printed = " ".join(capsys.readouterr().out.split())
    assert "--factor FACTOR what every weight is multiplied by, at most 100 % of it (default: 0.9)" in printed
    assert "--fraction FRACTION share of the training images used (default: 0.25)" in printed
    assert "--times" not in printed
    assert "--note" not in printed


def test_it_repairs_saves_and_measures(registered: str, infected: keras.Model, tmp_path: Path, capsys: Captured) -> None:
    np.savez(tmp_path / "data.npz", x_train=TRAIN[0], y_train=TRAIN[1], x_test=TEST[0], y_test=TEST[1])
    save_model(infected, tmp_path / "m.keras")
    save_backdoor(tmp_path / "true.npz", TRUE)
    (tmp_path / "out").mkdir()
    command = [registered, str(tmp_path / "m.keras"), str(tmp_path / "data.npz"), "--out", str(tmp_path / "out" / "r.keras")]
    assert main(command) == 2
    assert "no trigger: expected what a scan found" in capsys.readouterr().err
    assert main([*command, "--trigger", str(tmp_path / "true.npz"), "--factor", "0.5", "--remark", "halved"]) == 0
    assert "every weight times 0.5\n" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "mitigation.json").read_text())
    assert (content["method"], content["factor"], content["note"], content["images"]) == ("shrinking", 0.5, "halved", 150)
    for given, made in zip(infected.get_weights(), load_model(tmp_path / "out" / "r.keras").get_weights(), strict=True):
        np.testing.assert_allclose(made, 0.5 * given)


def test_every_line_of_the_registry_names_a_defence() -> None:
    for name, defence in DEFENCES.items():
        found = parameters(defence.function)
        assert {"fraction", "known_triggers", "seed"} <= found.keys(), name
        assert set(defence.options) <= found.keys(), name


@pytest.mark.parametrize("function", ["nc_tf.mitigation.pruning:no", "nc_tf.nowhere:prune"])
def test_a_line_without_a_function_is_named(function: str) -> None:
    with pytest.raises(LookupError, match=f"{function}: expected a (function of that name|module with a source file)"):
        parameters(function)


def test_the_command_line_is_parsed_without_tensorflow() -> None:
    code = "import sys; from nc_tf.cli.main import parser; parser(); sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
