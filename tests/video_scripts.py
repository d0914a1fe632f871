"""The scripts of video/, which no import statement finds."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

VIDEO = Path(__file__).resolve().parents[1] / "video"


def script(name: str) -> ModuleType:
    """A script as a module: its name begins with a digit, so that no import statement finds it."""
    spec = importlib.util.spec_from_file_location(f"video_{name[0]}", VIDEO / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(VIDEO))
    monkeypatch.delitem(sys.modules, "common", raising=False)


def run(name: str, *options: Any) -> int:
    return int(script(name).main([str(option) for option in options]))
