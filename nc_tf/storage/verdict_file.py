"""What `verdict.json` and `log.txt` say of a scan: the one for machines, the other for people."""

import json
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf

from nc_tf._version import __version__
from nc_tf.errors import InputError, printable
from nc_tf.results import ScanResult
from nc_tf.storage.files import plain

SCHEMA = 1
# Whoever reckons with larger numbers comes to infinity.
LARGEST = 1e300
# The verdict on a model of 100,000 labels takes 30 MB.
MOST_BYTES = 2**27


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
            "num_measured": entry.num_measured,
            "broke_down": entry.broke_down,
            "by_patch": entry.by_patch,
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
        "model_accuracy": _finite(result.model_accuracy),
        "warnings": list(result.warnings),
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


def read_verdict(path: Path) -> dict[str, Any]:
    """The content of a `verdict.json`: an object, all of its numbers finite. Which keys it has is not looked at.

    Raises:
        InputError: there is none, or it is no such thing.
    """
    path = plain(path, MOST_BYTES)
    try:
        # NaN and infinity are no JSON, though Python writes them; here null stands for them.
        text = path.read_text(encoding="utf-8")
        verdict = json.loads(text, parse_constant=lambda _: None, parse_float=_limited(float), parse_int=_limited(int))
        if not isinstance(verdict, dict):
            raise ValueError("it is no object")
    except FileNotFoundError:
        raise InputError(f"{path} is missing: expected the folder of a finished scan; run nc-tf scan first") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} cannot be read ({error}): expected what nc-tf scan writes; scan again") from error
    return verdict


def _limited(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if abs(number) > LARGEST:
            raise ValueError(f"a number {text[:20]} beyond {LARGEST:g}")
        return number

    return parse


def log_text(verdict: Mapping[str, Any]) -> str:
    """The content of `log.txt`: parameters, then every label."""
    lines = [f"Verdict: {verdict['verdict']} ({verdict['reason']})"]
    lines += [f"Model: {verdict['model']['path']}", f"Data: {verdict['data']['path']}"]
    lines += [f"Model accuracy on the given images: {_number(verdict['model_accuracy'], percent=True)}"]
    lines += [f"Warning: {warning}" for warning in verdict["warnings"]]
    lines += ["", "----- Parameters -----", ""]
    lines += [f"{key}: {value}" for key, value in flat(verdict["settings"])]
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
    return "\n".join(map(printable, lines)) + "\n"


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as rows; lists stay in one piece."""
    rows: list[tuple[str, Any]] = []
    for key, value in settings.items():
        rows += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return rows


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None, *, percent: bool = False) -> str:
    if value is None:
        return "none"
    return f"{value:.2%}" if percent else f"{value:.2f}"
