"""A result in a notebook: what its cell shows, that nothing in it runs, and that results import no report before."""

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from networks import corner_trigger
from quick import made_up

from nc_tf.detection.verdict import judge
from nc_tf.report.notebook import MOST_SHOWN
from nc_tf.results import Measurement, Mitigation, ScanResult, Status, Trigger, Unit

HOSTILE = "<script>alert(1)</script>\x1b[2J"
NORMS = (10.0, 11.0, 12.0, 13.0, 1.0, 9.5)


class Fragment(HTMLParser):
    """A fragment taken apart; one that is not well formed fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag != "img":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag == "line"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def named(self, name: str) -> list[dict[str, str]]:
        return [attributes for tag, attributes in self.tags if tag == name]


def scanned() -> ScanResult:
    return judge([made_up(label, norm) for label, norm in enumerate(NORMS)])


def percent(text: str) -> float:
    return float(text.rstrip("%"))


def shown(result: ScanResult | Mitigation) -> Fragment:
    return Fragment(result._repr_html_())


def test_a_scan_shows_verdict_reason_chart_and_the_flagged_trigger() -> None:
    result, page = scanned(), shown(scanned())
    for words in ("Backdoor suspected", f"{result.reason}.", "Label 4: norm 1.00 pixels, ASR 99.00% on held-out images", "median 10.50"):
        assert words in page.text
    assert [bar["fill"] for bar in page.named("rect")] == ["#7f8c8d"] * 4 + ["#c0392b"] + ["#7f8c8d"]
    centres = [percent(bar["x"]) + percent(bar["width"]) / 2 for bar in page.named("rect")]
    assert [percent(text["x"]) for text in page.named("text") if text["text-anchor"] == "middle"] == pytest.approx(centres, abs=0.02)
    pictures = page.named("img")
    assert [picture["alt"].split(" of ")[0] for picture in pictures] == ["Mask", "Pattern", "Trigger"]
    assert all(picture["src"].startswith("data:image/png;base64,") for picture in pictures)


def test_a_scan_that_flags_nothing_shows_no_trigger() -> None:
    page = shown(judge([made_up(label, norm) for label, norm in enumerate((10.0, 11.0, 12.0, 13.0, 9.0, 9.5))]))
    assert "No outlier" in page.text
    assert not page.named("img")
    assert len(page.named("rect")) == 6


def test_labels_that_were_not_compared_are_hollow() -> None:
    page = shown(judge([*(made_up(label, norm) for label, norm in enumerate(NORMS)), made_up(6, 5.0, Status.NEVER_SUCCEEDED)]))
    assert page.named("rect")[6]["fill"] == "none"


def test_a_scan_without_labels_can_be_shown() -> None:
    page = shown(judge([]))
    assert "Inconclusive" in page.text
    assert not page.named("svg")


def test_many_flagged_labels_are_counted() -> None:
    small = replace(scanned(), flagged=tuple(range(MOST_SHOWN + 2)))
    page = shown(small)
    assert len(page.named("img")) == 3 * MOST_SHOWN
    assert "2 more labels are flagged." in page.text


def test_a_trigger_of_a_clip_is_a_film_strip() -> None:
    trigger = Trigger(4, np.full((3, 8, 8), 1 / 64, np.float32), np.zeros((3, 8, 8, 3), np.float32))
    labels = [replace(entry, trigger=trigger) if entry.label == 4 else entry for entry in scanned().labels]
    page = shown(replace(scanned(), labels=tuple(labels), unit=Unit.CLIP))
    assert "held-out clips" in page.text
    assert len(page.named("img")) == 3


@pytest.mark.parametrize("result", [replace(scanned(), reason=HOSTILE), replace(scanned(), warnings=(HOSTILE,))], ids=["reason", "warning"])
def test_text_from_elsewhere_is_escaped_and_printable(result: ScanResult) -> None:
    html = result._repr_html_()
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b[2J." in html
    assert "<script" not in html
    assert "\x1b" not in html


def test_a_repair_shows_the_rates_before_and_after() -> None:
    before = Measurement(0.9125, {"reversed": 0.99, HOSTILE: float("nan")}, {"reversed": 0.01, HOSTILE: 0.5})
    after = Measurement(0.9, {"reversed": 0.02, HOSTILE: 0.25}, {"reversed": 0.88, HOSTILE: 0.5})
    html = Mitigation(None, before, after, {"reversed": corner_trigger()})._repr_html_()
    page = Fragment(html)
    for row in ("clean accuracy91.25%90.00%", "ASR, reversed trigger99.00%2.00%", "robust accuracy, reversed1.00%88.00%", "none25.00%"):
        assert row in page.text
    assert "<script" not in html
    assert "\x1b" not in html


def test_results_import_the_report_when_they_are_shown_and_not_before() -> None:
    code = "import sys, nc_tf.results; print([name for name in sys.modules if name.startswith('nc_tf.')])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "['nc_tf._version', 'nc_tf.errors', 'nc_tf.backdoor', 'nc_tf.outcomes', 'nc_tf.results']"
