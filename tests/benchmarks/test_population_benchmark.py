"""The published scans of the population are those of the presets; otherwise the benchmark would drop them, and the docs tell of others."""

import importlib
import json
from pathlib import Path

import pytest

from nc_tf.scanning.presets import PRESETS

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ["robust", "paper"])
def test_the_published_scans_are_of_the_presets_of_now(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    published = json.loads((ROOT / "benchmarks" / "results" / "population.json").read_text())["presets"]
    assert published[name] == json.loads(json.dumps(importlib.import_module("benchmarks.harness.jobs").image_preset(PRESETS[name])))
