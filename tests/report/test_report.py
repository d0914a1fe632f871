"""The report of a scan: what the page says, that it is valid, escaped, closed and small, and that a folder is all it takes."""

import base64
import hashlib
import io
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files as package_files
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pages import a_history, a_page, a_trigger, a_verdict, some_samples, spread
from PIL import Image

from nc_tf.cli.main import main, parser
from nc_tf.errors import InputError
from nc_tf.report.charts import history_charts, norm_chart
from nc_tf.report.commands import commands
from nc_tf.report.page import LOWEST_OTHERS, MOST_FLAGGED, report_html, shown_labels
from nc_tf.report.pictures import picture
from nc_tf.report.report_file import write_report
from nc_tf.report.trigger_pictures import colour_words, mask_words, stamped_pair
from nc_tf.results import Trigger, Unit
from nc_tf.storage.trigger_file import save_trigger
from nc_tf.storage.verdict_schema import verdict_from

HOSTILE = "<script>alert(1)</script>"
VOID = {"meta", "link", "img", "br", "hr", "input"}
SHAPES = {"path", "line", "rect", "circle"}
Captured = pytest.CaptureFixture[str]


class Page(HTMLParser):
    """A page taken apart; reading one that is not well formed fails."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert not self.open, f"left open: {self.open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.tags.append((tag, {key: value or "" for key, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag.lower() in SHAPES, f"{tag} cannot close itself"
        self.tags.append((tag, {key: value or "" for key, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1:] == [tag], f"</{tag}> closes {self.open}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", " ".join(data.split())))

    def attributes(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]

    def text(self, *but: str) -> str:
        return " ".join(text for tag, text in self.texts if tag not in ("style", "script", *but))


def suspected(**more: Any) -> dict[str, Any]:
    return a_verdict(spread(43, {33: 8.7}), **more)


VERDICTS = {
    "suspected": suspected(),
    "robust": a_verdict(spread(43, {33: 8.7}), rule="robust"),
    "no outlier": a_verdict(spread(43)),
    "two labels": a_verdict([8.0, 9.0]),
    "none worked": a_verdict(spread(6), failed=range(6)),
    "all alike": a_verdict([7.0] * 8),
    "named": suspected(names=[f"sign {label}" for label in range(43)]),
    "many": a_verdict(spread(1283, {700: 3.0, 5: 4.0})),
}


@pytest.fixture(scope="module", params=VERDICTS, ids=str)
def any_page(request: pytest.FixtureRequest) -> Page:
    return Page(a_page(VERDICTS[request.param]))


# A page


def test_every_page_is_well_formed_and_its_parts_can_be_told_apart(any_page: Page) -> None:
    assert any_page.attributes("html") == [{"lang": "en"}]
    names = [tag for tag, _ in any_page.tags]
    for landmark in ("header", "nav", "main", "footer", "h1"):
        assert names.count(landmark) == 1, landmark
    levels = [int(name[1]) for name in names if re.fullmatch("h[1-6]", name)]
    assert levels[0] == 1
    assert names.index("title") < names.index("body")
    assert not re.search(r"\b(nan|inf|None(?! of)|Undefined)\b", any_page.text())
    assert all(after - before <= 1 for before, after in pairwise(levels)), levels
    ids = [attributes["id"] for _, attributes in any_page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    named = [attributes["aria-labelledby"] for _, attributes in any_page.tags if "aria-labelledby" in attributes]
    assert set(named) <= set(ids)
    assert {link["href"] for link in any_page.attributes("a")} <= {f"#{id_}" for id_ in ids}


def test_every_picture_says_what_is_on_it(any_page: Page) -> None:
    alts = [image["alt"] for image in any_page.attributes("img")]
    drawn = [attributes["aria-label"] for _, attributes in any_page.tags if attributes.get("role") == "img"]
    assert len(alts) >= 9
    assert all(len(text) > 15 for text in alts + drawn), alts + drawn
    assert drawn[0].startswith("Bar chart of the L1 norm of")
    pictures = [attributes for tag, attributes in any_page.tags if tag == "svg" and "aria-hidden" not in attributes]
    assert all(attributes.get("focusable") == "false" or "viewbox" in attributes for attributes in pictures)


def test_the_table_is_one_to_a_screen_reader(any_page: Page) -> None:
    scopes = [attributes.get("scope") for tag, attributes in any_page.tags if tag == "th"]
    assert set(scopes) == {"col", "row"}
    sorted_by = [attributes["aria-sort"] for attributes in any_page.attributes("th") if "aria-sort" in attributes]
    assert sorted_by == ["ascending"]
    assert len(any_page.attributes("caption")) == 1


def test_nothing_is_fetched_and_nothing_foreign_can_run(any_page: Page) -> None:
    links = ("src", "href", "srcset", "action", "data")
    sources = [attributes[key] for _, attributes in any_page.tags for key in links if key in attributes]
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not [attributes for _, attributes in any_page.tags if "style" in attributes or any(key.startswith("on") for key in attributes)]


def policy(page: Page) -> str:
    return next(meta["content"] for meta in page.attributes("meta") if meta.get("http-equiv") == "Content-Security-Policy")


def test_the_policy_lets_in_exactly_the_style_and_the_script_of_the_page() -> None:
    html = a_page(suspected())
    allowed = policy(Page(html))
    assert allowed.startswith("default-src 'none'; img-src data:;")
    assert "unsafe" not in allowed
    for kind in ("style", "script"):
        (text,) = re.findall(rf"<{kind}>(.*?)</{kind}>", html, re.DOTALL)
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in allowed
        assert not re.search(r"url\(|@import|fetch|XMLHttpRequest|innerHTML", text)
    assert not re.search(r"https?://", html)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("suspected", ["Backdoor suspected", "A trigger of 8.70 pixels is enough to send images to label 33", "no proof", "2 MAD below"]),
        ("named", ["label 33 (sign 33)"]),
        ("robust", ["Backdoor suspected", "A norm as small as this appears in less than 0.1% of clean networks", "Log index"]),
        ("no outlier", ["No outlier", "None of the 43 labels searched stands out. That is not the same as clean."]),
        ("two labels", ["Inconclusive", "cannot tell", "2 of 2 labels have a working trigger", "Neither a backdoor nor its absence"]),
        ("none worked", ["Inconclusive", "0 of 6", "never succeeded", "not compared"]),
        ("all alike", ["Inconclusive", "at least half of the labels have the same norm, 7.00"]),
        ("many", ["2 labels can be reached", "label 700, label 5", "1283 labels, smallest norm first"]),
    ],
)
def test_a_page_says_what_was_found_what_it_means_and_what_to_do(name: str, said: list[str]) -> None:
    text = Page(a_page(VERDICTS[name])).text()
    for part in [*said, "What it means", "What it does not mean", "What next", "1 min 23 s", "5eed" * 16, "nc-tf report scan"]:
        assert part in text, part


def test_the_table_has_every_label_with_its_numbers_smallest_norm_first() -> None:
    verdict = a_verdict(spread(9, {4: 2.5}), failed=[7])
    verdict["labels"][2]["l1_norm"] = None
    html = a_page(verdict)
    body = re.search(r"<tbody>(.*)</tbody>", html, re.DOTALL)
    assert body
    rows = re.findall(r"<tr.*?</tr>", body[1], re.DOTALL)
    values = [re.findall(r'data-value="([^"]*)"', row) for row in rows]
    assert len(rows) == 9
    assert [float(row[1]) for row in values[:-1]] == sorted(entry["l1_norm"] for entry in verdict["labels"] if entry["l1_norm"] is not None)
    assert (values[0][0], values[-1][:2]) == ("4", ["2", ""])
    assert "flagged" in rows[0]
    assert not any("flagged" in row for row in rows[1:])
    failed = next(row for row in rows if 'data-value="7"' in row)
    assert "never succeeded" in failed
    assert failed.count(">none<") == 2  # anomaly index and ASR


ALWAYS = ["faint waves (SIG)", "clean-label attacks", "patches that cover much of the image"]
PICTURE, WARP = "faint pictures over the whole image", "warps of the image"
ONE, ALL = "triggers that act on images of one class alone", "triggers that send every class to another one"


@pytest.mark.parametrize(
    ("ran", "missed"),
    [
        ((), [PICTURE, WARP, ONE, ALL]),
        (("one-label", "all-to-all"), [PICTURE, WARP, ONE]),
        (("one-label", "picture", "all-to-all"), [WARP, ONE]),
        (("one-label", "all-to-all", "source-specific", "picture", "warp"), []),
    ],
)
def test_what_was_not_looked_for_is_named(ran: tuple[str, ...], missed: list[str]) -> None:
    verdict = a_verdict(spread(43))
    verdict["detectors"] = [verdict["detectors"][0] | {"name": name} for name in ran]
    words = [*ALWAYS, *missed]
    assert f"This scan does not see {', '.join(words[:-1])} and {words[-1]}." in Page(a_page(verdict)).text()


def test_keys_that_an_older_scan_did_not_write_may_be_missing() -> None:
    verdict = suspected()
    for key in ("flagging_norm", "anomaly_index_interval", "chance"):
        del verdict[key]
    for row in verdict["labels"]:
        del row["log_index"]
    verdict["settings"], verdict["versions"], verdict["seconds"] = {}, {}, None
    text = Page(a_page(verdict)).text()
    assert "of 43 labels" in text
    assert "flagged below" not in text


def test_whatever_comes_from_outside_is_escaped() -> None:
    verdict = suspected(names=[HOSTILE] * 43)
    verdict["reason"] = verdict["model"]["path"] = verdict["data"]["path"] = f'"{HOSTILE}'
    verdict["settings"][HOSTILE] = {HOSTILE: HOSTILE}
    verdict["versions"] = {"nc_tf": HOSTILE}
    html = a_page(verdict)
    assert html.count("<script>") == 1
    assert HOSTILE not in html
    assert html.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 43
    assert HOSTILE in Page(html).text()


@pytest.mark.slow
def test_a_page_of_many_labels_stays_small() -> None:
    assert len(a_page(VERDICTS["many"])) < 1_500_000
    some = {label: 1.0 + label / 100 for label in range(40)}
    html = a_page(a_verdict(spread(1283, some)), side=224)
    assert html.count("<article") == MOST_FLAGGED + LOWEST_OTHERS
    assert f"the first {MOST_FLAGGED} of 40" in Page(html).text()
    assert len(html) < 6_000_000


def test_a_page_shows_the_flagged_labels_then_the_smallest_of_the_others() -> None:
    norms = spread(43, {33: 9.0, 7: 3.0, 12: 40.0, 13: 38.0, 14: 39.0, 15: 1.0})
    verdict = a_verdict(norms, failed=[15])
    assert verdict["flagged"] == [7, 33]
    assert shown_labels(verdict_from(verdict)) == [7, 33, 13, 14, 12]
    html = a_page(verdict)
    assert re.findall(r'<h3 id="card-\d+">Label (\d+)', html) == ["7", "33", "13", "14", "12"]
    assert html.count("<details open>") == 2


def test_without_samples_triggers_are_shown_on_gray_and_the_page_says_so() -> None:
    page = Page(a_page(suspected(), gray=True))
    assert "keeps no sample images" in page.text()
    assert "A gray image, clean" in [image["alt"] for image in page.attributes("img")]
    assert "keeps no sample images" not in Page(a_page(suspected())).text()


def decoded(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_the_images_are_of_other_classes_and_stamped() -> None:
    images, labels = np.zeros((5, 32, 32, 3), np.uint8), np.array([33, 1, 1, 2, 3])
    images += np.arange(5, dtype=np.uint8)[:, None, None, None]
    verdict, trigger = verdict_from(suspected()), a_trigger(33, 30.0)
    triggers = {label: Trigger(label, trigger.mask, trigger.pattern) for label in shown_labels(verdict)}
    page = Page(report_html(verdict, triggers, samples=(images, labels)))
    pictures = page.attributes("img")[:9]
    assert [image["alt"].partition(",")[0] for image in pictures[3:]] == [
        *("Image of label 1", "The same"),
        *("Image of label 2", "The same"),
        *("Image of label 3", "The same"),
    ]
    np.testing.assert_array_equal(decoded(pictures[0]["src"]), np.rint(trigger.mask * 255))
    np.testing.assert_array_equal(decoded(pictures[1]["src"]), trigger.pattern)
    np.testing.assert_array_equal(decoded(pictures[3]["src"]), images[1])
    np.testing.assert_array_equal(decoded(pictures[4]["src"]), np.rint(trigger(images[1].astype(np.float32))))


@pytest.mark.slow
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("name", ["suspected", "no outlier", "two labels"])
def test_a_page_calls_clips_clips_and_images_images(name: str, gray: bool) -> None:
    verdict = {**VERDICTS[name], "data": {"path": "data.npz", "num_images": 400}}
    of_clips = {**verdict, "model": {**verdict["model"], "input_shape": [4, 32, 32, 3]}}
    for given, unit, other in ((verdict, Unit.IMAGE, Unit.CLIP), (of_clips, Unit.CLIP, Unit.IMAGE)):
        page = Page(a_page(given, gray=gray))
        said = " ".join([page.text("span"), *(image["alt"] for image in page.attributes("img"))])  # a command is made of spans
        assert other not in said.lower()
        shown_on = f"A gray {unit}, clean" if gray else f"{unit.capitalize()} of label"
        for words in (f"ASR on held-out {unit.many}", f"{unit.one} is replaced", f"num {unit.many}", shown_on):
            assert words in said


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_images_of_other_than_three_channels_are_drawn_gray(channels: int) -> None:
    page = Page(a_page(suspected(), channels=channels))
    assert decoded(page.attributes("img")[1]["src"]).shape == (32, 32)
    assert "mean brightness under the mask: 255 of 255" in page.text()


# Its parts


def test_pictures_keep_every_pixel_up_to_64_and_shrink_beyond_192() -> None:
    small = picture(np.random.default_rng(0).uniform(-9, 300, (64, 48, 3)), "noise", "noise")
    assert small.uri.startswith("data:image/png;base64,")
    assert (small.width, small.height) == (48, 64)
    for shape, size in (((400, 200, 3), (96, 192)), ((100, 65, 3), (65, 100))):
        large = picture(np.zeros(shape), "black", "black")
        assert large.uri.startswith("data:image/jpeg;base64,")
        assert (large.width, large.height) == size


@pytest.mark.parametrize(
    ("rows", "columns", "words"),
    [
        (slice(0, 3), slice(0, 3), "mostly in the top left, 9.0 pixels in all, at most 100% opaque"),
        (slice(4, 5), slice(4, 5), "mostly in the centre, 1.0 pixels"),
        (slice(6, 9), slice(4, 5), "mostly in the bottom,"),
        (slice(0, 9), slice(0, 9), "spread over the image, 81.0"),
        (slice(0, 0), slice(0, 0), "spread over the image, 0.0 pixels in all, at most 0% opaque"),
    ],
)
def test_a_mask_is_put_into_words(rows: slice, columns: slice, words: str) -> None:
    mask = np.zeros((9, 9), np.float32)
    mask[rows, columns] = 1.0
    assert mask_words(Trigger(0, mask, np.zeros((9, 9, 3), np.float32)), Unit.IMAGE).startswith(words)
    assert mask_words(Trigger(0, mask, np.zeros((9, 9, 3), np.float32)), Unit.CLIP).startswith(words.replace("image", "clip"))


def test_a_colour_is_that_under_the_mask() -> None:
    trigger = a_trigger(0, 5.0)
    trigger.pattern[-6:, -6:] = (250.0, 10.0, 0.0)
    assert colour_words(trigger) == "mean colour under the mask: red 250, green 10, blue 0 of 255"
    assert stamped_pair(trigger, np.zeros((32, 32, 3), np.uint8), "An image", "label 0")[0].alt == "An image, clean"


def test_bars_are_as_high_as_the_norms_and_lines_where_they_belong() -> None:
    verdict = a_verdict([10.0, 11.0, 12.0, 13.0, 1.0, 9.5], failed=[1])
    verdict["labels"][1]["anomaly_index"] = None
    chart = norm_chart(verdict_from(verdict))
    top = 1.08 * 13.0
    assert [bar.height for bar in chart.bars] == pytest.approx([100 * norm / top for norm in (10, 11, 12, 13, 1, 9.5)], abs=0.01)
    assert all(bar.top + bar.height == pytest.approx(100, abs=0.02) for bar in chart.bars)
    assert [bar.kind for bar in chart.bars] == ["plain", "uncounted", "plain", "plain", "flagged", "plain"]
    assert chart.median == pytest.approx(100 - 100 * verdict["median"] / top, abs=0.01)
    assert chart.flagging == pytest.approx(100 - 100 * verdict["flagging_norm"] / top, abs=0.01)
    assert [(mark.text, mark.line) for mark in chart.marks] == [("4", 0)]
    assert [tick.text for tick in chart.y_ticks] == ["0", "5", "10"]
    assert [tick.text for tick in chart.x_ticks] == list("012345")


def test_marks_that_would_overlap_on_a_phone_stand_in_lines_of_their_own() -> None:
    chart = norm_chart(verdict_from(a_verdict(spread(43, {31: 9.0, 33: 8.0, 2: 7.0}))))
    assert [(mark.text, mark.line) for mark in chart.marks] == [("2", 0), ("31", 0), ("33", 1)]
    crowd = norm_chart(verdict_from(a_verdict(spread(1283, dict.fromkeys(range(100, 120), 5.0)))))
    assert [mark.line for mark in crowd.marks] == [0, 1, 2, 3]


def points(path: str) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]


def test_a_history_is_drawn_round_by_round() -> None:
    history = a_history(11)
    success, norm, cost = history_charts(history, 0.9)
    expected = [(10.0 * row, 100 - 100 * value) for row, value in enumerate(history[:, 4])]
    np.testing.assert_allclose(points(success.path), expected, atol=0.01)
    assert success.threshold == 10.0
    assert points(norm.path)[0][1] == pytest.approx(100 - 100 / 1.08, abs=0.01)
    assert success.summary.endswith("over 11 rounds: begins at 0.0%, lies between 0.0% and 100.0%, ends at 100.0%")
    # The cost is zero at first, which a logarithmic axis has at its foot.
    assert [y for _, y in points(cost.path)][:5] == [100.0] * 5
    assert [tick.text for tick in cost.y_ticks] == ["0.01", "0.001", "0"]
    assert points(cost.end) == [points(cost.path)[-1]]
    always = history_charts(history[5:], None)[2]
    assert [tick.text for tick in always.y_ticks] == ["0.01", "0.001"]
    assert points(always.path)[0] == (0.0, pytest.approx(100 - 100 * 5 * np.log10(1.1), abs=0.01))


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ([0.5], "M50.0 50.0h0"),
        ([0.0, np.nan, 1.0], "M0.0 100.0h0M100.0 0.0h0"),
        ([0.0, 0.5, np.inf], "M0.0 100.0h0L50.0 50.0"),
        ([np.nan, np.nan], ""),
    ],
)
def test_what_is_no_number_leaves_a_gap(values: list[float], path: str) -> None:
    history = np.zeros((len(values), 7))
    history[:, 4] = values
    assert history_charts(history, None)[0].path == path


def test_a_history_without_any_number_can_be_drawn() -> None:
    page = Page(a_page(suspected(), history=np.full((3, 7), np.nan)))
    drawn = [attributes["aria-label"] for _, attributes in page.tags if attributes.get("role") == "img"]
    assert [text for text in drawn if text.endswith("over 3 rounds: never a finite number")]
    Page(a_page(suspected(), history=np.zeros((0, 7))))


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def palettes() -> Iterator[tuple[str, dict[str, str]]]:
    css = (package_files("nc_tf.report") / "templates" / "report.css").read_text(encoding="utf-8")
    light, rest = css.split("@media (prefers-color-scheme: dark)")
    base: dict[str, str] = {}
    for scheme, text in (("light", light), ("dark", rest.split("\n}\n")[0])):
        blocks = {name: dict(re.findall(r"--([\w-]+): (#\w{6})", body)) for name, body in re.findall(r"([:.]\w+) \{([^}]*)\}", text)}
        base = {**base, **blocks[":root"]}
        for verdict in ("", ".suspected", ".inconclusive"):
            yield f"{scheme}{verdict}", {**base, **blocks.get(verdict, {})}


@pytest.mark.parametrize(("name", "palette"), list(palettes()), ids=lambda value: value if isinstance(value, str) else "")
def test_text_stands_out_from_what_is_behind_it(name: str, palette: dict[str, str]) -> None:
    pairs = [(ink, back) for ink in ("ink", "muted", "link", "alarm") for back in ("page", "surface")]
    pairs += [("alarm", "alarm-soft"), ("ink", "alarm-soft"), ("ink", "code"), ("band-ink", "band"), ("band-soft", "band")]
    for ink, back in pairs:
        dark, bright = sorted((luminance(palette[ink]), luminance(palette[back])))
        assert (bright + 0.05) / (dark + 0.05) >= 4.5, f"{ink} on {back} in {name}"  # WCAG 2.2, AA


# Commands


def lines(verdict: dict[str, Any], **more: Any) -> list[str]:
    return [command.line for command in commands(verdict_from(verdict), "my scan", **more)]


def test_commands_repair_search_again_and_repeat() -> None:
    options = "--preset paper --starts 1 --precision float32 --images 400 --intensity-range raw"
    assert lines(suspected()) == [
        "nc-tf unlearn models/suspicious.keras images.npz --scan 'my scan' --out suspicious_repaired.keras --intensity-range raw",
        f"nc-tf scan models/suspicious.keras images.npz --out 'my scan_seed_1' {options} --seed 1",
        f"nc-tf scan models/suspicious.keras images.npz --out 'my scan' {options} --seed 0 --fresh",
        "nc-tf report 'my scan'",
    ]
    assert not [line for line in lines(VERDICTS["no outlier"]) if "unlearn" in line]


COST = ("--init-cost 0.002", "--cost-multiplier 1.3", "--patience 4")


def test_commands_carry_the_settings() -> None:
    verdict = a_verdict(spread(6))
    verdict["settings"] = {
        "preset": "custom",
        "loss": "cross_entropy",
        "max_rounds": 12,
        "batches_per_round": 3,
        "batch_size": 16,
        "learning_rate": 0.2,
        "cost": {"threshold": 0.9, "init_cost": 0.002, "multiplier": 1.3, "patience": 4},
        "cuts": [{"rounds": 5, "keep": 2}],
        "starts": 4,
        "seed": 7,
        "upsample_size": 2,
        "intensity_range": "mean [-0.5, 0.1, 0.2] std [0.25]",
    }
    again = lines(verdict)[0]
    assert again.startswith("nc-tf scan models/suspicious.keras images.npz --out 'my scan_seed_8' --preset robust --loss cross_entropy")
    for part in ("--rounds 12", "--batches-per-round 3", "--batch-size 16", "--learning-rate 0.2", "--threshold 0.9", "--starts 4", *COST):
        assert f" {part} " in again
    assert "--upsample 2 --labels 0,1,2,3,4,5 --mean=-0.5,0.1,0.2 --std=0.25 --seed 8" in again
    verdict["settings"] |= {"best": "success", "cuts": []}
    assert " --preset paper " in lines(verdict)[0]
    assert " --trials 4 " in lines(verdict)[0]
    verdict["settings"]["intensity_range"] = "imagenet"
    verdict["data"]["label_order"] = "text"
    assert "--intensity-range imagenet --label-order text" in lines(verdict)[0]


def test_a_scan_that_ranked_some_labels_has_no_command_to_repeat_it() -> None:
    """It names the finished labels alone; to scan these would be another scan."""
    verdict = a_verdict(spread(6, {3: 8.7}))
    verdict["settings"] |= {"preset": "low-cost", "labels_ranked": 30}
    assert [line.split()[1] for line in lines(verdict)] == ["unlearn", "report"]
    verdict["settings"]["labels_ranked"] = 43
    scans = [line for line in lines(verdict) if line.startswith("nc-tf scan")]
    assert len(scans) == 2
    assert not [line for line in scans if "--labels" in line]


@pytest.mark.parametrize("without", [("model", "MODEL"), ("data", "DATA")])
def test_no_command_opens_a_model_or_images_without_a_file(without: tuple[str, str]) -> None:
    part, word = without
    verdict = suspected()
    assert lines(verdict | {part: verdict[part] | {"path": word}}) == ["nc-tf report 'my scan'"]


def test_a_reader_is_told_that_a_trusted_model_needs_it_again() -> None:
    reminder = "A model that was scanned with --trust-model needs that option in these commands too."
    assert reminder in Page(a_page(suspected())).text()
    verdict = verdict_from(suspected())
    triggers = {label: a_trigger(label, 5.0) for label in shown_labels(verdict)}
    demo = report_html(verdict, triggers, commands=commands(verdict, "scan", demo=True))
    assert reminder not in Page(demo).text()


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("my model.keras", "'my model.keras'"),
        ("--trust-model", "./--trust-model"),
        (os.fsdecode(b"m\xff'\\.keras"), r"$'m\xff\x27\x5c.keras'"),
        ("a\n\x1b.keras", r"$'a\x0a\x1b.keras'"),
        ("\ud800.keras", "$'?.keras'"),
    ],
)
def test_a_path_of_any_name_is_one_word_of_a_command(path: str, word: str) -> None:
    line = commands(verdict_from(suspected() | {"model": {"path": path}}), "scan")[0].line
    assert line.startswith(f"nc-tf unlearn {word} ")
    if os.name == "posix" and "?" not in word:
        printed = subprocess.run(["bash", "-c", f"printf %s {word}"], capture_output=True, check=True).stdout
        assert printed == os.fsencode(path.replace("--", "./--"))


def test_the_commands_parse() -> None:
    for verdict in VERDICTS.values():
        for line in [*lines(verdict), *lines(verdict, demo=True)]:
            parser().parse_args(shlex.split(line)[1:])


def test_the_folder_of_the_demo_is_made_again_by_the_demo() -> None:
    assert lines(suspected(), demo=True) == [
        "nc-tf demo --out 'my scan_seed_1' --seed 1",
        "nc-tf demo --out 'my scan' --seed 0",
        "nc-tf report 'my scan'",
    ]


# A folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a scan that flagged label 3 of 6."""
    verdict = a_verdict([10.0, 11.0, 12.0, 1.0, 9.5, 10.5])
    (tmp_path / "verdict.json").write_text(json.dumps(verdict))
    for label in shown_labels(verdict_from(verdict)):
        trigger = a_trigger(label, verdict["labels"][label]["l1_norm"])
        save_trigger(tmp_path / "triggers" / f"label_{label}.npz", trigger, history=a_history())
    (tmp_path / "state").mkdir()
    images, labels = some_samples(6)
    np.savez(tmp_path / "state" / "samples.npz", images=images, labels=labels)
    return tmp_path


