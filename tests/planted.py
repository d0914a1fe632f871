"""A 2x2 square planted in a tiny network: what the tests of the defences begin with."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
from networks import IMAGE_SHAPE, corner_images
from quick import small_network

from nc_tf.attacks.patch import patch
from nc_tf.results import LabelResult, ScanResult, Status, Trigger, Verdict
from nc_tf.storage.trigger_file import save_trigger
from nc_tf.storage.verdict_file import scan_verdict, verdict_text
from nc_tf.training.injection import inject

TRAIN, TEST = corner_images(600, seed=1), corner_images(120, seed=2)
TRUE = patch(IMAGE_SHAPE, 2, size=2, margin=0)


def plant(model: keras.Model, **options: Any) -> keras.Model:
    """Teach an untrained model, which is returned, its task and the square."""
    inject(model, TRAIN, TEST, TRUE, rate=0.2, epochs=6, learning_rate=5e-3, verbose=0, **options)
    return model


def infected_network() -> keras.Model:
    """`small_network` with the square."""
    keras.utils.set_random_seed(3)
    return plant(small_network())


def finished_scan(path: Path, flagged: list[int], trigger: Trigger = TRUE, **model: Any) -> Path:
    """A scan folder that flags what it is told to, with `trigger` as the one found; `model` is what its verdict says of the model."""
    more: dict[str, Any] = {"status": "converged", "attack_success_rate": 1.0, "zero_trigger_rate": 0.0, "starts": 1, "rounds": 1}
    save_trigger(path / "triggers" / f"label_{trigger.label}.npz", trigger, **more)
    found = [LabelResult(replace(trigger, label=label), Status.CONVERGED, 1.0, 0.0, 1, 1) for label in {trigger.label, *flagged}]
    result = ScanResult(Verdict.SUSPECTED, "planted", tuple(flagged), float("nan"), float("nan"), tuple(found))
    written = scan_verdict(result, {"path": "model.keras", **model}, {"path": "data.npz"})
    (path / "verdict.json").write_text(verdict_text(written))
    return path
