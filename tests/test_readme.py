"""Every command that the README shows runs as it stands, in a folder where the things it names are small."""

import re
import shlex
import shutil
import subprocess
from importlib import import_module
from pathlib import Path

import h5py
import numpy as np
import pytest

import gtsrb_visualize_example
from nc_tf.cli.main import main as nc_tf_main
from nc_tf.datasets import gtsrb
from nc_tf.datasets.rendered import signs
from nc_tf.demo import shipped_model

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", README, re.DOTALL) for line in block.splitlines() if line]
PYTHON = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a suspicious model, images, and the network of the classic scripts; commands find what earlier ones left."""
    folder = tmp_path_factory.mktemp("desk")
    (folder / "models").mkdir()
    (folder / "data").mkdir()
    shutil.copy(shipped_model("signs_infected.keras"), folder / "suspicious.keras")
    shutil.copy(ROOT / "models" / gtsrb_visualize_example.MODEL_FILENAME, folder / "models")
    images, labels = signs.render(400, seed=11)
    np.savez(folder / "images.npz", x=images, y=labels)
    return folder


def write_gtsrb(folder: str, **_: object) -> tuple[Path, Path]:
    """Stand-in for the download: rendered signs in the layout of the prepared files."""
    images, labels = signs.render(430, seed=12)
    one_hot = np.eye(43, dtype=np.uint8)[labels]
    whole, small = Path(folder) / "gtsrb_dataset.h5", Path(folder) / "gtsrb_dataset_int.h5"
    for path, subsets in ((whole, ("train", "test")), (small, ("test",))):
        with h5py.File(path, "w") as file:
            for subset in subsets:
                file[f"X_{subset}"], file[f"Y_{subset}"] = images, one_hot
    return whole, small


def make_it_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer rounds, images and epochs; everything else as the README's reader gets it."""
    from dataclasses import replace

    from nc_tf.scanning import presets
    from nc_tf.training import injection

    for name, preset in presets.PRESETS.items():
        quick = replace(preset.settings, max_rounds=6, batches_per_round=2, cost=replace(preset.settings.cost, threshold=0.05))
        monkeypatch.setitem(presets.PRESETS, name, replace(preset, settings=quick))
    for name, value in (("STEPS", 3), ("BATCH_SIZE", 8), ("MINI_BATCH", 2), ("ATTACK_SUCC_THRESHOLD", 0.05)):
        monkeypatch.setattr(gtsrb_visualize_example, name, value)
    monkeypatch.setattr(gtsrb, "prepare", write_gtsrb)
    whole = signs.load_data
    monkeypatch.setattr(signs, "load_data", lambda **given: whole(num_train=430, num_test=86, seed=given.get("seed", 0)))
    inject = injection.inject
    monkeypatch.setattr(injection, "inject", lambda *args, **given: inject(*args, **{**given, "epochs": 1}))


def flag_label_33(folder: Path) -> None:
    """After a few rounds no norm stands out yet; shrink one, so that the next command has something to unlearn."""
    import json

    from nc_tf.storage.trigger_file import load_trigger, save_trigger

    file = folder / "triggers" / "label_33.npz"
    trigger, saved = load_trigger(file)
    trigger.mask[...] = 0.0
    trigger.mask[-4:, -4:] = 0.5
    save_trigger(file, trigger, **saved)
    verdict = folder / "verdict.json"
    if verdict.exists():
        verdict.write_text(json.dumps({**json.loads(verdict.read_text()), "flagged": [33]}))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command: str, desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    make_it_small(monkeypatch)
    program, *arguments = shlex.split(command)
    if program == "source":
        assert arguments[0] == ".venv/bin/activate"  # what `make` leaves behind
    elif program == "make":
        listed = subprocess.run(["make", "-n", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert {"demo": "nc-tf demo", "test": "pytest"}[arguments[0]] in listed
    elif program == "python":
        monkeypatch.setattr("sys.argv", arguments)
        assert import_module(Path(arguments[0]).stem).main(arguments[1:]) == 0
        if arguments[0] == "gtsrb_visualize_example.py":
            flag_label_33(desk / "results")
    else:
        assert program == "nc-tf"
        code = nc_tf_main(arguments)
        assert code in ((0, 1, 3) if arguments[0] == "scan" else (0,))
        if arguments[0] == "scan":
            flag_label_33(desk / "scan")


@pytest.mark.slow
def test_the_python_of_the_readme_runs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    make_it_small(monkeypatch)
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), {})  # noqa: S102  # our own README


def test_every_link_of_the_readme_leads_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_no_document_has_an_empty_place() -> None:
    mark = "@" * 2
    documents = [path for pattern in ("*.md", "docs/**/*.md", "models/*.md") for path in ROOT.glob(pattern)]
    assert not [path.name for path in documents if mark in path.read_text(encoding="utf-8")]
