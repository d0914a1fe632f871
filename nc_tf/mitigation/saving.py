"""A mitigation on disk: the repaired model, and `mitigation.json` with the measurements of the reloaded file."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from nc_tf.evaluation import measure
from nc_tf.models.adapting import adapted_like
from nc_tf.models.loading.load import load_network
from nc_tf.models.saving import save_model
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Mitigation
from nc_tf.storage.files import write_text
from nc_tf.storage.json_file import json_text


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
    write_text(Path(path).with_name("mitigation.json"), json_text(content))
    return saved


def rates(mitigation: Mitigation) -> list[tuple[str, float, float]]:
    """Return clean accuracy, and each trigger's attack success rate and robust accuracy, before and after."""
    before, after = mitigation.before, mitigation.after
    rows = [("clean accuracy", before.clean_accuracy, after.clean_accuracy)]
    for name, rate in before.attack_success_rate.items():
        rows.append((f"ASR, {name} trigger", rate, after.attack_success_rate[name]))
        rows.append((f"robust accuracy, {name}", before.robust_accuracy[name], after.robust_accuracy[name]))
    return rows


def table(mitigation: Mitigation) -> str:
    """Return `rates` as lines of text."""
    return "\n".join([f"{'':26}  before   after", *(f"{name:26} {first:7.4f} {then:7.4f}" for name, first, then in rates(mitigation))])
