"""The part of the report about changes of the whole image: the sizes of all labels, and the flagged changes as pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nc_tf.detection.whole_image import counted
from nc_tf.outcomes import size_words
from nc_tf.report.charts import NormChart, bar_chart
from nc_tf.report.norms import NormBar, called
from nc_tf.report.pictures import Picture
from nc_tf.report.trigger_pictures import GRAY, stamped_pair, trigger_pictures, trigger_words
from nc_tf.results import Trigger, Unit, Warp
from nc_tf.storage.verdict_schema import ChangeRow, ScanVerdict

# Flagged changes that are shown, and images that each is put on.
MOST_FLAGGED, STAMPED = 8, 3
# Title of the part, and the name, the unit and the scale of its sizes.
PARTS = {
    "picture": ("Faint pictures over the whole image", "opacity", "percent", 100.0),
    "warp": ("Smooth warps of the image", "length", "pixels", 1.0),
}

Changes = Mapping[tuple[str, int], Trigger | Warp]
Samples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class ChangeCard:
    """One label's change.

    Attributes:
        row: its entry in `verdict.json`.
        flagged: whether its detector flags it.
        sized: its size in words.
        pictures: the change alone.
        words: what it does to an image.
        pairs: images without and with it.
    """

    row: ChangeRow
    flagged: bool
    sized: str
    pictures: Sequence[Picture]
    words: str
    pairs: Sequence[tuple[Picture, Picture]]


@dataclass(frozen=True)
class ChangePart:
    """The part of the page about one detector.

    Attributes:
        name: of the detector.
        title: a headline.
        quantity: name of the sizes.
        unit: of the sizes in the chart.
        chart: the sizes of all labels.
        median: of the sizes, in words.
        failed: number of labels without a working change.
        cards: the changes that are shown.
    """

    name: str
    title: str
    quantity: str
    unit: str
    chart: NormChart
    median: str
    failed: int
    cards: Sequence[ChangeCard]


def shown_changes(verdict: ScanVerdict) -> list[tuple[str, int]]:
    """Return detector and label of the changes that a page shows: flagged ones, or the smallest working one of a detector without."""
    shown = []
    for name in PARTS:
        rows = [row for row in verdict.changes if row.detector == name]
        flagged = _flagged(verdict, name)[:MOST_FLAGGED]
        working = sorted((row.size, row.label) for row in rows if row.size is not None and row.status.succeeded)
        shown += [(name, label) for label in flagged or [label for _, label in working[:1]] if rows]
    return shown


def change_parts(verdict: ScanVerdict, changes: Changes, samples: Samples | None, unit: Unit) -> list[ChangePart]:
    """Return the parts of the page, one a detector that searched.

    Args:
        verdict: the content of `verdict.json`.
        changes: by detector and label, those of `shown_changes`.
        samples: raw images (n, H, W, C) in [0, 255] and their classes (n,); None for plain gray.
        unit: what the page calls one input.
    """
    parts = []
    for name, (title, quantity, unit_of_size, scale) in PARTS.items():
        rows = [row for row in verdict.changes if row.detector == name]
        if not rows:
            continue
        sizes, worked = np.array([row.size or 0.0 for row in rows]), np.array([row.status.succeeded for row in rows])
        median, flagged = float(np.median(counted(sizes, worked))), _flagged(verdict, name)
        bars = [
            NormBar(row.label, called(row), scale * size, "flagged" if row.label in flagged else "plain" if works else "uncounted")
            for row, size, works in zip(rows, sizes.tolist(), worked, strict=True)
        ]
        cards = [_card(row, changes[name, row.label], samples, row.label in flagged, unit) for row in rows if (name, row.label) in changes]
        cards.sort(key=lambda card: card.row.size or 0.0)
        chart = bar_chart(bars, scale * median, quantity=quantity)
        parts.append(ChangePart(name, title, quantity, unit_of_size, chart, size_words(name, median), int((~worked).sum()), cards))
    return parts


def _flagged(verdict: ScanVerdict, name: str) -> list[int]:
    """Return the labels that one detector flags, most anomalous first."""
    return [label for row in verdict.detectors if row.name == name for label in row.labels if label in verdict.flagged]


def _card(row: ChangeRow, trigger: Trigger | Warp, samples: Samples | None, flagged: bool, unit: Unit) -> ChangeCard:
    images, labels = samples or (np.full((1, *trigger.image_shape), GRAY, np.float32), np.array([-1]))
    others = np.flatnonzero(labels != row.label)[:STAMPED]
    what = [f"{unit.capitalize()} of label {labels[position]}" if samples else f"A gray {unit}" for position in others]
    pairs = [stamped_pair(trigger, images[position], words, called(row)) for position, words in zip(others, what, strict=True)]
    words = f"{trigger_words(trigger, unit).capitalize()}."
    sized = f"a {row.detector} of {size_words(row.detector, row.size or 0.0)}"
    return ChangeCard(row, flagged, sized, trigger_pictures(trigger, called(row), unit), words, pairs)
