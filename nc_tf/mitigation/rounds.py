"""Unlearning until a scan finds nothing any more: several triggers on one label show themselves one after another (paper section VII-C)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError
from nc_tf.mitigation.repair import Repair
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Mitigation, Trigger
from nc_tf.runtime.random_state import random_state_kept
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.scan import scan


@random_state_kept()
def unlearn_in_rounds(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[Trigger] = (),
    *,
    test: tuple[np.ndarray, np.ndarray],
    known_triggers: Mapping[str, Backdoor] | None = None,
    rounds: int = 3,
    intensity_range: str | Preprocessing | RangeChoice = AUTO,
    seed: int = 0,
    callbacks: Sequence[ScanCallback] = (),
    scan_options: Mapping[str, Any] | None = None,
    **unlearning: Any,
) -> Mitigation:
    """Scan, unlearn what is flagged, and scan again, until nothing is flagged or `rounds` times.

    Each round teaches all triggers found so far, so that earlier ones stay forgotten.

    Args:
        model: as for `unlearn`. It is not changed.
        images, labels: clean ones to fine-tune on, as for `unlearn`.
        triggers: of a scan that was made already; without any the first round begins with one.
        test: clean images and labels to scan with and to measure on.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        rounds: of unlearning, at most.
        intensity_range: what the model wants of raw pixels; "auto" finds out, by the test images.
        seed: of every choice.
        callbacks: of the scans.
        scan_options: further keywords of `nc_tf.scan`.
        unlearning: further keywords of `unlearn`.

    Returns:
        The repaired model, with both measurements; `details["rounds"]` has each scan's verdict, flagged labels and norms of theirs.

    Raises:
        InputError: as `unlearn` and `scan`, and when the first scan flags nothing.
    """
    if rounds < 1:
        raise InputError(f"{rounds} rounds: expected 1 or more; three are enough for several triggers on one label")
    found, scans, settings = list(triggers), [], {}
    known: dict[str, Any] = {"test": test, "known_triggers": known_triggers, "seed": seed}
    first = Repair(model, found, intensity_range=intensity_range, **known)
    repaired, range_choice = first.model, first.range_choice
    for number in range(rounds + 1):
        if number or not found:
            result = scan(repaired, *test, intensity_range=range_choice, seed=seed, callbacks=callbacks, **(scan_options or {}))
            norms = [round(trigger.l1_norm, 2) for trigger in result.triggers]
            scans.append({"verdict": str(result.verdict), "flagged": list(result.flagged), "norms": norms, "reason": result.reason})
            if not result.triggers and not found:
                raise InputError("the scan flags no label: expected a backdoor to unlearn; nothing was done")
            if not result.triggers or number == rounds:
                break
            found += result.triggers
        taught = unlearn(repaired, images, labels, found, test=test, intensity_range=range_choice, seed=seed, **unlearning)
        repaired, settings = taught.classifier, taught.settings
    done = Repair(model, found, intensity_range=range_choice, **known).done(repaired, "unlearning in rounds", {"rounds": scans})
    return replace(done, settings=settings | {"method": "unlearning in rounds", "triggers_taught": len(found)})
