"""The demo, from the rendered signs to the repaired network, with a search cut short."""

import io
import json
import re
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nc_tf import demo
from nc_tf.attacks.patch import patch
from nc_tf.cli.main import main
from nc_tf.datasets.rendered import signs
from nc_tf.demo import Demo, shipped_model
from nc_tf.errors import InputError
from nc_tf.evaluation import measure
from nc_tf.models.loading.load import load_model
from nc_tf.results import Verdict
from nc_tf.scanning.options import ScanOptions
from nc_tf.scanning.presets import PRESETS

LABELS = (0, 3, 9, 12, 17, 22, 26, 33, 38, 40)


def shorten(patch_in: pytest.MonkeyPatch, num_train: int = 1720, num_test: int = 430) -> None:
    """Fewer signs, labels and starts: seconds instead of minutes."""
    patch_in.setattr(demo, "ScanOptions", partial(ScanOptions, targets=LABELS, starts=1))
    render = signs.load_data
    patch_in.setattr(signs, "load_data", lambda *, seed, **numbers: render(num_train=num_train, num_test=num_test, seed=seed))


@dataclass
class Story:
    """What one run of the command left behind."""

    code: int
    printed: str
    demo: Demo
    scan_folder: Path


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    out, printed = tmp_path_factory.mktemp("demo") / "out", io.StringIO()
    told: list[Demo] = []

    class Recorded(Demo):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            told.append(self)

    with pytest.MonkeyPatch.context() as patched, redirect_stdout(printed):
        shorten(patched)
        patched.setattr(demo, "Demo", Recorded)
        code = main(["demo", "--out", str(out)])
    return Story(code, printed.getvalue(), told[0], out)


@pytest.mark.slow
def test_the_planted_backdoor_is_found_and_the_command_exits_with_0(story: Story) -> None:
    assert story.demo.result.verdict is Verdict.SUSPECTED
    assert story.demo.result.flagged == (demo.TARGET,)
    assert story.code == 0


@pytest.mark.slow
def test_the_command_tells_the_story(story: Story) -> None:
    assert re.search(r"^1\. .*\n2\. .*\nbackdoor suspected: ", story.printed, re.MULTILINE)
    assert "3. unlearning what was found" in story.printed
    assert story.printed.splitlines()[-1] == f"report: {story.scan_folder / 'report.html'}"
    assert "<title>" in (story.scan_folder / "report.html").read_text(encoding="utf-8")
    assert re.search(r"^ASR, true trigger +[01]\.\d{4} +[01]\.\d{4}$", story.printed, re.MULTILINE)


@pytest.mark.slow
def test_everything_is_written(story: Story) -> None:
    verdict = json.loads((story.scan_folder / "verdict.json").read_text())
    assert verdict["flagged"] == [33]
    assert {key: verdict["data"][key] for key in ("path", "num_images")} == {"path": "rendered signs, seed 1", "num_images": 430}
    assert verdict["model"]["path"].endswith(demo.INFECTED)
    assert {row["label"]: row["name"] for row in verdict["labels"]}[33] == signs.CLASS_NAMES[33]
    assert (story.scan_folder / "triggers.png").read_bytes().startswith(b"\x89PNG")
    for name in ("signs_repaired.keras", "log.txt", "triggers/label_33.npz"):
        assert (story.scan_folder / name).exists(), name


@pytest.mark.slow
def test_the_backdoor_worked_before_and_the_saved_network_is_measured_after(story: Story) -> None:
    mitigation = json.loads((story.scan_folder / "mitigation.json").read_text())
    before, after = mitigation["before"], mitigation["after"]
    assert before["attack_success_rate"]["true"] > 0.95
    assert after["clean_accuracy"] > 0.9
    # The trigger of a search cut short is not yet the true one, and there are few images.
    assert after["attack_success_rate"]["reversed"] < 0.3 < before["attack_success_rate"]["reversed"]
    assert after["attack_success_rate"]["true"] < before["attack_success_rate"]["true"]
    triggers = {"reversed": story.demo.result.triggers[0], "true": patch((32, 32, 3), demo.TARGET)}
    saved = measure(load_model(story.demo.repaired_file), story.demo.images, story.demo.labels, triggers)
    assert asdict(saved) == after


@pytest.mark.slow
def test_the_infected_network_stays_as_it_is(story: Story) -> None:
    fresh = load_model(shipped_model(demo.INFECTED))
    for before, after in zip(fresh.get_weights(), story.demo.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.slow
def test_the_command_exits_with_1_when_the_backdoor_was_missed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, 86, 215)
    monkeypatch.setattr(demo, "ScanOptions", partial(ScanOptions, targets=(0, 5, 12), starts=1))
    assert main(["demo", "--out", str(tmp_path / "demo")]) == 1
    assert "the planted label 33 was not found" in capsys.readouterr().out


@pytest.mark.slow
def test_a_second_run_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten(monkeypatch, 86, 215)
    monkeypatch.setattr(
        demo, "ScanOptions", partial(ScanOptions, targets=(33,), settings=replace(PRESETS["robust"].settings, max_rounds=1))
    )
    for seed in (0, 1):
        story = Demo(tmp_path, seed=seed)
        story.prepare()
        assert story.scan().settings["seed"] == seed


def test_the_networks_are_found() -> None:
    assert shipped_model("signs_infected.keras").is_file()
    assert shipped_model("signs_clean.keras").is_file()


def test_a_missing_network_is_named_with_its_place() -> None:
    with pytest.raises(InputError, match=r"^none\.keras is missing in .*weights: expected a network .*; install nc_tf again$"):
        shipped_model("none.keras")
