"""The messages that the reference quotes: the package prints every one of them."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parent.parent
PAGES = [*sorted((ROOT / "docs" / "reference").glob("*.md")), ROOT / "docs" / "how-to" / "limit-memory.md"]
# Three words in a row are a message, or a part of one; a value that is filled in has fewer, except in quotes or brackets.
WORDS = re.compile(r"\b[a-z]{2,}(?: [a-z]{2,}){2,}\b")
FREE = re.compile(r"\([^()]*(?:\([^()]*\)[^()]*)*\)|'[^']*'|\[[^]]*\]|\{[^}]*\}")

# Literal parts of a string, with None for each value that is filled in.
Template = tuple[str | None, ...]


def template(node: ast.expr) -> Template:
    """The parts of a literal or of an f-string."""
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, str)
        return tuple(part if number % 2 == 0 else None for number, part in enumerate(re.split(r"(\{\w*\})", node.value)) if part)
    assert isinstance(node, ast.JoinedStr)
    return tuple(part.value if isinstance(part, ast.Constant) else None for part in node.values)  # type: ignore[misc]


@cache
def templates() -> tuple[Template, ...]:
    """Every string of the package with a few words in it."""
    found = set()
    for file in (*(ROOT / "nc_tf").rglob("*.py"), *(ROOT / "video").glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
                parts = template(node)
                words = len(re.findall(r"[a-z]{2,}", " ".join(part or "" for part in parts)))
                if words >= 2:
                    found.add(parts)
                if words >= 4:
                    found.add((None, " ", *parts))  # after the name of a file or a layer
    return tuple(found)


def filled(parts: Template, text: str, cut: bool) -> Iterator[list[str]]:
    """The values with which the template becomes the text, or begins with it where the text is cut."""
    if not parts:
        if not text:
            yield []
    elif parts[0] is not None:
        if text.startswith(parts[0]):
            yield from filled(parts[1:], text[len(parts[0]) :], cut)
        elif cut and parts[0].startswith(text):
            yield []
    else:
        if len(parts) == 1:
            ends = [len(text)]
        elif parts[1] is None:
            ends = list(range(len(text) + 1))
        else:
            ends = [found.start() for found in re.finditer(re.escape(parts[1]), text)]
        for end in ends:
            for rest in filled(parts[1:], text[end:], cut):
                yield [text[:end], *rest]
        if cut:
            yield [text]


def is_free(parts: Template, place: int) -> bool:
    """Whether a value stands in quotes or brackets, where it may be anything."""
    before, after = (parts[other] if 0 <= other < len(parts) else "" for other in (place - 1, place + 1))
    return bool(before and after) and before[-1:] + after[:1] in ("()", "''", '""')  # type: ignore[index]


@cache
def is_printed(text: str, cut: bool = False) -> bool:
    """Whether the text is a value, or some string of the package with such texts filled in."""
    if not WORDS.search(FREE.sub("'", text)):
        return True
    for parts in templates():
        if not cut and not all(part in text for part in parts if part):
            continue
        places = [place for place, part in enumerate(parts) if part is None]
        for values in filled(parts, text, cut):
            if all(
                value != text and (is_free(parts, place) or is_printed(value, cut and number == len(values) - 1))
                for number, (place, value) in enumerate(zip(places, values, strict=False))
            ):
                return True
    return False


def quoted(page: Path) -> list[str]:
    """The messages in the tables of a page."""
    rows = [line for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    spans = [(double or single).strip().replace("\\|", "|") for row in rows for double, single in re.findall(r"``(.+?)``|`([^`]+)`", row)]
    return [span for span in spans if WORDS.search(FREE.sub("'", span)) and re.search(r"expected|; ", span)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_package_prints_the_messages_that_a_page_quotes(page: Path) -> None:
    missing = [text for text in quoted(page) if not is_printed(text.removesuffix("..."), text.endswith("..."))]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    "text",
    [
        "DATA: largest value 65535: expected raw pixels in [0, 255]; rescale the images",
        "to ask the model about an image takes 55.7 GiB of memory: expected 4.0 GiB at most; give more with --memory, or a smaller network",
        "FILE is compressed by a codec that FFmpeg does not know: expected MPEG-4 or another; convert it",
        "DATA does not exist: expected a file; check the path of it",
    ],
)
def test_a_message_that_is_not_printed_is_noticed(text: str) -> None:
    assert not is_printed(text)


def test_a_message_with_its_values_or_cut_short_is_printed() -> None:
    assert is_printed("my data.npz: largest value 300: expected raw pixels in [0, 255]; scale the clips to [0, 255]")
    assert is_printed("prediction for a clip takes 55.7 GiB of memory: expected 4.0 GiB at", cut=True)
