"""`verdict.json`: written from the result of a scan, and read back with every field checked."""

import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import tensorflow as tf
from msgspec import UNSET

from nc_tf._version import __version__
from nc_tf.errors import InputError
from nc_tf.results import ChangeResult, Detection, LabelResult, ScanResult, SourceResult, UntargetedResult, Verdict
from nc_tf.storage.files import plain
from nc_tf.storage.json_file import finite, json_text, parse_json
from nc_tf.storage.verdict_schema import (
    SCHEMA,
    ChangeRow,
    DataFacts,
    DetectionRow,
    LabelRow,
    ModelFacts,
    PairRow,
    ScanSettings,
    ScanVerdict,
    SourceRow,
    UntargetedRow,
    verdict_from,
)

# The verdict on a model of 100,000 labels takes 30 MB.
MOST_BYTES = 2**27
# The end of a refusal keeps its place on the line, however long the name is that a stranger wrote into the file.
LONGEST = 200


def scan_verdict(
    result: ScanResult, model: Mapping[str, Any], data: Mapping[str, Any], class_names: Sequence[str] | None = None
) -> ScanVerdict:
    """Return the content of `verdict.json` for a scan.

    None stands for a number that does not exist.

    Args:
        result: the scan.
        model: what was scanned, as `ModelFacts` describes it.
        data: what it was scanned with, as `DataFacts` describes it.
        class_names: one a class of the model, if they are known.
    """
    numbers = ("anomaly_index", "anomaly_index_interval", "chance", "median", "mad", "flagging_norm", "model_accuracy")
    return ScanVerdict(
        schema=SCHEMA,
        verdict=result.verdict,
        reason=result.reason,
        flagged=list(result.flagged),
        **{name: finite(getattr(result, name)) for name in numbers},
        warnings=list(result.warnings),
        labels=[_row(entry, class_names) for entry in result.labels],
        detectors=[_detection(detection) for detection in result.detections],
        pairs=[PairRow(source=source, target=target, attack_success_rate=finite(rate)) for source, target, rate in result.pair_rates],
        untargeted=None if result.untargeted is None else _untargeted(result.untargeted),
        changes=[_change(change, class_names) for change in result.changes],
        sources=[_source(found, flagged=found in result.flagged_sources) for found in result.sources],
        settings=ScanSettings(result.settings),
        model=ModelFacts(model),
        data=DataFacts(data),
        versions={
            "nc_tf": __version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
            "numpy": np.__version__,
            "h5py": h5py.__version__,
            "python": platform.python_version(),
        },
        seconds=round(result.seconds, 3),
    )


def verdict_text(verdict: ScanVerdict) -> str:
    """Return the text of `verdict.json`."""
    return json_text(verdict.content())


def read_verdict(path: Path) -> ScanVerdict:
    """Return the verdict of a finished scan.

    Raises:
        InputError: there is no `verdict.json`, or it is not what a scan writes.
    """
    expected = "expected what nc-tf scan writes; scan again"
    path = plain(path, MOST_BYTES)
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing: expected the folder of a finished scan; run nc-tf scan first") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): {expected}") from error
    try:
        return verdict_from(content)
    except ValueError as error:
        words = str(error)
        raise InputError(f"{path}: {words if len(words) <= LONGEST else f'{words[:LONGEST]}...'}; {expected}") from error


def _detection(detection: Detection) -> DetectionRow:
    numbers = {name: finite(getattr(detection, name)) for name in ("statistic", "p_value")}
    words = {name: getattr(detection, name) for name in ("name", "looked_for", "verdict", "reason")}
    return DetectionRow(**words, **numbers, flagged=detection.verdict is Verdict.SUSPECTED, labels=list(detection.labels))


def _untargeted(found: UntargetedResult) -> UntargetedRow:
    return UntargetedRow(
        l1_norm=finite(found.trigger.l1_norm),
        attack_success_rate=finite(found.attack_success_rate),
        status=found.status,
        starts=found.starts,
        rounds=found.rounds,
        labels=found.labels.tolist(),
        answers=found.answers.tolist(),
    )


def _source(found: SourceResult, *, flagged: bool) -> SourceRow:
    names = ("source", "target", "num_measured", "status", "starts", "rounds", "again")
    numbers = ("norm_after", "attack_success_rate", "kept_rate", "left_rate")
    return SourceRow(
        **{name: getattr(found, name) for name in names},
        **{name: finite(getattr(found, name)) for name in numbers},
        l1_norm=finite(found.trigger.l1_norm),
        flagged=flagged,
    )


def _change(change: ChangeResult, class_names: Sequence[str] | None) -> ChangeRow:
    numbers = ("size", "chance", "attack_success_rate", "zero_trigger_rate")
    return ChangeRow(
        detector=change.detector,
        label=change.label,
        **{name: finite(getattr(change, name)) for name in numbers},
        num_measured=change.num_measured,
        status=change.status,
        name=UNSET if class_names is None else class_names[change.label],
    )


def _row(entry: LabelResult, class_names: Sequence[str] | None) -> LabelRow:
    numbers = ("anomaly_index", "log_index", "attack_success_rate", "zero_trigger_rate")
    return LabelRow(
        label=entry.label,
        l1_norm=finite(entry.trigger.l1_norm),
        **{name: finite(getattr(entry, name)) for name in numbers},
        status=entry.status,
        starts=entry.starts,
        rounds=entry.rounds,
        num_measured=entry.num_measured,
        broke_down=entry.broke_down,
        by_patch=entry.by_patch,
        name=UNSET if class_names is None else class_names[entry.label],
    )
