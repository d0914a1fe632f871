"""`verdict.json`: its text, its schema, and what is refused of it."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import numpy as np
import pytest

from nc_tf.errors import InputError
from nc_tf.results import (
    AllToAllTrigger,
    ChangeResult,
    Detection,
    LabelResult,
    ScanResult,
    SourceResult,
    Status,
    Trigger,
    Unit,
    UntargetedResult,
    Verdict,
    Warp,
)
from nc_tf.storage import verdict_schema
from nc_tf.storage.json_file import DEEPEST
from nc_tf.storage.verdict_file import LONGEST, read_verdict, scan_verdict, verdict_text
from nc_tf.storage.verdict_schema import SCHEMA, ScanVerdict, schema_text, verdict_from

GOLDEN = Path(__file__).parent.parent / "golden" / "verdict.json"
SCHEMA_FILE = Path(verdict_schema.__file__).with_name("verdict.schema.json")
NAN, INF = float("nan"), float("inf")
MODEL = {
    "path": "models/f\u00fcr\u2028\x1b.keras",
    "sha256": "5eed" * 16,
    "num_classes": 3,
    "input_shape": [2, 2, 1],
    "adapted": "one logit",
}
DATA = {"path": "images.npz", "num_images": 400, "left_out": ["a.png", "b.png"], "label_order": "text"}
SETTINGS: dict[str, Any] = {
    "preset": "robust",
    "cost": {"threshold": 0.99, "init_cost": 1e-3, "multiplier": 1.5},
    "cuts": [{"rounds": 5, "keep": 2}, {"rounds": 10, "keep": 1}],
    "mean": (0.5, 1e-07, 1e16),
    "seed": 0,
    "upsample_size": 1,
    "precision": None,
    "exclude_target": True,
}
NAMES = ["stop", 'Stra\u00dfe "7"', "</script>"]
VERSIONS = {"nc_tf": "1.2.3", "tensorflow": "2.21.0", "keras": "3.15.1", "numpy": "2.0.0", "h5py": "3.11.0", "python": "3.11.7"}


def a_trigger(label: int) -> Trigger:
    return Trigger(label, np.zeros((2, 2), np.float32), np.zeros((2, 2, 1), np.float32))


def of_pairs(targets: tuple[int, ...]) -> AllToAllTrigger:
    return AllToAllTrigger(np.zeros((2, 2), np.float32), np.zeros((2, 2, 1), np.float32), targets)


def by_hand() -> ScanResult:
    """A result with every kind of value: numbers that exist and that do not, small and large ones, all of the flags."""

    def entry(label: int, weight: float, status: Status, rate: float, **more: Any) -> LabelResult:
        mask = np.full((2, 2), weight, np.float32)
        return LabelResult(Trigger(label, mask, np.zeros((2, 2, 1), np.float32)), status, rate, 0.0125, 2, 60, **more)

    return ScanResult(
        verdict=Verdict.SUSPECTED,
        reason="the norm of label 1 \u2013 of 3 \u2013 is small",
        flagged=(1,),
        median=3.3000001907348633,
        mad=0.1,
        labels=(
            entry(0, 0.825, Status.CONVERGED, 0.9925, num_measured=133, anomaly_index=0.0, log_index=-1.5e-7),
            entry(1, 0.1, Status.MAX_ROUNDS, 1.0, num_measured=134, anomaly_index=29.0, log_index=INF, by_patch=True),
            entry(2, 1.0, Status.NONFINITE, NAN, broke_down=True),
        ),
        settings=SETTINGS,
        seconds=1234.56789,
        anomaly_index_interval=(2.5, INF),
        flagging_norm=-0.5,
        chance=1e-05,
        unit=Unit.IMAGE,
        warnings=("few images", "another \\ warning"),
        detections=(
            Detection("all-to-all", "one trigger for every class", 1.25, NAN, Verdict.SUSPECTED, "2 pixels \u2192 all"),
            Detection("warp", "a bent image", 3.5, 1e-05, Verdict.SUSPECTED, "half a pixel", labels=(1,)),
        ),
        changes=(
            ChangeResult("picture", a_trigger(0), 0.25, Status.NONFINITE, NAN, NAN, 0),
            ChangeResult("warp", Warp(1, np.zeros((2, 2, 2), np.float32), 1), 0.5, Status.MAX_ROUNDS, 0.9, 0.0125, 134, 1e-05),
        ),
        sources=(
            SourceResult(0, of_pairs((2, 1, 2)), Status.MAX_ROUNDS, 0.95, 0.99, 40, 2, 32, Status.MAX_ROUNDS, 7.5, 0.05),
            SourceResult(1, of_pairs((0, 1, 2)), Status.NEVER_SUCCEEDED, 0.0, NAN, 0, 2, 32),
        ),
        flagged_pairs=((0, 1), (2, 0)),
        untargeted=UntargetedResult(
            AllToAllTrigger(np.full((2, 2), 0.5, np.float32), np.zeros((2, 2, 3), np.float32), (1, 1, 0)),
            Status.MAX_ROUNDS,
            np.array([0, 0, 1, 2]),
            np.array([1, 0, 1, -1]),
            6,
            102,
        ),
    )


def verdict() -> ScanVerdict:
    return msgspec.structs.replace(scan_verdict(by_hand(), MODEL, DATA, NAMES), versions=VERSIONS)


def content() -> dict[str, Any]:
    return dict(json.loads(verdict_text(verdict())))


# The text


def test_the_text_is_byte_for_byte_the_golden_one() -> None:
    assert verdict_text(verdict()).encode() == GOLDEN.read_bytes()


def test_a_verdict_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(verdict_text(verdict()), encoding="utf-8")
    again = read_verdict(tmp_path / "verdict.json")
    assert verdict_text(again) == verdict_text(verdict())
    assert (again.verdict, again.labels[2].status, again.labels[2].attack_success_rate) == (Verdict.SUSPECTED, Status.NONFINITE, None)
    assert (again.model["num_classes"], again.data["left_out"], again.settings["cuts"][1]["keep"]) == (3, ["a.png", "b.png"], 1)


def test_without_class_names_a_label_has_no_name() -> None:
    rows = scan_verdict(by_hand(), MODEL, DATA).content()["labels"]
    assert not [row for row in rows if "name" in row]


def test_a_number_in_the_settings_that_does_not_exist_is_null() -> None:
    settings = {"threshold": NAN, "nested": [{"most": INF}]}
    text = verdict_text(msgspec.structs.replace(verdict(), settings=verdict_schema.ScanSettings(settings)))
    assert json.loads(text)["settings"] == {"threshold": None, "nested": [{"most": None}]}


# The schema


def test_the_schema_that_ships_is_that_of_the_types() -> None:
    how = "write it again, as nc_tf/storage/verdict_schema.py says"
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), how


def validator() -> jsonschema.Draft202012Validator:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_accepts_a_verdict_and_describes_each_of_its_fields() -> None:
    validator().validate(content())
    fields = json.loads(schema_text())["$defs"]["ScanVerdict"]["properties"]
    rows = json.loads(schema_text())["$defs"]["LabelRow"]["properties"]
    assert list(fields) == list(content())
    assert list(rows) == list(content()["labels"][0])
    assert all(field.get("description") or "$ref" in field for field in (*fields.values(), *rows.values()))


# Reading


LATER = ("anomaly_index_interval", "chance", "flagging_norm", "model_accuracy", "warnings", "detectors", "pairs", "untargeted")
LATER_OF_A_LABEL = ("log_index", "num_measured", "broke_down", "by_patch", "name")


def test_fields_that_came_later_may_be_missing() -> None:
    old = content()
    for key in LATER:
        del old[key]
    for row in old["labels"]:
        for key in LATER_OF_A_LABEL:
            row.pop(key, None)
    validator().validate(old)
    read = verdict_from(old)
    assert [getattr(read, key) for key in LATER] == [(None, None), None, None, None, [], [], [], None]
    assert [getattr(read.labels[0], key) for key in LATER_OF_A_LABEL[:-1]] == [None, None, False, False]
    assert not read.labels[0].name


def test_fields_that_are_not_known_are_let_through() -> None:
    assert verdict_from(content() | {"twins": [{"name": "new"}]}).verdict is Verdict.SUSPECTED


def changed(place: str, value: Any) -> dict[str, Any]:
    """The content with another value at a place such as "labels.0.name"; "out" takes the field out."""
    whole = content()
    *way, last = place.split(".")
    part: Any = whole
    for key in way:
        part = part[int(key) if key.isdigit() else key]
    if value == "out":
        del part[last]
    else:
        part[last] = value
    return whole


WRONG = [
    ("schema", "out", "Object missing required field `schema`"),
    ("schema", True, "Expected `int`, got `bool` - at `$.schema`"),
    ("schema", 0, "Expected `int` >= 1 - at `$.schema`"),
    ("verdict", "clean", "Invalid enum value 'clean' - at `$.verdict`"),
    ("reason", "out", "Object missing required field `reason`"),
    ("flagged", 3, "Expected `array`, got `int` - at `$.flagged`"),
    ("flagged", [[1]], "Expected `int`, got `array` - at `$.flagged[0]`"),
    ("flagged", [1, "x"], "Expected `int`, got `str` - at `$.flagged[1]`"),
    ("flagged", [2.5], "Expected `int`, got `float` - at `$.flagged[0]`"),
    ("median", "large", "Expected `float | null`, got `str` - at `$.median`"),
    ("median", -1.0, "Expected `float` >= 0.0 - at `$.median`"),
    ("chance", 1.5, "Expected `float` <= 1.0 - at `$.chance`"),
    ("anomaly_index_interval", [1], "Expected `array` of length 2, got 1 - at `$.anomaly_index_interval`"),
    ("warnings", None, "Expected `array`, got `null` - at `$.warnings`"),
    ("labels", {}, "Expected `array`, got `object` - at `$.labels`"),
    ("labels", [1], "Expected `object`, got `int` - at `$.labels[0]`"),
    ("labels.0.label", -1, "Expected `int` >= 0 - at `$.labels[0].label`"),
    ("labels.0.l1_norm", True, "Expected `float | null`, got `bool` - at `$.labels[0].l1_norm`"),
    ("labels.0.attack_success_rate", 1e300, "Expected `float` <= 1.0 - at `$.labels[0].attack_success_rate`"),
    ("labels.0.status", "lost", "Invalid enum value 'lost' - at `$.labels[0].status`"),
    ("labels.0.starts", "out", "Object missing required field `starts` - at `$.labels[0]`"),
    ("labels.0.name", 5, "Expected `str`, got `int` - at `$.labels[0].name`"),
    ("labels.0.by_patch", 1, "Expected `bool`, got `int` - at `$.labels[0].by_patch`"),
    ("model", None, "Expected `object`, got `null` - at `$.model`"),
    ("model", {}, "Object missing required field `path` - at `$.model`"),
    ("model.path", 3, "Expected `str`, got `int` - at `$.model.path`"),
    ("model.input_shape", 3, "Expected `array`, got `int` - at `$.model.input_shape`"),
    ("model.num_classes", "x", "Expected `int`, got `str` - at `$.model.num_classes`"),
    ("data", {}, "Object missing required field `path` - at `$.data`"),
    ("settings", [], "Expected `object`, got `array` - at `$.settings`"),
    ("settings.seed", "x", "Expected `int`, got `str` - at `$.settings.seed`"),
    ("settings.cost", 3, "Expected `object`, got `int` - at `$.settings.cost`"),
    ("settings.cost.threshold", "x", "Expected `float | null`, got `str` - at `$.settings.cost.threshold`"),
    ("versions.keras", 3, "Expected `str`, got `int` - at `$.versions[...]`"),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG, ids=lambda value: str(value)[:30])
def test_a_field_of_another_type_is_refused_by_the_reader_and_by_the_schema(place: str, value: Any, message: str) -> None:
    wrong = changed(place, value)
    with pytest.raises(ValueError, match=re.escape(message)):
        verdict_from(wrong)
    assert not validator().is_valid(wrong)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("schema", SCHEMA + 98, f"it has schema 99, and this nc_tf knows those up to {SCHEMA}"),
        ("labels", [], "it has no labels, or one of them twice"),
        ("labels.0.label", 1, "it has no labels, or one of them twice"),
        ("flagged", [1, 1], "it flags a label twice"),
        ("flagged", [77], "it flags [77], which it does not list"),
    ],
)
def test_what_no_type_can_say_is_refused_too(place: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        verdict_from(changed(place, value))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read (Expecting value"),
        ("[" * 100_000, f"cannot be read (nested more than {DEEPEST} deep)"),
        (json.dumps({"settings": nested(DEEPEST)}), f"cannot be read (nested more than {DEEPEST} deep)"),
        ("[1]", "Expected `object`, got `array`"),
        ("3", "Expected `object`, got `int`"),
        ('{"median": 1e999}', "cannot be read (a number 1e999 beyond 1e+300)"),
        ('{"median": -1' + 400 * "0" + "}", "cannot be read (a number -1000"),
        ('{"median": 1' + 5000 * "0" + "}", "cannot be read (Exceeds the limit"),
    ],
    ids=["empty", "deep list", "deep settings", "list", "number", "endless", "long", "very long"],
)
def test_a_hostile_text_is_refused_in_one_short_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "verdict.json").write_text(text)
    with pytest.raises(InputError, match=re.escape(message)) as caught:
        read_verdict(tmp_path / "verdict.json")
    assert str(caught.value).endswith("expected what nc-tf scan writes; scan again")
    assert len(str(caught.value)) < len(str(tmp_path)) + 2 * LONGEST
    assert "\n" not in str(caught.value)


def test_an_endless_value_does_not_fill_the_screen(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(json.dumps(changed("verdict", "\x1b" * 10_000)))
    with pytest.raises(InputError, match=r"Invalid enum value '.*\.\.\.; expected what nc-tf scan writes") as caught:
        read_verdict(tmp_path / "verdict.json")
    assert len(str(caught.value)) < len(str(tmp_path)) + 5 * LONGEST
    assert "\x1b" not in str(caught.value)


def test_nan_is_read_as_a_number_that_does_not_exist(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(json.dumps(changed("median", NAN)))
    assert read_verdict(tmp_path / "verdict.json").median is None
