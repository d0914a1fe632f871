"""The part of the report about flagged triggers of one class alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nc_tf.backdoor import AllToAllTrigger
from nc_tf.report.pictures import Picture
from nc_tf.report.trigger_pictures import trigger_pictures, trigger_words
from nc_tf.results import Unit
from nc_tf.storage.verdict_schema import ScanVerdict, SourceRow

MOST_SHOWN = 8


@dataclass(frozen=True)
class SourceCard:
    """One class with a trigger of its own.

    Attributes:
        row: its entry in `verdict.json`.
        called: source and target, with their names where they are known.
        pictures: mask, pattern, and both.
        words: the content of the pictures.
    """

    row: SourceRow
    called: str
    pictures: Sequence[Picture]
    words: str


def shown_sources(verdict: ScanVerdict) -> list[int]:
    """Return the sources that a page shows: flagged ones."""
    return [row.source for row in verdict.sources if row.flagged][:MOST_SHOWN]


def source_cards(verdict: ScanVerdict, triggers: Mapping[int, AllToAllTrigger], unit: Unit) -> list[SourceCard]:
    """Return the parts of the page, one a flagged source.

    Args:
        verdict: the content of `verdict.json`.
        triggers: by source, those of `shown_sources`.
        unit: what the page calls one input.
    """
    names = {row.label: row.name for row in verdict.labels if row.name}
    cards = []
    for row in verdict.sources:
        if row.source in triggers:
            named = [f" ({names[label]})" if label in names else "" for label in (row.source, row.target)]
            words = f"class {row.source}{named[0]} to label {row.target}{named[1]}"
            trigger = triggers[row.source]
            pictures = trigger_pictures(trigger, words, unit)
            cards.append(SourceCard(row, words.capitalize(), pictures, f"{trigger_words(trigger, unit).capitalize()}."))
    return cards
