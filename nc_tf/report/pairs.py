"""The part of the report about triggers that send classes to labels: those of one class alone, and the one that moves every class."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.report.pictures import Picture, picture
from nc_tf.report.trigger_pictures import trigger_pictures, trigger_words
from nc_tf.results import Unit, UntargetedResult
from nc_tf.storage.scan_log import number, percent
from nc_tf.storage.verdict_schema import ScanVerdict, SourceRow, UntargetedRow

# Flagged classes that are shown.
MOST_SHOWN = 8
# Side of a picture of the matrix, about; pixels. Its cells are whole pixels, so that more classes have none.
SIDE = 192
CALLED = "all classes"


@dataclass(frozen=True)
class PairCard:
    """One trigger.

    Attributes:
        key: its place on the page.
        title: a headline.
        flagged: whether the scan flags it.
        about: what was searched, in a sentence.
        enough: what it is enough for, in a sentence that begins the page where nothing else is flagged.
        pictures: mask, pattern, and both.
        words: the content of the pictures.
        facts: its numbers, each with a name.
        matrix: which class into which; None for one class, or where they are too many to be seen.
    """

    key: str
    title: str
    flagged: bool
    about: str
    enough: str
    pictures: Sequence[Picture]
    words: str
    facts: Sequence[tuple[str, str]]
    matrix: Picture | None = None


def shown_sources(verdict: ScanVerdict) -> list[int]:
    """Return the sources that a page shows: flagged ones."""
    return [row.source for row in verdict.sources if row.flagged][:MOST_SHOWN]


def pair_cards(
    verdict: ScanVerdict, all_to_all: UntargetedResult | None, sources: Mapping[int, AllToAllTrigger], unit: Unit
) -> list[PairCard]:
    """Return the parts of the page, one a flagged source, then one for all classes if they were searched.

    Args:
        verdict: the content of `verdict.json`.
        all_to_all: result of the untargeted search, if there was one.
        sources: triggers by source, those of `shown_sources`.
        unit: what the page calls one input.
    """
    names = {row.label: row.name for row in verdict.labels if row.name}
    cards = [_source_card(row, sources[row.source], names, unit) for row in verdict.sources if row.source in sources]
    if all_to_all is not None and verdict.untargeted is not None:
        cards.append(_all_to_all_card(verdict, verdict.untargeted, all_to_all, unit))
    return cards


def _source_card(row: SourceRow, trigger: AllToAllTrigger, names: Mapping[int, str], unit: Unit) -> PairCard:
    source, target = (f"{label} ({names[label]})" if label in names else str(label) for label in (row.source, row.target))
    called = f"class {source} to label {target}"
    return PairCard(
        key=f"source-{row.source}",
        title=called[0].upper() + called[1:],  # names keep their capitals
        flagged=row.flagged,
        about=f"The smallest trigger found that takes {unit.many} of this class away from it and leaves the others alone.",
        enough=f"A trigger of {number(row.l1_norm)} pixels is enough to send {unit.many} of {called}.",
        pictures=trigger_pictures(trigger, called, unit),
        words=f"{trigger_words(trigger, unit).capitalize()}.",
        facts=[
            ("L1 norm", f"{number(row.l1_norm)} pixels"),
            ("once the model ignores it", "none that works" if row.norm_after is None else f"{number(row.norm_after)} pixels"),
            (f"ASR on held-out {unit.many} of the class", percent(row.attack_success_rate)),
            ("others that keep their class", percent(row.kept_rate)),
            ("search", row.status),
        ],
    )


def _all_to_all_card(verdict: ScanVerdict, row: UntargetedRow, found: UntargetedResult, unit: Unit) -> PairCard:
    trigger = found.trigger
    moved, many, to_others = len(trigger.pairs), len(trigger.targets), "classes to other labels, each to its own"
    return PairCard(
        key="all-to-all",
        title=CALLED.capitalize(),
        flagged=len(verdict.pairs) > sum(source.flagged for source in verdict.sources),
        about=f"The smallest trigger found that takes {unit.many} of every class away from it, wherever to.",
        enough=f"A trigger of {number(row.l1_norm)} pixels is enough to send {unit.many} of {moved} {to_others}.",
        pictures=trigger_pictures(trigger, CALLED, unit),
        words=f"{trigger_words(trigger, unit).capitalize()}.",
        facts=[
            ("L1 norm", f"{number(row.l1_norm)} pixels"),
            (f"held-out {unit.many} that move", percent(row.attack_success_rate)),
            ("search", row.status),
        ],
        matrix=matrix_picture(found.labels.tolist(), found.answers.tolist(), many) if many <= SIDE else None,
    )


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
