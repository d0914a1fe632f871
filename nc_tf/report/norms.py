"""The norms of all labels, as every chart of them shows them: what each bar stands for, and which lines there are."""

import math
from dataclasses import dataclass
from typing import Literal

from nc_tf.results import Status
from nc_tf.storage.verdict_schema import ChangeRow, LabelRow, ScanVerdict


@dataclass(frozen=True)
class NormBar:
    """The norm of one label.

    Attributes:
        label: the target class.
        called: "label 3", with the name of the class where it is known.
        norm: pixels; None where there is none.
        kind: "uncounted" where the norm did not enter the comparison.
    """

    label: int
    called: str
    norm: float | None
    kind: Literal["flagged", "plain", "uncounted"]


def norm_bars(verdict: ScanVerdict) -> list[NormBar]:
    """Return one bar a label, in the order of the verdict."""
    flagged, bars = set(flagged_by_norm(verdict)), []
    for row in verdict.labels:
        kind: Literal["flagged", "plain", "uncounted"]
        kind = "flagged" if row.label in flagged else "plain" if counts(row, verdict) else "uncounted"
        bars.append(NormBar(row.label, called(row), row.l1_norm, kind))
    return bars


def flagged_by_norm(verdict: ScanVerdict) -> list[int]:
    """Return the flagged labels without those that only a change of the whole image leads to."""
    of_changes = {row.detector for row in verdict.changes}
    by_change = {label for row in verdict.detectors if row.name in of_changes for label in row.labels}
    by_others = {label for row in verdict.detectors if row.name not in of_changes for label in row.labels}
    return [label for label in verdict.flagged if label in by_others or label not in by_change]


def flagging_line(verdict: ScanVerdict) -> float | None:
    """Return the norm below which a label is flagged.

    It is None where no norm can be: the line of the rule of the paper may lie below zero.
    """
    line = verdict.flagging_norm
    return line if verdict.median is not None and line is not None and line >= 0 else None


def called(row: LabelRow | ChangeRow) -> str:
    """Return the name of a label, such as "label 3 (stop)"."""
    return f"label {row.label} ({row.name})" if row.name else f"label {row.label}"


def counts(row: LabelRow, verdict: ScanVerdict) -> bool:
    """Return whether the norm of a label entered the verdict; see `compared`."""
    index, mad = (math.nan if value is None else value for value in (row.anomaly_index, verdict.mad))
    return compared(row.status, index, mad)


def compared(status: Status, anomaly_index: float, mad: float) -> bool:
    """Return whether the norm of a label entered the verdict.

    Where no norms could be compared at all: whether the trigger of the label works.
    """
    return not math.isnan(anomaly_index) if mad > 0 else status.succeeded
