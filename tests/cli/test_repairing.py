"""The commands prune, filter, nft, evaluate, and unlearn in rounds: from triggers to a saved model and its table."""

import json
import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from networks import IMAGE_SHAPE, corner_images
from planted import TEST, TRAIN, TRUE, finished_scan
from quick import eight_classes, published, small_network

from nc_tf.attacks.backdoor_file import save_backdoor
from nc_tf.attacks.goals import AllToAll
from nc_tf.attacks.patch import patch
from nc_tf.cli.main import main
from nc_tf.errors import InputError
from nc_tf.evaluation import measure
from nc_tf.mitigation import rounds as rounds_module
from nc_tf.mitigation.rounds import unlearn_in_rounds
from nc_tf.models.loading.load import load_model
from nc_tf.models.saving import save_model
from nc_tf.results import Trigger
from nc_tf.scan_folder.settings_record import sha256_of
from nc_tf.storage.trigger_file import save_trigger

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, infected: keras.Model) -> Path:
    """Make a folder with model, data, two triggers, `scan`, which flags label 2, and scans for wrong uses."""
    folder = tmp_path_factory.mktemp("repairing")
    save_model(infected, folder / "infected.keras")
    np.savez(folder / "data.npz", x_train=TRAIN[0], y_train=TRAIN[1], x_test=TEST[0], y_test=TEST[1])
    save_backdoor(folder / "true.npz", TRUE)
    save_backdoor(folder / "next.npz", AllToAll(TRUE, 6))
    for name, flagged in (("scan", [2]), ("nothing", [])):
        finished_scan(folder / name, flagged)
    for name, sha256 in (("named", sha256_of(folder / "infected.keras")), ("other", "0" * 64)):
        finished_scan(folder / name, [2], sha256=sha256)
    (folder / "folder.h5").mkdir()
    return folder


def run(folder: Path, command: str, out: Path, *more: str) -> int:
    return main([command, str(folder / "infected.keras"), str(folder / "data.npz"), "--out", str(out), *more])


METHODS = {
    "prune": ["--fraction", "1"],
    "filter": ["--fraction", "1", "--units", "0.1"],
    "nft": ["--fraction", "0.2", "--steps", "5", "--batch-size", "16"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", METHODS)
def test_the_table_and_the_json_are_of_the_file_that_was_written(folder: Path, tmp_path: Path, command: str, capsys: Captured) -> None:
    out = tmp_path / "repaired.keras"
    more = ["--scan", str(folder / "scan"), "--true-trigger", str(folder / "next.npz")]
    assert run(folder, command, out, *METHODS[command], *more) == 0
    content = json.loads((tmp_path / "mitigation.json").read_text())
    measured = measure(load_model(out), *TEST, {"reversed": TRUE, "true": AllToAll(TRUE, 6)})
    assert content["after"]["clean_accuracy"] == pytest.approx(measured.clean_accuracy)
    assert content["after"]["attack_success_rate"] == pytest.approx(measured.attack_success_rate)
    assert content["before"]["attack_success_rate"]["reversed"] > 0.95
    assert content["details"]
    if command != "nft":
        assert measured.attack_success_rate["reversed"] < 0.05
    printed = capsys.readouterr().out
    assert re.search(rf"^ASR, true trigger +[01]\.\d{{4}} +{measured.attack_success_rate['true']:.4f}$", printed, re.MULTILINE)
    assert f"written: {out}, and mitigation.json beside it" in printed


@pytest.mark.slow
@pytest.mark.parametrize("command", ["unlearn", "prune", "filter"])
def test_trigger_files_do_as_well(folder: Path, tmp_path: Path, command: str) -> None:
    assert run(folder, command, tmp_path / "m.keras", "--trigger", str(folder / "true.npz")) == 0
    assert list(json.loads((tmp_path / "mitigation.json").read_text())["before"]["attack_success_rate"]) == ["reversed"]


@pytest.mark.slow
def test_nft_needs_no_trigger(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "nft", tmp_path / "m.keras", *METHODS["nft"]) == 0
    assert json.loads((tmp_path / "mitigation.json").read_text())["after"]["attack_success_rate"] == {}
    assert run(folder, "nft", tmp_path / "m.keras", *METHODS["nft"], "--scan", str(folder / "nothing")) == 0


@pytest.mark.parametrize("command", ["unlearn", "prune", "filter"])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "no trigger: expected what a scan found; give --scan DIR, or --trigger FILE"),
        (["--scan", "s", "--trigger", "t.npz"], "--scan and --trigger: expected one of them; leave one out"),
        (["--trigger", "t.npz"], "t.npz is missing: expected a trigger file"),
    ],
)
def test_triggers_are_asked_for(folder: Path, tmp_path: Path, command: str, more: list[str], message: str, capsys: Captured) -> None:
    assert run(folder, command, tmp_path / "m.keras", *more) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["prune", "filter"])
