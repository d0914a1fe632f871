"""A 2x2 square planted in a tiny network: what the tests of the defences begin with."""

import json
from pathlib import Path
from typing import Any

import keras
from networks import IMAGE_SHAPE, corner_images
from quick import small_network

from nc_tf.attacks.patch import patch
from nc_tf.results import Trigger
from nc_tf.storage.trigger_file import save_trigger
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


def finished_scan(path: Path, flagged: list[int], trigger: Trigger = TRUE, **verdict: Any) -> Path:
    """A scan folder that flags what it is told to, with `trigger` as the one found; `verdict` is what `verdict.json` has beside that."""
    more: dict[str, Any] = {"status": "converged", "attack_success_rate": 1.0, "zero_trigger_rate": 0.0, "starts": 1, "rounds": 1}
    save_trigger(path / "triggers" / f"label_{trigger.label}.npz", trigger, **more)
    (path / "verdict.json").write_text(json.dumps({"flagged": flagged, **verdict}))
    return path
