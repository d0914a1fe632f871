"""A scan as one web page that needs nothing else: no network, no other file; a picture is inside it, and so is what sorts its table."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from nc_tf.errors import printable
from nc_tf.report.charts import LineChart, history_charts, norm_chart
from nc_tf.report.commands import Command
from nc_tf.report.film_strip import stamped_strip
from nc_tf.report.norms import called, counts
from nc_tf.report.pictures import Picture
from nc_tf.report.trigger_pictures import GRAY, colour_words, mask_words, stamped_pair, trigger_pictures
from nc_tf.results import Trigger, Unit
from nc_tf.storage.scan_log import flat
from nc_tf.storage.verdict_schema import LabelRow, ScanVerdict

# Triggers that are shown; the table has all labels.
MOST_FLAGGED, LOWEST_OTHERS, STAMPED = 8, 3, 3


@dataclass(frozen=True)
class Card:
    """What the page shows of one label.

    Attributes:
        row: the label's entry in `verdict.json`.
        flagged: whether the scan flagged it.
        pictures: mask, pattern, and both.
        words: what the pictures show.
        pairs: images without and with the trigger.
        strips: of clips, the frames of one with the trigger.
        charts: how its search went.
    """

    row: LabelRow
    flagged: bool
    pictures: Sequence[Picture]
    words: str
    pairs: Sequence[tuple[Picture, Picture]]
    strips: Sequence[Picture]
    charts: Sequence[LineChart]


def shown_labels(verdict: ScanVerdict) -> list[int]:
    """The labels whose triggers a page shows: the flagged ones, most anomalous first, then the smallest of the others that count."""
    flagged = list(verdict.flagged)[:MOST_FLAGGED]
    others = [row for row in verdict.labels if row.label not in verdict.flagged and row.l1_norm is not None]
    others = [row for row in others if row.rounds]  # of a scan that ended before it searched there is no trigger to show
    others.sort(key=lambda row: (not counts(row, verdict), row.l1_norm))
    return flagged + [row.label for row in others[:LOWEST_OTHERS]]


def report_html(
    verdict: ScanVerdict,
    triggers: Mapping[int, Trigger],
    *,
    histories: Mapping[int, np.ndarray] | None = None,
    samples: tuple[np.ndarray, np.ndarray] | None = None,
    commands: Sequence[Command] = (),
) -> str:
    """The page. Every text in it that comes from elsewhere is escaped, and made printable.

    Args:
        verdict: the content of `verdict.json`; of its keys, those newer than schema 1's first may be missing.
        triggers: by label, those of `shown_labels`.
        histories: by label, (rounds, 7) float64, columns `nc_tf.results.HISTORY_COLUMNS`; labels without one get no charts.
        samples: raw images (n, H, W, C) or clips (n, T, H, W, C) in [0, 255] to stamp the triggers on, and their classes (n,); without
            them a gray image is stamped. What the page calls them, the model's input shape says.
        commands: what to run next.
    """
    histories = histories or {}
    rows = {row.label: row for row in verdict.labels}
    threshold = verdict.settings.get("cost", {}).get("threshold")
    unit, cards = Unit.of(verdict.model.get("input_shape", ())), []
    for label in shown_labels(verdict):
        words, history = called(rows[label]), histories.get(label)
        trigger, shown_on = triggers[label], _shown_on(triggers[label], rows, samples, unit)
        cards.append(
            Card(
                row=rows[label],
                flagged=label in verdict.flagged,
                pictures=trigger_pictures(trigger, words, unit),
                words=f"{mask_words(trigger, unit).capitalize()}; {colour_words(trigger)}.",
                pairs=[stamped_pair(trigger, image, what, words) for image, what in shown_on],
                strips=[stamped_strip(trigger, clip, what, words) for clip, what in shown_on[:1] if clip.ndim == 4],
                charts=history_charts(history, threshold) if history is not None and len(history) else (),
            )
        )
    loader = jinja2.PackageLoader("nc_tf.report")
    environment = jinja2.Environment(
        loader=loader, autoescape=True, finalize=_shown, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"number": _number, "percent": _percent, "called": called, "tidy": _tidy, "file_name": _file_name}
    style, script = (loader.get_source(environment, name)[0] for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        verdict=verdict,
        unit=unit,
        kind=verdict.verdict.name.lower(),
        working=sum(counts(row, verdict) for row in verdict.labels),
        smallest=min((row.l1_norm for row in verdict.labels if counts(row, verdict) and row.l1_norm is not None), default=None),
        interval=_interval(verdict),
        duration=_duration(verdict.seconds),
        chart=norm_chart(verdict),
        cards=cards,
        gray=samples is None,
        flagged_rows=[rows[label] for label in verdict.flagged],
        # Smallest first, which is where a reader begins; those without a norm at the end.
        table=sorted(verdict.labels, key=lambda row: (row.l1_norm is None, row.l1_norm or 0.0)),
        has_names=any(row.name for row in verdict.labels),
        has_log_index=any(row.log_index is not None for row in verdict.labels),
        facts={part.capitalize(): flat(getattr(verdict, part)) for part in ("model", "data", "settings", "versions")},
        commands=commands,
        # Ours, not a stranger's: the two texts that must not be escaped, and that the page's policy lets in by their hashes.
        style=Markup(style),  # noqa: S704
        script=Markup(script),  # noqa: S704
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _shown(value: Any) -> Any:
    """What a template puts out: text is one printable line, unless the template made it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _shown_on(
    trigger: Trigger, rows: Mapping[int, LabelRow], samples: tuple[np.ndarray, np.ndarray] | None, unit: Unit
) -> list[tuple[np.ndarray, str]]:
    """Images of other classes, each of another one as far as there are, and what is on them."""
    if samples is None:
        return [(np.full_like(trigger.pattern, GRAY), f"A gray {unit}")]
    images, labels = samples
    others = np.flatnonzero(labels != trigger.label)
    first = [position for number, position in enumerate(others) if labels[position] not in labels[others[:number]]]
    chosen = [*first, *(position for position in others if position not in first)][:STAMPED]
    words = [called(rows[label]) if (label := int(labels[position])) in rows else f"label {label}" for position in chosen]
    return [(images[position], f"{unit.capitalize()} of {what}") for position, what in zip(chosen, words, strict=True)]


def _interval(verdict: ScanVerdict) -> str | None:
    low, high = verdict.anomaly_index_interval or (None, None)
    return None if low is None else f"{low:.2f} and more" if high is None else f"{low:.2f} to {high:.2f}"


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{value:.2%}"


def _tidy(status: str) -> str:
    return status.replace("_", " ")


def _file_name(path: Any) -> str:
    return PurePath(str(path)).name


def _hash(text: str) -> str:
    """As a Content-Security-Policy names a text."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
