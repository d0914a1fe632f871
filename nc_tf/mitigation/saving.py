"""A mitigation on disk: the repaired model, and `mitigation.json` with the measurements of the reloaded file."""

import json
from dataclasses import asdict, replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np

from nc_tf.evaluation import measure
from nc_tf.models.adapting import adapted_like
from nc_tf.models.loading.load import load_network
from nc_tf.models.saving import save_model
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Mitigation
from nc_tf.storage.files import whole_file


def save_mitigation(
    mitigation: Mitigation,
    path: str | Path,
    test: tuple[np.ndarray, np.ndarray],
    preprocess: Preprocessing,
    *,
    trust_model: bool = False,
) -> Mitigation:
    """Save the repaired model, and measure the reloaded file; returns that mitigation.

    A saved model may differ from the one in memory.

    Args:
        mitigation: from a defence.
        path: .keras or .h5; `mitigation.json` is written beside it.
        test: clean raw images and integer labels.
        preprocess: from raw pixels to the model's input.
        trust_model: whether the file may run code when it is reloaded, because the given model does.

    Returns:
        The mitigation with the reloaded model, in the form that was saved, and `after` measured on its classifier.
    """
    save_model(mitigation.model, path)
    reloaded = load_network(path, trust_model=trust_model)
    classifier = adapted_like(reloaded, mitigation.classifier)
    saved = replace(mitigation, model=reloaded, classifier=classifier, after=measure(classifier, *test, mitigation.triggers, preprocess))
    content = {"schema": 1, "model": str(path), **saved.settings, "before": asdict(saved.before), "after": asdict(saved.after)}
    content |= {"details": saved.details} if saved.details else {}
    with whole_file(Path(path).with_name("mitigation.json")) as temporary:
        temporary.write_text(json.dumps(_without_nan(content), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return saved


def _without_nan(value: Any) -> Any:
    """Return the value with None for NaN, which JSON lacks."""
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and isnan(value) else value


def table(mitigation: Mitigation) -> str:
    """Return accuracy and rates, before and after, as lines of text."""
    before, after = mitigation.before, mitigation.after
    rows = [("clean accuracy", before.clean_accuracy, after.clean_accuracy)]
    for name, rate in before.attack_success_rate.items():
        rows.append((f"ASR, {name} trigger", rate, after.attack_success_rate[name]))
        rows.append((f"robust accuracy, {name}", before.robust_accuracy[name], after.robust_accuracy[name]))
    return "\n".join([f"{'':26}  before   after", *(f"{name:26} {first:7.4f} {then:7.4f}" for name, first, then in rows)])
