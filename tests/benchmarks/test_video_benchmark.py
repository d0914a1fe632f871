"""benchmarks/video/steps.py on tiny clips: its steps, its resuming, its tables, and its messages when something is missing."""

import importlib
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np
import pytest
from networks import NUM_CLASSES, clip_network, corner_clips, corner_trigger

from nc_tf.errors import InputError
from nc_tf.models.saving import save_model
from nc_tf.scan_folder.folder import ScanFolder
from nc_tf.scanning.halving import Cut
from nc_tf.scanning.presets import PRESETS
from nc_tf.training.injection import inject

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    """Return the import of a module of benchmarks/ by its name."""
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module


@pytest.fixture
def video(module: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The benchmark with folders of its own, one clean network that needs no training and an infected one, and the shortest of settings."""
    found, jobs = module("benchmarks.video.steps"), module("benchmarks.harness.jobs")
    for one in (found, jobs):
        monkeypatch.setattr(one, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(jobs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(found, "CLEAN", (found.Network(0),))
    monkeypatch.setattr(found, "INFECTED", (found.Network(0, "patch", 2),))

    def made(num_classes: int, clip_shape: tuple[int, ...]) -> keras.Model:
        assert (num_classes, clip_shape) == (NUM_CLASSES, (3, 8, 8, 3))
        return clip_network(None)

    def learned(model: keras.Model, train: Any, test: Any, **settings: Any) -> None:
        backdoor = settings.pop("triggers", [])
        assert settings == (found.common.INJECTION if backdoor else found.common.TRAINING) | {"seed": 0, "verbose": 2}
        if backdoor:
            inject(model, train, test, backdoor, epochs=1, batch_size=16, verbose=0)

    monkeypatch.setattr("nc_tf.models.networks.cnn_lstm.cnn_lstm", made)
    monkeypatch.setattr("nc_tf.training.clips.train_clips", learned)
    monkeypatch.setitem(found.common.MITIGATION, "epochs", 1)
    monkeypatch.setitem(found.common.MITIGATION, "frozen_layers", ())  # the network has no frames
    monkeypatch.setitem(found.NFT, "steps", 2)
    robust = PRESETS["robust"]
    short = replace(robust.settings_for((3, 8, 8, 3), 10), batches_per_round=2, max_rounds=2)
    monkeypatch.setitem(PRESETS, "robust", replace(robust, clips=short, cuts=(Cut(1, 1),)))
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Tiny clips of six classes in a training and a test set."""
    (x_train, y_train), (x_test, y_test) = corner_clips(60, seed=1), corner_clips(36, seed=2)
    np.savez(tmp_path / "clips.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    return tmp_path / "clips.npz"


@pytest.mark.slow
def test_the_steps_train_scan_and_mend_and_are_not_done_twice(
    video: ModuleType, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    flags = ["clean", "infect", "scan", "mitigate", "--data", str(data)]
    assert video.main(flags) == 0, capsys.readouterr().err
    jobs = {step: json.loads((tmp_path / "results" / f"video-{step}.json").read_text())["jobs"] for step in flags[:4]}
    assert list(jobs["clean"]) == ["clean-0"]
    assert list(jobs["infect"]) == ["patch-2-seed-0"]
    assert {"clean_accuracy_before", "clean_accuracy", "attack_success_rate", "seconds"} <= jobs["infect"]["patch-2-seed-0"].keys()
    assert list(jobs["scan"]) == ["clean-0", "patch-2-seed-0"]
    assert set(jobs["scan"]["clean-0"]["norms"]) == set(jobs["scan"]["clean-0"]["attack_success_rate"]) == set("012345")
    assert [name.partition(", ")[2] for name in jobs["mitigate"]] == list(video.DEFENCES)
    assert jobs["mitigate"]["patch-2-seed-0, fine-tuning"]["images"] == 3, "5 % of 60"
    assert "true" in jobs["mitigate"]["patch-2-seed-0, NFT"]["after"]["attack_success_rate"]
    capsys.readouterr()

    defended = video.defended
    for job in ("trained", "detected", "defended"):  # what is kept is not asked for again
        monkeypatch.setattr(video, job, dict)
    assert video.main(flags) == 0
    assert ": done" not in capsys.readouterr().out

    monkeypatch.setattr(ScanFolder, "flagged_triggers", lambda folder: (corner_trigger(2),))
    monkeypatch.setattr(video, "defended", defended)
    unlearned = video.defended(video.INFECTED[0], "unlearning", data)
    assert unlearned["method"] == "unlearning"
    assert set(unlearned["after"]["attack_success_rate"]) == {"reversed", "true"}
    control = video.defended(video.INFECTED[0], "fine-tuning", data)
    assert control["method"] == "fine-tuning"
    assert set(control["after"]["attack_success_rate"]) == {"reversed", "true"}, "the control is measured with the found trigger, too"

    assert video.main(["--docs"]) == 0
    printed = capsys.readouterr().out
    assert "of 1 (0% to 98%) infected networks" in printed
    assert "| patch | 0 | 2 | fine-tuning |" in printed

    monkeypatch.setitem(video.common.INJECTION, "epochs", 9)
    assert video.main(flags) == 2
    assert "patch-2-seed-0.keras was trained on other clips or with other settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["cleen"], "step 'cleen': expected some of clean, infect, scan, mitigate, speed, demo; choose from these"),
        (["clean", "--data", "nowhere.npz"], "nowhere.npz is missing: expected an .npz of clips in a training and a test set"),
        (["--docs"], "video-STEP.json is missing for every STEP: expected results; run python -m benchmarks.video.steps first"),
    ],
)
def test_bad_flags_are_one_line_and_exit_code_2(video: ModuleType, flags: list[str], message: str, capsys: Any) -> None:
    assert video.main(flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("step", "missing"), [("infect", "clean-0.keras"), ("scan", "clean-0.keras"), ("mitigate", "clean-0.keras")])
def test_a_step_says_which_network_it_lacks(video: ModuleType, data: Path, step: str, missing: str, capsys: Any) -> None:
    assert video.main([step, "--data", str(data)]) == 2
    assert f"{missing} or " in (error := capsys.readouterr().err)
    assert "is missing: expected both; delete the other, and run `python -m benchmarks.video.steps clean infect`" in error


def test_a_defence_says_that_the_scan_is_missing(video: ModuleType, data: Path) -> None:
    with pytest.raises(InputError, match=r"patch-2-seed-0 holds no finished scan: expected one of the network; run `python -m bench"):
        video.defended(video.INFECTED[0], "NFT", data)


def test_twelve_infected_networks_and_the_other_defences_with_one_seed(module: Callable[[str], ModuleType]) -> None:
    video = module("benchmarks.video.steps")
    assert [network.name for network in video.CLEAN] == ["clean-0", "clean-1", "clean-2"]
    assert len({network.name for network in video.INFECTED}) == 12
    jobs = video.mitigation_jobs(video.INFECTED, Path())
    assert len(jobs) == 12 + 4 + 2
    assert {name.partition(", ")[2] for name in jobs if "seed-0" not in name} == {"unlearning"}
    assert [name for name in jobs if "NFT" in name] == ["patch-0-seed-0, NFT", "patch-6-seed-0, NFT"]


def scan_row(target: int | None, flagged: list[int], smallest: int, failed: int | None = None) -> dict[str, Any]:
    """A scan of three labels."""
    status = {str(label): "never_succeeded" if label == failed else "max_rounds" for label in range(3)}
    rates = {str(label): None if label == failed else 0.95 for label in range(3)}
    return {
        "network": "x", "seed": 1, "attack_success_rate": rates, "kind": None if target is None else "blend", "target": target,
        "verdict": "backdoor suspected" if flagged else "no outlier", "flagged": flagged, "status": status,
        "norms": {str(label): 5.0 if label == smallest else 50.0 + label for label in range(3)},
        "median": 51.25, "chance": 0.0123, "seconds": 99.6,
    }  # fmt: skip


def test_scans_are_counted_by_what_they_flag(module: Callable[[str], ModuleType]) -> None:
    rows = [scan_row(0, [0], 0), scan_row(0, [0, 2], 2), scan_row(1, [], 1), scan_row(1, [2], 1, failed=1), scan_row(None, [1], 1)]
    rows.append(scan_row(None, [], 0))
    told = module("benchmarks.video.tables").counts({str(number): row for number, row in enumerate(rows)})
    assert told == (
        "The right label and no other was flagged in 1 of 4 (1% to 81%) infected networks, the right one among others in 1; it had the "
        "smallest norm in 2. False alarms: 1 of 2 (1% to 99%) clean networks."
    )


def test_the_tables_show_what_was_measured(module: Callable[[str], ModuleType]) -> None:
    head: dict[str, Any] = {"command": "python -m benchmarks.video.steps", "date": "2026-01-02T03:04:05", "seed": [0, 1]}
    head |= {"versions": {"keras": "3", "torch": "2.1"}}
    head |= {"machine": {"cpu": "a CPU", "cores": 2, "system": "a system", "instructions": ["avx2"]}}
    clean = {"kind": None, "seed": 1, "target": None, "clean_accuracy": 0.7, "attack_success_rate": None}
    infected = {"kind": "blend", "seed": 1, "target": 1, "clean_accuracy_before": 0.7, "clean_accuracy": 0.68, "attack_success_rate": 0.96}
    before = {"clean_accuracy": 0.68, "attack_success_rate": {"reversed": 0.9, "reversed 2": 0.95, "true": 0.96}}
    after = {"clean_accuracy": 0.66, "attack_success_rate": {"reversed": 0.01, "reversed 2": 0.02, "true": 0.03}}
    row = {"kind": "blend", "seed": 1, "target": 1}
    defences = {
        "a": row | {"defence": "unlearning", "before": before, "after": after, "rate_of_clean_network": 0.05},
        "b": row | {"defence": "unlearning", "nothing flagged": True},
    }
    ours = {"kind": "ours", "arms": 8, "precision": "float32", "layout": "", "frames": 16, "size": 64, "minibatches": 16}
    ours |= {"median": 1.5, "seconds": [1.5, 1.4, 1.6], "clips_a_second": 85.33, "other_cores": 0.04}
    ours |= {"peak_mib": 1234.5, "imported_mib": 500.0}
    torch = ours | {"kind": "torch", "arms": 1, "layout": "nchw", "threads": 2, "median": 2.1, "clips_a_second": 15.24, "peak_mib": 400.0}
    missing = ["torch not installed: pip install torch"]
    speed = {"a": {"contenders": [ours, torch], "missing": []}, "b": {"contenders": [ours | {"minibatches": 4}], "missing": missing}}
    jobs = {"clean": {"clean-1": clean}, "infect": {"b-1": infected, "b-2": infected}}
    jobs |= {"scan": {"clean-1": scan_row(None, [], 0), "b-1": scan_row(1, [1], 1)}, "mitigate": defences, "speed": speed}
    drawn = module("benchmarks.video.tables").tables({step: head | {"jobs": rows} for step, rows in jobs.items()})
    lines = drawn.splitlines()
    assert lines[0].startswith(
        "a CPU, 2 cores (avx2); keras 3, torch 2.1. clean: `python -m benchmarks.video.steps`, 2026-01-02, seeds [0, 1]; "
    )
    assert "| clean | 1 |  | 70.0% |  | no outlier | none |  | 51.2 | 0.0123 | 100 |" in lines
    assert "| blend | 1 | 1 | 70.0% -> 68.0% | 96.0% | backdoor suspected | 1 | 5.0 | 51.2 | 0.0123 | 100 |" in lines
    assert "| blend | 1 | 1 | 70.0% -> 68.0% | 96.0% | not scanned |  |  |  |  |  |" in lines
    assert "| blend | 1 | 1 | unlearning | 68.0% -> 66.0% | 95.0% -> 2.0% | 96.0% -> 3.0% | 5.0% |" in lines
    assert "| blend | 1 | 1 | unlearning | nothing flagged |  |  |  |" in lines
    assert "| 16 frames of 64x64 | 16 | nc_tf, 8 labels at once, float32 | 1.500 | 1.400 | 1.00 | 85.3 | 1234 | 500 |" in lines
    loop = "PyTorch 2.1, the same loop, one label, float32, nchw, 2 thread(s)"
    assert f"| 16 frames of 64x64 | 16 | {loop} | 2.100 | 1.400 | 1.40 | 15.2 | 400 | 500 |" in lines
    assert "| 16 frames of 64x64 | 4 | nc_tf, 8 labels at once, float32 | 1.500 | 1.400 | 1.00 | 85.3 | 1234 | 500 |" in lines
    assert "| torch not installed: pip install torch |  |  |  |  |  |  |  |  |" in lines
    assert "Cores that others kept busy meanwhile: 0.04 at most." in lines
    for line in lines:
        assert not line.startswith("|") or line.count("|") in (12, 9, 10), line


def test_the_demo_is_told_with_a_seed(module: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    demo, folder = module("benchmarks.video.demo_seeds"), tmp_path / "seed-3"
    (folder / "left").mkdir(parents=True)
    verdict = {"verdict": "backdoor suspected", "flagged": [0], "median": 51.25, "chance": 0.004}
    verdict |= {"labels": [{"label": label, "l1_norm": norm, "status": "max_rounds"} for label, norm in ((0, 5.0), (1, 51.25))]}
    rates = {"clean_accuracy": 0.9, "attack_success_rate": {"reversed": 0.5, "true": 0.25}, "robust_accuracy": {}}

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        shown = real(["make", "--dry-run", *command[1:]], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert shown.count("--seed 3 ") == shown.count("video/") == 5
        assert not (folder / "left").exists(), "what lay there of another run would be taken for its own"
        (folder / "scan" / "unlearning").mkdir(parents=True)
        (folder / "scan" / "verdict.json").write_text(json.dumps(verdict))
        (folder / "scan" / "unlearning" / "mitigation.json").write_text(json.dumps({"before": rates, "after": rates}))
        return subprocess.CompletedProcess(command, 0)

    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", run)
    row = demo.told(3, folder)
    assert (row["flagged"], row["norms"], row["methods"]["unlearning"]["after"]) == ([0], {"0": 5.0, "1": 51.25}, rates)
    cells = "| 3 | 0 | 0 | 5.0 | 51.2 | unlearning | 90.0% -> 90.0% | 50.0% -> 50.0% | 25.0% -> 25.0% | 7 |"
    tables = module("benchmarks.video.tables")
    assert cells in tables._demo({"seed 3": row | {"seconds": 7.2}}).splitlines()
    missed = row | {"seconds": 7.2, "flagged": [], "median": None, "status": {"0": "never_succeeded"}, "methods": {}}
    assert "| 3 | 0 | none | no trigger |  |  |  |  |  | 7 |" in tables._demo({"s": missed})
    monkeypatch.setattr(subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 2))
    with pytest.raises(InputError, match=r"make video-demo SEED=3 ended with code 2: expected 0; see what it printed"):
        demo.told(3, folder)


def test_a_planted_label_that_no_trigger_reached_has_no_norm(module: Callable[[str], ModuleType]) -> None:
    assert module("benchmarks.video.tables")._norm(scan_row(1, [], 1, failed=1), 1) == "no trigger"


@pytest.mark.slow
@pytest.mark.parametrize("with_torch", [True, False])
def test_contenders_take_turns(module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, with_torch: bool) -> None:
    speed = module("benchmarks.video.speed")
    if with_torch:
        pytest.importorskip("torch")
    monkeypatch.setattr(module("benchmarks.harness.contenders_torch"), "available", lambda: with_torch)
    monkeypatch.setattr(speed.ClipLoop, "choose_threads", lambda loop: None)
    monkeypatch.setattr(speed, "PRECISIONS", ("float32",))
    found = speed.measure(module("benchmarks.harness.work").ClipWork(1, 16, frames=2))
    rows = found["contenders"]
    assert [row["name"] for row in rows] == ["ours-32-float32", *["torch-1-float32-nchw", "torch-1-float32-channels_last"] * with_torch]
    assert found["missing"] == ([] if with_torch else ["torch not installed: pip install torch"])
    for row in rows:
        assert (row["frames"], row["size"], row["minibatches"], row["labels"]) == (2, 16, 1, 10)
        assert row["frames_in_flight"] == row["arms"] * 4
        assert len(row["seconds"]) == speed.REPETITIONS
        assert row["clips_a_second"] == pytest.approx(32 / row["median"], rel=1e-2)
        assert row["loss_of_first_round"] == pytest.approx(rows[0]["loss_of_first_round"], rel=1e-4), "one network, start and minibatch"


def test_the_preset_begins_as_the_torch_loop_does(module: Callable[[str], ModuleType]) -> None:
    settings = PRESETS["robust"].settings_for((16, 64, 64, 3), 10)
    work, loop = module("benchmarks.harness.work").ClipWork(), module("benchmarks.harness.contenders_torch_clips").ClipLoop
    assert (settings.batches_per_round, settings.batch_size) == (work.minibatches, work.batch)
    assert (settings.cost.init_cost, settings.cost.reset_cost_to_zero, settings.loss) == (loop.cost, False, "cross_entropy")
    assert settings.learning_rate == module("benchmarks.harness.work").LEARNING_RATE


@pytest.mark.slow
def test_memory_is_measured_in_a_process_of_its_own(
    module: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    speed = module("benchmarks.video.speed")
    assert next(iter(speed.jobs())) == "16 frames of 64x64"
    memory = module("benchmarks.harness.timing").probes(speed.MODULE, ("2", "16", "1"), ["ours-1-float32"])
    assert 100 < memory["ours-1-float32"]["imported_mib"] <= memory["ours-1-float32"]["peak_mib"]
    monkeypatch.setattr(speed, "alone", lambda *_: {"contenders": [{"name": "ours-1-float32", "median": 2.0}], "missing": []})
    monkeypatch.setattr(speed, "probes", lambda *_: memory)
    assert speed.measured(2, 16, 1)["contenders"] == [{"name": "ours-1-float32", "median": 2.0} | memory["ours-1-float32"]]
    with pytest.raises(
        InputError, match=r"^python -m benchmarks\.video\.speed 2 16 1 --memory-probe x ended with code 2 \(.*\): expected enough"
    ):
        module("benchmarks.harness.timing").probes(speed.MODULE, ("2", "16", "1"), ["x"])
    assert speed.main(["1", "16", "1"]) == 2
    assert "clips of 1 frame: the backbone small expects two or more" in capsys.readouterr().err


@pytest.fixture
def learned_clips(module: Callable[[str], ModuleType]) -> tuple[Any, keras.Model]:
    """A few clips, and a network whose weights are none that layers begin with, so that padding, biases, scales and epsilons all tell."""
    work = module("benchmarks.harness.work").ClipWork(2, 32, frames=3)
    model, rng = module("benchmarks.video.speed").network_for(work), np.random.default_rng(1)
    for weights in model.weights:
        value = np.asarray(weights)
        scale = weights.name in ("gamma", "moving_variance")
        weights.assign(value * rng.uniform(0.5, 1.5, value.shape) if scale else value + rng.normal(0.0, 0.1, value.shape))
    return work, model


@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_torch_answers_as_keras_does(module: Callable[[str], ModuleType], learned_clips: tuple[Any, keras.Model], layout: str) -> None:
    pytest.importorskip("torch")
    work, model = learned_clips
    loop = module("benchmarks.harness.contenders_torch_clips").ClipLoop(work, "float32", layout, model.get_weights())
    assert loop.check_answers(model) <= 1e-4
    wrong = [weights * 1.1 for weights in model.get_weights()]
    with pytest.raises(InputError, match=r"torch's network differs from Keras's by .*: expected at most .*; bring ClipLoop.build in li"):
        module("benchmarks.harness.contenders_torch_clips").ClipLoop(work, "float32", layout, wrong).check_answers(model)


def test_a_defence_that_changes_what_it_is_given_is_told(
    module: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_model(clip_network(2), tmp_path / "infected.keras")

    def careless(model: keras.Model, *_: Any, **__: Any) -> None:
        model.set_weights([np.zeros_like(weights) for weights in model.get_weights()])

    monkeypatch.setattr("nc_tf.mitigation.unlearning.unlearn", careless)
    pair = corner_clips(12)
    with pytest.raises(InputError, match="unlearn changed the model that it was given: expected the same weights; this is a defect"):
        module("benchmarks.harness.jobs").repaired("unlearn", tmp_path / "infected.keras", pair, pair, (), {}, tmp_path, seed=0)
