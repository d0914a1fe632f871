"""`log.txt`: the verdict of a scan for people, as lines of text."""

from collections.abc import Mapping
from typing import Any

from nc_tf.errors import printable
from nc_tf.outcomes import size_words
from nc_tf.storage.verdict_schema import ChangeRow, LabelRow, ScanVerdict


def log_text(verdict: ScanVerdict) -> str:
    """Return the text of `log.txt`: parameters, then every label."""
    lines = [f"Verdict: {verdict.verdict} ({verdict.reason})"]
    lines += [f"Model: {verdict.model['path']}", f"Data: {verdict.data['path']}"]
    lines += [f"Model accuracy on the given images: {percent(verdict.model_accuracy)}"]
    lines += [f"Warning: {warning}" for warning in verdict.warnings]
    lines += ["", "----- Parameters -----", ""]
    lines += [f"{key}: {value}" for key, value in flat(verdict.settings)]
    lines += ["", "----- Detectors -----", ""]
    lines += [f"{row.name}: {row.verdict} ({row.looked_for}; {row.reason})" for row in verdict.detectors]
    lines += [f"Label {row.source} is sent to label {row.target}: {percent(row.attack_success_rate)}" for row in verdict.pairs]
    lines += [_change_line(row) for row in verdict.changes]
    lines += ["", "----- Labels -----", "", f"Median of the mask L1 norms: {number(verdict.median)}", f"MAD: {number(verdict.mad)}"]
    flagged = set(verdict.flagged)
    for row in verdict.labels:
        lines += ["", *_label_lines(row, row.label in flagged)]
    return "\n".join(map(printable, lines)) + "\n"


def flat(record: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return a nested record as rows of dotted key and value.

    Lists stay in one piece.
    """
    rows: list[tuple[str, Any]] = []
    for key, value in record.items():
        rows += flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(prefix + key, value)]
    return rows


def _change_line(row: ChangeRow) -> str:
    size, rate = size_words(row.detector, row.size or 0.0), percent(row.attack_success_rate)
    return f"Label {row.label}: {row.detector} of {size}, {row.status}, ASR {rate}, chance {percent(row.chance)}"


def _label_lines(row: LabelRow, flagged: bool) -> list[str]:
    return [
        f"Label {row.label} ({row.name}):" if isinstance(row.name, str) else f"Label {row.label}:",
        f"- Status: {row.status}",
        f"- ASR: {percent(row.attack_success_rate)}",
        f"- ASR without trigger: {percent(row.zero_trigger_rate)}",
        f"- Mask L1 norm: {number(row.l1_norm)}",
        f"- Anomaly index: {number(row.anomaly_index)}",
        f"- Outlier: {'Yes' if flagged else 'No'}",
    ]


def number(value: float | None) -> str:
    """Return a number for people; None is a number that does not exist."""
    return "none" if value is None else f"{value:.2f}"


def percent(value: float | None) -> str:
    """Return a share for people, in percent; None is a share that does not exist."""
    return "none" if value is None else f"{value:.2%}"
