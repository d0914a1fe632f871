"""Unlearning in rounds, until a scan finds nothing more (paper section VII-C: several triggers on one label appear one after another)."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np

from nc_tf.backdoor import Painted
from nc_tf.detection.recognition import AUTO, RangeChoice
from nc_tf.errors import InputError
from nc_tf.mitigation.repair import Repair
from nc_tf.mitigation.unlearning import unlearn
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, FoundTrigger, Mitigation
from nc_tf.scanning.callbacks import ScanCallback
from nc_tf.scanning.scan import scan


@random_state_kept()
def unlearn_in_rounds(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[FoundTrigger] = (),
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
    """Scan, unlearn the flagged triggers, and scan again; returns the repaired model.

    This ends when nothing is flagged, or after `rounds`. Each round teaches all triggers found so far, so that earlier ones stay unlearned.

    Args:
        model: as for `unlearn`. It is not changed.
        images: clean ones to fine-tune on, as for `unlearn`.
        labels: theirs, as for `unlearn`.
        triggers: found by an earlier scan; without any the first round begins with a scan.
        test: clean images and labels to scan with and to measure on.
        known_triggers: further triggers to measure, by name, such as the true one under "true".
        rounds: how often to unlearn at most.
        intensity_range: range of the model's input; "auto" tries all on the test images.
        seed: of every choice.
        callbacks: of the scans.
        scan_options: further keywords of `nc_tf.scan`.
        **unlearning: further keywords of `unlearn`.

    Returns:
        The repaired model, with both measurements. `details["rounds"]` has each scan's verdict, reason, flagged labels and their norms.

    Raises:
        InputError: as `unlearn` and `scan`, or the first scan flags nothing.
    """
    if rounds < 1:
        raise InputError(f"{rounds} rounds: expected 1 or more; three are enough for several triggers on one label")
    repair = Repair.of(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    found, scans, settings, repaired = list(triggers), list[dict[str, Any]](), dict[str, Any](), repair.model
    for number in range(rounds + 1):
        if number or not found:
            choice = repair.range_choice
            result = scan(repaired, *test, intensity_range=choice, seed=seed, callbacks=callbacks, **(scan_options or {}))
            norms = [round(trigger.l1_norm, 2) for trigger in result.triggers if isinstance(trigger, Painted)]
            scans.append(
                {
                    "verdict": str(result.verdict),
                    "flagged": list(result.flagged),
                    "pairs": len(result.flagged_pairs),
                    "norms": norms,
                    "reason": result.reason,
                }
            )
            if not result.triggers and not found:
                raise InputError("the scan flags no label: expected a backdoor to unlearn; nothing was done")
            if not result.triggers or number == rounds:
                break
            found += result.triggers
        taught = unlearn(repaired, images, labels, found, **repair.keywords, **unlearning)
        repaired, settings = taught.classifier, taught.settings
    done = replace(repair, triggers=tuple(found)).done(repaired, "unlearning in rounds", {"rounds": scans})
    return replace(done, settings=settings | {"method": "unlearning in rounds", "triggers_taught": len(found)})


def in_words(done: Mitigation) -> list[str]:
    """Return the verdict of every scan, as lines for the command."""
    return [
        f"scan {number}: {found['verdict']}, flagged {', '.join(map(str, found['flagged'])) or 'none'}"
        + (f", pairs of class and label: {found['pairs']}" if found["pairs"] else "")
        for number, found in enumerate(done.details["rounds"], 1)
    ]
