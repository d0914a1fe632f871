"""The commands on data that the model does not recognise, or only after a change."""

import json
from pathlib import Path

import numpy as np
import pytest
from networks import NUM_CLASSES, corner_images, corner_network, corner_trigger
from planted import finished_scan
from test_cli import QUICKLY, one_line

from nc_tf.cli.main import main

Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`infected.keras`, and its images with labels from 1 (`from_1.npz`) and with labels that are all wrong (`shifted.npz`)."""
    path = tmp_path_factory.mktemp("recognition")
    corner_network(3).save(path / "infected.keras")
    images, labels = corner_images(240)
    np.savez(path / "from_1.npz", x=images, y=labels + 1)
    np.savez(path / "shifted.npz", x=images, y=(labels + 1) % NUM_CLASSES)
    finished_scan(path / "found", [3], corner_trigger(3))
    return path


def scan(folder: Path, data: str, out: Path, *more: str) -> int:
    return main(["scan", str(folder / "infected.keras"), str(folder / data), "--out", str(out), *QUICKLY, "--rounds", "2", *more])


def test_labels_of_another_numbering_are_inconclusive_with_what_would_fit(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    assert scan(folder, "shifted.npz", tmp_path) == 3
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["verdict"], verdict["flagged"], verdict["model_accuracy"]) == ("inconclusive", [], 0.0)
    assert "its classes numbered in another order, it would recognise 100%" in verdict["reason"]
    assert "accuracy on the given images: 0.0%; intensity range: raw, found by trying raw, mnist" in capsys.readouterr().out
    assert "Model accuracy on the given images: 0.00%" in (tmp_path / "log.txt").read_text()
    page = (tmp_path / "report.html").read_text()
    assert "would recognise 100%" in page
    assert "<dt>Accuracy</dt><dd>0.00%</dd>" in page


@pytest.mark.slow
def test_labels_counted_from_1_are_understood_and_said(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    scan(folder, "from_1.npz", tmp_path)
    assert "labels 1 to 6 are counted from 1, the model's classes from 0: 1 was subtracted" in capsys.readouterr().err
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert (verdict["model_accuracy"], verdict["data"]["label_order"]) == (1.0, "number-from-1")
    assert "label-order" in (tmp_path / "report.html").read_text()


def test_a_repair_is_not_taught_with_labels_that_do_not_belong_to_the_model(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    files = [str(folder / "infected.keras"), str(folder / "shifted.npz"), "--scan", str(folder / "found")]
    assert main(["unlearn", *files, "--out", str(tmp_path / "r.keras")]) == 2
    assert "the model recognises 0% of 48 given images" in one_line(capsys)
    assert not (tmp_path / "r.keras").exists()


def test_evaluate_says_what_would_fit_beside_the_accuracy(folder: Path, capsys: Captured) -> None:
    assert main(["evaluate", str(folder / "infected.keras"), str(folder / "shifted.npz")]) == 0
    captured = capsys.readouterr()
    assert "clean accuracy                   0.0000, 240 images" in captured.out
    assert "doubtful: the model recognises 0% of 240 given images, where chance gives 17%" in captured.err


def test_a_label_order_that_cannot_be_is_refused(folder: Path, tmp_path: Path, capsys: Captured) -> None:
    assert scan(folder, "shifted.npz", tmp_path, "--label-order", "text-from-1") == 2
    assert "label 0 with the label order text-from-1: expected labels from 1 to 6" in one_line(capsys)