def test_a_folder_becomes_a_page(folder: Path) -> None:
    path = write_report(folder)
    assert path == folder / "report.html"
    html = path.read_text(encoding="utf-8")
    page = Page(html)
    assert "Label 3" in page.text()
    assert html.count("<article") == 4
    assert "Image of label 0, clean" in [image["alt"] for image in page.attributes("img")]
    assert html.count('class="small-chart"') == 12
    assert f"nc-tf report {folder}" in page.text()
    assert not list(folder.glob(".*"))


def test_samples_and_histories_may_be_missing(folder: Path) -> None:
    (folder / "state" / "samples.npz").unlink()
    save_trigger(folder / "triggers" / "label_3.npz", a_trigger(3, 1.0))
    html = write_report(folder).read_text(encoding="utf-8")
    assert "keeps no sample images" in html
    assert html.count('class="small-chart"') == 9


def test_what_a_stranger_wrote_is_printable(folder: Path) -> None:
    verdict = json.loads((folder / "verdict.json").read_text())
    evil = "\x1b[2J\n\u202egnp.<b>"
    verdict["labels"][3]["name"] = verdict["model"]["path"] = verdict["reason"] = verdict["versions"]["nc_tf"] = evil
    verdict["settings"][evil] = evil
    (folder / "verdict.json").write_text(json.dumps(verdict))
    page = write_report(folder).read_text(encoding="utf-8")
    assert not {"\x1b", "\u202e"} & set(page)
    assert "\n\u202e" not in page
    assert "<b>" not in page
    assert page.count(r"\x1b[2J\n\u202egnp.&lt;b&gt;") > 8