def test_a_scan_without_flags_is_refused(folder: Path, tmp_path: Path, command: str, capsys: Captured) -> None:
    assert run(folder, command, tmp_path / "m.keras", "--scan", str(folder / "nothing")) == 2
    assert "flags no label: expected a scan that suspects a backdoor; there is nothing to repair" in capsys.readouterr().err


# Wrong uses


@pytest.mark.parametrize("command", ["unlearn", *METHODS])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--out", "{folder}/infected.keras"], "infected.keras is what is read: expected another name"),
        (["--out", "{folder}/data.npz/m.keras"], "m.keras cannot be written ({folder}/data.npz is no folder to write to): expected"),
        (["--out", "{folder}/folder.h5"], "folder.h5 cannot be written ({folder}/folder.h5 is a folder): expected the name of a file"),
        (["--scan", "{folder}/other"], "other is the scan of another model file: expected one of this model"),
    ],
)
def test_what_would_overwrite_be_lost_or_mean_nothing_is_refused(
    folder: Path, tmp_path: Path, command: str, more: list[str], message: str, capsys: Captured
) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    triggers = [] if "--scan" in more else ["--scan", str(folder / "scan")]
    assert run(folder, command, tmp_path / "m.keras", *triggers, *(word.format(folder=folder) for word in more)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.format(folder=folder) in line
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not list(tmp_path.iterdir())


def test_the_scan_of_this_model_is_taken(folder: Path, tmp_path: Path) -> None:
    assert run(folder, "prune", tmp_path / "m.keras", "--scan", str(folder / "named")) == 0


@pytest.mark.slow
def test_a_table_that_means_nothing_comes_with_a_doubt(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    save_trigger(tmp_path / "pale.npz", Trigger(2, 0.01 * TRUE.mask, TRUE.pattern))
    triggers = ["--trigger", str(folder / "true.npz"), str(tmp_path / "pale.npz")]
    assert run(folder, "prune", tmp_path / "m.keras", *triggers) == 0
    assert capsys.readouterr().err == (
        "doubtful: the reversed 2 trigger moves 0% of the test images in the given model; check that it was found in this one\n"
    )
    assert run(folder, "prune", tmp_path / "m.keras", "--trigger", str(folder / "true.npz"), "--intensity-range", "mnist") == 2
    assert "with --intensity-range raw, it would recognise 100%" in capsys.readouterr().err
    assert run(folder, "prune", tmp_path / "m.keras", "--trigger", str(folder / "true.npz")) == 0
    assert not capsys.readouterr().err


# Evaluate


def test_evaluate_measures_what_there_is(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    victims = TEST[0][TEST[1] != 2].astype(np.float32)
    np.savez(tmp_path / "poisoned.npz", data=np.moveaxis(TRUE(victims), -1, 1), label=np.full(len(victims), 2))
    command = ["evaluate", str(folder / "infected.keras"), str(folder / "data.npz"), "--poisoned", str(tmp_path / "poisoned.npz")]
    assert main([*command, "--trigger", str(folder / "true.npz"), str(folder / "next.npz")]) == 0
    expected = measure(load_model(folder / "infected.keras"), *TEST, {"true": TRUE, "next": AllToAll(TRUE, 6)})
    printed = dict(re.findall(r"^(\S.*?) {2,}([01]\.\d{4})", capsys.readouterr().out, re.MULTILINE))
    assert printed == {
        "clean accuracy": f"{expected.clean_accuracy:.4f}",
        "attack success rate": f"{expected.attack_success_rate['true']:.4f}",
        **{f"ASR, {name}": f"{rate:.4f}" for name, rate in expected.attack_success_rate.items()},
        **{f"robust accuracy, {name}": f"{rate:.4f}" for name, rate in expected.robust_accuracy.items()},
    }


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--trigger", "none.npz"], "none.npz is missing: expected a trigger file"),
        (["--poisoned", "none.npz"], "none.npz does not exist"),
        (["--weights-of", "deepid"], "are not the weights of deepid for images of its usual shape"),
    ],
)
def test_evaluate_refuses_what_is_not_there(folder: Path, more: list[str], message: str, capsys: Captured) -> None:
    model = folder / "infected.h5" if "deepid" in more else folder / "infected.keras"
    if "deepid" in more:
        published(model, load_model(folder / "infected.keras"))
    assert main(["evaluate", str(model), str(folder / "data.npz"), *more]) == 2
    assert message in capsys.readouterr().err


# In rounds

EIGHT = corner_images(640, seed=1, num_classes=8)
QUICKLY: dict[str, Any] = {"fraction": 1.0, "ratio": 0.5, "epochs": 3, "learning_rate": 5e-3, "verbose": 0}


@pytest.mark.slow
def test_rounds_end_when_a_scan_finds_nothing() -> None:
    model = eight_classes(5)
    repaired = unlearn_in_rounds(model, *EIGHT, test=EIGHT, **QUICKLY)
    first, *_, last = repaired.details["rounds"]
    assert (first["flagged"], first["verdict"]) == ([5], "backdoor suspected")
    assert last["flagged"] == []
    assert repaired.before.attack_success_rate["reversed"] > 0.9
    assert repaired.after.attack_success_rate["reversed"] < 0.1
    assert repaired.after.clean_accuracy > 0.9
    assert repaired.settings["method"] == "unlearning in rounds"


def test_every_round_teaches_all_that_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripted scans: each flags one more label, and no trigger is dropped."""
    taught: list[list[int]] = []
    scans: list[int] = []
    square = [patch(IMAGE_SHAPE, label, size=2) for label in range(6)]

    class Found:
        def __init__(self, label: int) -> None:
            self.verdict, self.flagged, self.triggers, self.reason = "backdoor suspected", (label,), (square[label],), "it is small"
            self.flagged_pairs = ((0, label),) if label == 0 else ()

    def scan(model: keras.Model, *_: Any, **__: Any) -> Found:
        scans.append(len(taught))
        return Found(len(taught))

    def unlearn(model: keras.Model, images: Any, labels: Any, triggers: list[Any], **_: Any) -> Any:
        taught.append([trigger.label for trigger in triggers])
        return type("Taught", (), {"classifier": model, "settings": {"epochs": 1}})

    monkeypatch.setattr(rounds_module, "scan", scan)
    monkeypatch.setattr(rounds_module, "unlearn", unlearn)
    done = unlearn_in_rounds(small_network(), *TRAIN, test=TEST, rounds=3)
    assert taught == [[0], [0, 1], [0, 1, 2]]
    assert scans == [0, 1, 2, 3]
    assert [row["flagged"] for row in done.details["rounds"]] == [[0], [1], [2], [3]]
    assert rounds_module.in_words(done)[:2] == [
        "scan 1: backdoor suspected, flagged 0, pairs of class and label: 1",
        "scan 2: backdoor suspected, flagged 1",
    ]
    assert done.settings["triggers_taught"] == 3
    taught.clear()
    scans.clear()
    unlearn_in_rounds(small_network(), *TRAIN, [square[4]], test=TEST, rounds=1)
    assert (taught, scans) == ([[4]], [1])


@pytest.mark.slow
def test_rounds_without_anything_found_are_refused() -> None:
    with pytest.raises(InputError, match="the scan flags no label: expected a backdoor to unlearn; nothing was done"):
        unlearn_in_rounds(eight_classes(), *EIGHT, test=EIGHT, **QUICKLY)
    with pytest.raises(InputError, match="0 rounds: expected 1 or more"):
        unlearn_in_rounds(eight_classes(), *EIGHT, test=EIGHT, rounds=0)


@pytest.mark.slow
def test_unlearn_prints_each_rounds_scan(tmp_path: Path, capsys: Captured) -> None:
    save_model(eight_classes(5), tmp_path / "infected.keras")
    images, labels = EIGHT
    np.savez(tmp_path / "data.npz", x_train=images, y_train=labels, x_test=images[:400], y_test=labels[:400])
    more = ["--rounds", "3", "--fraction", "1", "--ratio", "0.5", "--epochs", "3", "--learning-rate", "0.005"]
    assert run(tmp_path, "unlearn", tmp_path / "m.keras", *more) == 0
    printed = capsys.readouterr().out
    assert "scan 1: backdoor suspected, flagged 5\n" in printed
    assert re.search(r"^scan [234]: no outlier, flagged none$", printed, re.MULTILINE)
