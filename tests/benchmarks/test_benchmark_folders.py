"""Tests of the folders of benchmarks/: every module imports, and every mention of a benchmark leads to one."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"
MODULES = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted(FOLDER.rglob("*.py")) if path.stem != "__init__"]
# The files whose commands a reader copies.
TEXTS = [ROOT / "Makefile", *ROOT.glob("*.md"), *ROOT.glob("models/*.md"), *ROOT.glob("docs/**/*.md"), *FOLDER.rglob("*.py")]
TEXTS += FOLDER.glob("results/*.json")


@pytest.mark.parametrize("name", MODULES)
def test_a_benchmark_imports_from_the_root(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(ROOT / "video"))
    assert import_module(name).__doc__


def test_every_mention_of_a_benchmark_leads_to_one() -> None:
    commands, broken = 0, []
    for path in TEXTS:
        text = path.read_text(encoding="utf-8")
        modules = re.findall(r"python -m (benchmarks[\w.]*\w)", text)
        files = re.findall(r"(?<![\w.-])benchmarks/[\w/]+\.py\b", text)
        commands += len(modules)
        broken += [f"{path.name}: {name}" for name in modules if name not in MODULES]
        broken += [f"{path.name}: {name}" for name in files if not (ROOT / name).is_file()]
    assert commands > 50, "the search for commands finds too few of them to prove anything"
    assert not broken


@pytest.mark.parametrize(
    ("script", "command"),
    [
        (str(FOLDER / "scan" / "search.py"), "python -m benchmarks.scan.search --out 'a b'"),
        (str(ROOT / "unlearn.py"), "python unlearn.py --out 'a b'"),
        ("elsewhere/script.py", "python elsewhere/script.py --out 'a b'"),
    ],
)
def test_results_carry_the_command_that_makes_them(script: str, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr("sys.argv", [script, "--out", "a b"])
    assert import_module("benchmarks.harness.record").header(0)["command"] == command
