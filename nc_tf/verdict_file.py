"""What `verdict.json` and `log.txt` say of a scan: the one for machines, the other for people."""

import math
import platform
from collections.abc import Mapping, Sequence
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from nc_tf import __version__
from nc_tf.results import ScanResult

SCHEMA = 1


def verdict_json(
    result: ScanResult, model: Mapping[str, Any], data: Mapping[str, Any], class_names: Sequence[str] | None = None
) -> dict[str, Any]:
    """The content of `verdict.json`, schema 1; a number that does not exist is null."""
    rows = []
    for entry in result.labels:
        row = {
            "label": entry.label,
            "l1_norm": entry.trigger.l1_norm,
            "anomaly_index": entry.anomaly_index,
            "log_index": entry.log_index,
            "attack_success_rate": entry.attack_success_rate,
            "zero_trigger_rate": entry.zero_trigger_rate,
            "status": str(entry.status),
            "starts": entry.starts,
            "rounds": entry.rounds,
        }
        if class_names is not None:
            row["name"] = class_names[entry.label]
        rows.append({key: _finite(value) for key, value in row.items()})
    return {
        "schema": SCHEMA,
        "verdict": str(result.verdict),
        "reason": result.reason,
        "flagged": list(result.flagged),
        "anomaly_index": _finite(result.anomaly_index),
        "anomaly_index_interval": [_finite(end) for end in result.anomaly_index_interval],
        "chance": _finite(result.chance),
        "median": _finite(result.median),
        "mad": _finite(result.mad),
        "flagging_norm": _finite(result.flagging_norm),
        "labels": rows,
        "settings": result.settings,
        "model": dict(model),
        "data": dict(data),
        "versions": {
            "nc_tf": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "h5py": h5py.__version__,
            "python": platform.python_version(),
        },
        "seconds": round(result.seconds, 3),
    }


def log_text(verdict: Mapping[str, Any]) -> str:
    """The content of `log.txt`: parameters, then every label."""
    lines = [f"Verdict: {verdict['verdict']} ({verdict['reason']})"]
    lines += [f"Model: {verdict['model']['path']}", f"Data: {verdict['data']['path']}"]
    lines += ["", "----- Parameters -----", ""]
    lines += [f"{key}: {value}" for key, value in _flat(verdict["settings"])]
    lines += ["", "----- Labels -----", "", f"Median of the mask L1 norms: {_number(verdict['median'])}", f"MAD: {_number(verdict['mad'])}"]
    for row in verdict["labels"]:
        lines += [
            "",
            f"Label {row['label']}" + (f" ({row['name']}):" if "name" in row else ":"),
            f"- Status: {row['status']}",
            f"- ASR: {_number(row['attack_success_rate'], percent=True)}",
            f"- ASR without trigger: {_number(row['zero_trigger_rate'], percent=True)}",
            f"- Mask L1 norm: {_number(row['l1_norm'])}",
            f"- Anomaly index: {_number(row['anomaly_index'])}",
            f"- Outlier: {'Yes' if row['label'] in verdict['flagged'] else 'No'}",
        ]
    return "\n".join(lines) + "\n"


def _flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in settings.items():
        rows += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return rows


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None, *, percent: bool = False) -> str:
    if value is None:
        return "none"
    return f"{value:.2%}" if percent else f"{value:.2f}"
