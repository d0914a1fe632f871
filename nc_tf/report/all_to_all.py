"""The part of the report about the trigger that takes every class away from itself: its pictures, and where each class goes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nc_tf.report.pictures import Picture, picture
from nc_tf.report.trigger_pictures import trigger_pictures, trigger_words
from nc_tf.results import Unit, UntargetedResult
from nc_tf.storage.verdict_schema import ScanVerdict, UntargetedRow

# Side of a picture of the matrix, about; pixels. Its cells are whole pixels, so that more classes have none.
SIDE = 192
CALLED = "all classes"


@dataclass(frozen=True)
class AllToAllCard:
    """The part of the page.

    Attributes:
        row: its entry in `verdict.json`.
        flagged: whether the scan flags its pairs.
        pictures: mask, pattern, and both.
        matrix: which class into which; None where they are too many to be seen.
        words: the content of the pictures.
    """

    row: UntargetedRow
    flagged: bool
    pictures: Sequence[Picture]
    matrix: Picture | None
    words: str


def all_to_all_card(verdict: ScanVerdict, found: UntargetedResult | None, unit: Unit) -> AllToAllCard | None:
    """Return the part of the page; None where there was no such search."""
    if found is None or verdict.untargeted is None:
        return None
    trigger = found.trigger
    words = f"{trigger_words(trigger, unit).capitalize()}."
    pictures, row = trigger_pictures(trigger, CALLED, unit), verdict.untargeted
    matrix = matrix_picture(found.labels.tolist(), found.answers.tolist(), len(trigger.targets)) if len(trigger.targets) <= SIDE else None
    flagged = len(verdict.pairs) > sum(row.flagged for row in verdict.sources)
    return AllToAllCard(row, flagged, pictures, matrix, words)


def matrix_picture(labels: Sequence[int], answers: Sequence[int], num_classes: int) -> Picture:
    """Return a matrix as a picture: a row a class, a column an answer, darker where more go.

    Args:
        labels: (M,) classes of images.
        answers: (M,) what the model answers for them with the trigger.
        num_classes: of the model.
    """
    counts = np.zeros((num_classes, num_classes))
    for label, answer in zip(labels, answers, strict=True):
        if answer >= 0:
            counts[label, answer] += 1
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1.0)
    cell = max(1, SIDE // len(shares))
    moved = [(source, int(row.argmax())) for source, row in enumerate(shares) if row.any() and row.argmax() != source]
    pairs = ", ".join(f"{source} to {target}" for source, target in moved[:10]) or "none"
    more = f" and {len(moved) - 10} more" if len(moved) > 10 else ""
    pixels = np.repeat(np.repeat(255.0 * (1.0 - shares), cell, axis=0), cell, axis=1)[..., None]
    alt = f"Matrix of classes and answers. With the trigger most images of a class go: {pairs}{more}"
    return picture(pixels, alt, "which class (row) into which (column), from 0 at the top left")
