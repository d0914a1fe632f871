"""Scans that never were, as `report_html` takes them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nc_tf.detection.verdict import judge
from nc_tf.report.commands import commands
from nc_tf.report.page import report_html, shown_labels
from nc_tf.results import LabelResult, Status, Trigger
from nc_tf.storage.verdict_file import scan_verdict
from nc_tf.storage.verdict_schema import verdict_from

MODEL = {"path": "models/suspicious.keras", "sha256": "5eed" * 16, "num_classes": 43, "input_shape": [32, 32, 3]}
DATA = {"path": "images.npz", "num_images": 400}
SETTINGS = {"preset": "paper", "cost": {"threshold": 0.99, "multiplier": 2.0}, "starts": 1, "seed": 0, "precision": "float32"}


def spread(num_labels: int, small: dict[int, float] | None = None) -> list[float]:
    """Norms as evenly spread as can be from 48 to 72 pixels, which no rule flags, but for those in `small`."""
    norms = np.random.default_rng(num_labels).permutation(np.linspace(48.0, 72.0, num_labels))
    return [(small or {}).get(label, float(norm)) for label, norm in enumerate(norms)]


def a_verdict(
    norms: Sequence[float], *, failed: Sequence[int] = (), names: Sequence[str] | None = None, rule: str = "paper"
) -> dict[str, Any]:
    """The content of `verdict.json` over labels with these norms; the search of the `failed` never succeeded."""
    labels = []
    for label, norm in enumerate(norms):
        status = Status.NEVER_SUCCEEDED if label in failed else Status.CONVERGED
        asr = float("nan") if label in failed else 0.99
        labels.append(LabelResult(a_trigger(label, norm, side=2), status, asr, 0.0125, 1, 60))
    result = judge(labels, rule=rule, settings={**SETTINGS, "preset": rule}, seconds=83.4)
    return scan_verdict(result, MODEL, DATA, names).content()


def a_trigger(label: int, norm: float, side: int = 32, channels: int = 3) -> Trigger:
    """A white square in the bottom-right corner with a mask of this norm."""
    width = max(side // 5, 1)
    mask, pattern = np.zeros((side, side), np.float32), np.full((side, side, channels), 30.0, np.float32)
    mask[-width:, -width:] = norm / width**2
    pattern[-width:, -width:] = 255.0
    return Trigger(label, mask, pattern)


def a_history(rounds: int = 60) -> np.ndarray:
    """A search that succeeds, pays ever more for its norm, and shrinks."""
    rows = np.arange(rounds)
    success, norm = np.minimum(1.0, rows / 5), 100 * np.exp(-rows / 20) + 8
    cost = np.where(rows < 5, 0.0, 1e-3 * 1.1**rows)
    return np.stack([rows, 1 - success, norm, norm * cost, success, np.minimum.accumulate(norm), cost], axis=1)


def some_samples(num: int = 8, side: int = 32, channels: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Noise to stamp triggers on, of classes 0 to `num` - 1."""
    return np.random.default_rng(0).integers(0, 256, (num, side, side, channels)).astype(np.uint8), np.arange(num)


def a_page(verdict: dict[str, Any], *, side: int = 32, channels: int = 3, gray: bool = False, history: np.ndarray | None = None) -> str:
    """The whole page, with a trigger and a history for each label that it shows."""
    norms = {row["label"]: row["l1_norm"] for row in verdict["labels"]}
    typed = verdict_from(verdict)
    shown = shown_labels(typed)
    return report_html(
        typed,
        {label: a_trigger(label, min(norms[label], 30.0), side, channels) for label in shown},
        histories={label: a_history() if history is None else history for label in shown},
        samples=None if gray else some_samples(side=side, channels=channels),
        commands=commands(typed, "scan"),
    )
