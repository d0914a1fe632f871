"""Names that a stranger chose are shown on one line, and write over nothing."""

import os
from pathlib import Path

import pytest

from nc_tf.errors import printable


@pytest.mark.parametrize("text", ["", "stop sign", "Vorfahrt gewähren", "漢字 😀", "C:\\models\\new", "<b>'\""])
def test_what_can_be_shown_stays_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[2Jb", r"a\x1b[2Jb"),
        ("no\nno outlier", r"no\nno outlier"),
        ("a\r\tb\x07\x7f", r"a\r\tb\x07\x7f"),
        ("\u202egnp.exe", r"\u202egnp.exe"),
        ("a\u2028b\x85c\u200bd", r"a\u2028b\x85c\u200bd"),
        (os.fsdecode(b"m\xff\xfe.keras"), r"m\udcff\udcfe.keras"),
        ("\ud800", r"\ud800"),
        (Path("a\nb"), r"a\nb"),
        (ValueError("bad\x00name"), r"bad\x00name"),
    ],
)
def test_what_cannot_be_shown_is_escaped(text: object, shown: str) -> None:
    assert printable(text) == shown
    assert printable(text).isprintable()
    printable(text).encode("utf-8")
