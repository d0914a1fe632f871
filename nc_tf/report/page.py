"""The report of a scan as one web page that needs nothing else: pictures, style and the script that sorts its table are inside it."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files as package_files

import numpy as np
from markupsafe import Markup

from nc_tf.report.changes import Changes, change_parts
from nc_tf.report.charts import LineChart, history_charts, norm_chart
from nc_tf.report.commands import Command
from nc_tf.report.film_strip import stamped_strip
from nc_tf.report.norms import called, counts, flagged_by_norm
from nc_tf.report.pairs import pair_cards
from nc_tf.report.pictures import Picture
from nc_tf.report.templating import environment
from nc_tf.report.trigger_pictures import GRAY, stamped_pair, trigger_pictures, trigger_words
from nc_tf.results import AllToAllTrigger, Trigger, Unit, UntargetedResult
from nc_tf.storage.scan_log import flat
from nc_tf.storage.verdict_schema import LabelRow, ScanVerdict

# Triggers that are shown, and images that each is stamped on; the table has all labels.
MOST_FLAGGED, LOWEST_OTHERS, STAMPED = 8, 3, 3

Samples = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Card:
    """The part of the page about one label.

    Attributes:
        row: the label's entry in `verdict.json`.
        flagged: whether the scan flagged it.
        pictures: mask, pattern, and both.
        words: the content of the pictures.
        pairs: images without and with the trigger.
        strips: for clips, the frames of one with the trigger.
        charts: the course of its search.
    """

    row: LabelRow
    flagged: bool
    pictures: Sequence[Picture]
    words: str
    pairs: Sequence[tuple[Picture, Picture]]
    strips: Sequence[Picture]
    charts: Sequence[LineChart]


def shown_labels(verdict: ScanVerdict) -> list[int]:
    """Return the labels whose triggers a page shows.

    The flagged ones come first, most anomalous first, then the smallest of the others that were compared.
    """
    by_norm = flagged_by_norm(verdict)
    flagged = set(by_norm)
    # A scan that ended before it searched has no trigger to show.
    others = [(row.l1_norm, row) for row in verdict.labels if row.label not in flagged and row.l1_norm is not None and row.rounds]
    others.sort(key=lambda other: (not counts(other[1], verdict), other[0]))
    return by_norm[:MOST_FLAGGED] + [row.label for _, row in others[:LOWEST_OTHERS]]


def report_html(
    verdict: ScanVerdict,
    triggers: Mapping[int, Trigger],
    *,
    histories: Mapping[int, np.ndarray] | None = None,
    samples: Samples | None = None,
    commands: Sequence[Command] = (),
    all_to_all: UntargetedResult | None = None,
    changes: Changes | None = None,
    sources: Mapping[int, AllToAllTrigger] | None = None,
) -> str:
    """Return the page, with every text from elsewhere escaped and printable.

    Args:
        verdict: the content of `verdict.json`.
        triggers: by label, those of `shown_labels`.
        histories: by label, (rounds, 7) float64, columns `nc_tf.results.HISTORY_COLUMNS`; labels without one get no charts.
        samples: raw images (n, H, W, C) or clips (n, T, H, W, C) in [0, 255] to stamp the triggers on, and their classes (n,). Without
            them a gray image is stamped. The input shape of the model says whether the page calls them images or clips.
        commands: the commands that the page suggests.
        all_to_all: result of the untargeted search, if there was one.
        changes: changes of the whole image by detector and label, those of `shown_changes`.
        sources: triggers of one class alone by class, those of `shown_sources`.
    """
    rows = {row.label: row for row in verdict.labels}
    style, script = (_template_text(name) for name in ("report.css", "report.js"))
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            verdict=verdict,
            unit=_unit(verdict),
            kind=verdict.verdict.name.lower(),
            working=sum(counts(row, verdict) for row in verdict.labels),
            smallest=min((row.l1_norm for row in verdict.labels if counts(row, verdict) and row.l1_norm is not None), default=None),
            interval=_interval(verdict),
            duration=_duration(verdict.seconds),
            chart=norm_chart(verdict),
            cards=_cards(verdict, triggers, histories or {}, samples),
            changes=change_parts(verdict, changes or {}, samples, _unit(verdict)),
            pair_cards=pair_cards(verdict, all_to_all, sources or {}, _unit(verdict)),
            unseen=unseen(verdict, _unit(verdict)),
            gray=samples is None,
            flagged=set(verdict.flagged),
            flagged_rows=[rows[label] for label in flagged_by_norm(verdict)],
            # Readers begin with the smallest; labels without a norm come last.
            table=sorted(verdict.labels, key=lambda row: (row.l1_norm is None, row.l1_norm or 0.0)),
            has_names=any(row.name for row in verdict.labels),
            has_log_index=any(row.log_index is not None for row in verdict.labels),
            facts={part.capitalize(): flat(getattr(verdict, part)) for part in ("model", "data", "settings", "versions")},
            commands=commands,
            # These two texts are the package's own. They must not be escaped, and the policy of the page allows them by their hashes.
            style=Markup(style),  # noqa: S704
            script=Markup(script),  # noqa: S704
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
    )


def unseen(verdict: ScanVerdict, unit: Unit) -> list[str]:
    """Return the kinds of backdoor that the scan could not see, in words."""
    looked = {row.name for row in verdict.detectors}
    missing = {
        "picture": f"faint pictures over the whole {unit}",
        "warp": f"warps of the {unit}",
        "source-specific": f"triggers that act on {unit.many} of one class alone",
        "all-to-all": "triggers that send every class to another one",
    }
    always = ["faint waves (SIG)", "clean-label attacks", f"patches that cover much of the {unit}"]
    return always + [words for name, words in missing.items() if name not in looked]


def _unit(verdict: ScanVerdict) -> Unit:
    return Unit.of(verdict.model.get("input_shape", ()))


def _cards(
    verdict: ScanVerdict, triggers: Mapping[int, Trigger], histories: Mapping[int, np.ndarray], samples: Samples | None
) -> list[Card]:
    rows, unit = {row.label: row for row in verdict.labels}, _unit(verdict)
    threshold, cards = verdict.settings.get("cost", {}).get("threshold"), []
    for label in shown_labels(verdict):
        trigger, name, history = triggers[label], called(rows[label]), histories.get(label)
        stamped_on = _stamped_on(trigger, rows, samples, unit)
        card = Card(
            row=rows[label],
            flagged=label in flagged_by_norm(verdict),
            pictures=trigger_pictures(trigger, name, unit),
            words=f"{trigger_words(trigger, unit).capitalize()}.",
            pairs=[stamped_pair(trigger, image, what, name) for image, what in stamped_on],
            strips=[stamped_strip(trigger, clip, what, name) for clip, what in stamped_on[:1] if clip.ndim == 4],
            charts=history_charts(history, threshold) if history is not None and len(history) else (),
        )
        cards.append(card)
    return cards


def _stamped_on(trigger: Trigger, rows: Mapping[int, LabelRow], samples: Samples | None, unit: Unit) -> list[tuple[np.ndarray, str]]:
    """Return images to stamp, each with its name.

    They are of classes other than the target, and of different classes as far as there are.
    """
    if samples is None:
        return [(np.full_like(trigger.pattern, GRAY), f"A gray {unit}")]
    images, labels = samples
    others = np.flatnonzero(labels != trigger.label)
    first = [position for number, position in enumerate(others) if labels[position] not in labels[others[:number]]]
    chosen = [*first, *(position for position in others if position not in first)][:STAMPED]
    names = {int(labels[position]): f"label {labels[position]}" for position in chosen}
    names |= {label: called(rows[label]) for label in names if label in rows}
    return [(images[position], f"{unit.capitalize()} of {names[int(labels[position])]}") for position in chosen]


def _interval(verdict: ScanVerdict) -> str | None:
    low, high = verdict.anomaly_index_interval or (None, None)
    return None if low is None else f"{low:.2f} and more" if high is None else f"{low:.2f} to {high:.2f}"


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _template_text(name: str) -> str:
    return package_files("nc_tf.report").joinpath("templates", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """Return the hash of a text as a Content-Security-Policy writes it."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