@pytest.mark.parametrize("name", ["state/samples.npz", "triggers/label_3.npz", "verdict.json"])
def test_a_planted_link_is_not_followed(folder: Path, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "secret"
    (folder / name).rename(elsewhere)
    (folder / name).symlink_to(elsewhere)
    with pytest.raises(InputError, match=f"{name} is a link: expected a plain file"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_a_demo_is_known_by_its_mark(folder: Path) -> None:
    (folder / "state" / "settings.json").write_text('{"demo": true}')
    assert "nc-tf demo --out" in Page(write_report(folder).read_text(encoding="utf-8")).text()
    (folder / "state" / "settings.json").write_text("[")
    assert "nc-tf scan" in Page(write_report(folder).read_text(encoding="utf-8")).text()


def test_nan_and_half_a_letter_are_written_as_what_they_are_not(folder: Path) -> None:
    text = (folder / "verdict.json").read_text()
    (folder / "verdict.json").write_text(text.replace('"reason": "', '"reason": "\\ud800').replace('"seconds": 83.4', '"seconds": NaN'))
    page = write_report(folder).read_text(encoding="utf-8")
    assert r"Why: \ud800the smallest" in page
    assert "<dt>Time" not in page


def edited(**changes: Any) -> Any:
    """An edit of `verdict.json`: these keys, None to take one out, `row` for the first label's."""

    def edit(folder: Path) -> None:
        verdict = json.loads((folder / "verdict.json").read_text())
        verdict["labels"][0].update(changes.pop("row", {}))
        verdict.update(changes)
        kept = {key: value for key, value in verdict.items() if value != "out"}
        (folder / "verdict.json").write_text(json.dumps(kept))

    return edit


def broken(name: str) -> Any:
    def edit(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:30])

    return edit


def removed(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def resaved(name: str, **arrays: Any) -> Any:
    return lambda folder: np.savez(folder / name, **arrays)


TRIGGER = {"mask": np.zeros((4, 4)), "pattern": np.zeros((4, 4, 3)), "label": 3}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (removed("verdict.json"), "verdict.json is missing: expected the folder of a finished scan; run nc-tf scan first"),
        (broken("verdict.json"), "verdict.json cannot be read"),
        (lambda folder: (folder / "verdict.json").write_text("[1]"), "verdict.json: Expected `object`, got `array`; expected what nc-tf"),
        (edited(schema=99), "it has schema 99, and this nc_tf knows those up to 1"),
        (edited(model={}), "missing required field `path` - at `$.model`"),
        (edited(row={"l1_norm": True}), "got `bool` - at `$.labels[0].l1_norm`"),
        (edited(labels=[]), "it has no labels"),
        (removed("triggers/label_3.npz"), "label_3.npz is missing"),
        (broken("triggers/label_3.npz"), "label_3.npz cannot be read"),
        (resaved("triggers/label_3.npz", **{**TRIGGER, "label": 4}), "holds a trigger of label 4: expected that of its name"),
        (resaved("triggers/label_3.npz", **TRIGGER, history=np.zeros(3)), "holds a history (3,): expected (rounds, 7) numbers"),
        (broken("state/samples.npz"), "samples.npz cannot be read"),
        (resaved("state/samples.npz", images=np.zeros((2, 8, 8, 3)), labels=np.zeros(2, int)), "expected images (n, 32, 32, 3)"),
        (resaved("state/samples.npz", images=np.zeros((2, 32, 32, 3)), labels=np.zeros(3, int)), "and labels (3,)"),
        (resaved("state/samples.npz", images=np.full((2, 32, 32, 3), "x"), labels=np.zeros(2, int)), "delete it for a page without"),
        (resaved("state/samples.npz", images=np.full((2, 32, 32, 3), np.nan), labels=np.zeros(2, int)), "holds images from nan to nan"),
        (resaved("state/samples.npz", images=np.full((2, 32, 32, 3), 256), labels=np.zeros(2, int)), "holds images from 256 to 256"),
        (resaved("state/samples.npz", images=np.zeros((0, 32, 32, 3)), labels=np.zeros(0, int)), "holds images (0, 32, 32, 3) and"),
    ],
)
def test_a_broken_folder_is_one_line_and_exits_with_2(folder: Path, edit: Any, message: str, capsys: Captured) -> None:
    edit(folder)
    assert main(["report", str(folder)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("nc-tf: ")
    assert message in line
    assert "expected" in line
    assert not (folder / "report.html").exists()
    with pytest.raises(InputError, match=re.escape(message)):
        write_report(folder)


def test_the_command_says_where_the_page_is(folder: Path, capsys: Captured) -> None:
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"written: {folder / 'report.html'}\n"
