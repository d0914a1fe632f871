"""Every program in examples/ runs, and shows what its docstring says."""

import importlib.util
import os
import warnings
from pathlib import Path
from types import ModuleType

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
TESTED = {"own_model", "own_attack", "own_defence", "callback", "first_scan"}


def example(name: str) -> ModuleType:
    """A program of examples/ as a module, its `main` not yet called."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


def test_own_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    result = example("own_model").main([])
    assert min(result.labels, key=lambda entry: entry.trigger.l1_norm).label == 33
    assert result.flagged == (33,)
    assert (tmp_path / "repaired.keras").exists()
    assert "clean accuracy" in capsys.readouterr().out


def test_own_attack() -> None:
    measured = example("own_attack").main(num_train=3000, epochs=4)
    assert measured.attack_success_rate["true"] > 0.5


def test_own_defence() -> None:
    done = example("own_defence").main()
    assert done.before.attack_success_rate["true"] > 0.9
    assert done.after.attack_success_rate["true"] > 0.5, "the docstring says that the backdoor stays"
    assert done.after.clean_accuracy > 0.9


def test_callback(capsys: pytest.CaptureFixture[str]) -> None:
    watch = example("callback").main()
    assert 33 in watch.norms
    assert "stopped: label 33" in capsys.readouterr().out


def test_the_notebook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel has its own, which shows pictures
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the notebook's tools
        import jupytext
        from nbclient import NotebookClient

        notebook = jupytext.read(EXAMPLES / "first_scan.py")
        NotebookClient(notebook, kernel_name="python3", timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2
    assert any("label 33" in output.get("text", "") for output in outputs)
