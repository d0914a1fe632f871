"""The words that pages, docstrings and comments do not use, and the length of sentences (the rules are in CONTRIBUTING.md)."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(path for pattern in ("*.md", "docs/**/*.md", "models/*.md") for path in ROOT.glob(pattern) if path.name != "CHANGELOG.md")
# Modules and folders of nc_tf.
PARTS = sorted(path.name for path in (ROOT / "nc_tf").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())
LONGEST_SENTENCE = 25

# What is written instead.
NOT_USED = {
    r"hears?|hearing|heard": "is told, is called",
    r"bur(?:y|ies|ied)": "hides, drops",
    r"hires?|hired|hiring": "starts",
    r"whoever": "the reader, the caller",
    r"so many|as many": "the number, or the name of the parameter",
    r"arms?": "restart",
    r"legs?": "task, round",
    r"rac(?:e|es|ed|ing)": "successive halving",
    r"ranks|ranked|rankings?": "pre-screening, order",
    r"unseen": "held-out",
    r"by lot": "random sample",
    r"by heart": "overfitting",
    r"runs? dry": "raises StopIteration",
    r"stands? still|stood still": "frozen",
    r"purif(?:y|ies|ied)": "repair",
    r"teach(?:es)? away|taught away": "unlearn",
    r"wants": "expects",
    r"knows": "has, reads",
    r"nobody|somebody": "no caller, a caller",
}
FORBIDDEN = {re.compile(rf"\b(?:{words})\b", re.IGNORECASE): better for words, better in NOT_USED.items()}
BEGINNINGS = re.compile(r"(?:^|(?<=[.!?:] ))(Of|Those|What|Who|Whoever|Whatever)\b")
# Name of an argument or a field at the head of its entry in a docstring; names of public ones stay.
ENTRY = re.compile(r"^ {4}\w[\w, ]*: ", re.MULTILINE)
# Titles of pages.
ALLOWED = re.compile(r"What a scan does not see|Inconclusive, what now", re.IGNORECASE)


def faults(text: str) -> Iterator[str]:
    """What is wrong with a piece of prose."""
    text = ALLOWED.sub("", text)
    for pattern, better in FORBIDDEN.items():
        for found in pattern.finditer(text):
            yield f"{found[0]!r}: write {better}: {text[max(0, found.start() - 40) : found.end() + 40]!r}"
    for found in BEGINNINGS.finditer(text):
        yield f"a sentence begins with {found[0]!r}: begin with its subject: {text[found.start() : found.end() + 60]!r}"


def too_long(text: str) -> Iterator[str]:
    """Sentences of more words than a reader takes in at once."""
    for sentence in re.split(r"(?<=[.!?:;])\s+(?=[A-Z\[`*(\"])", ALLOWED.sub("X", text)):
        words = re.findall(r"[^\W_][\w'.,/%-]*", sentence)
        if len(words) > LONGEST_SENTENCE:
            yield f"{len(words)} words, at most {LONGEST_SENTENCE}: {sentence!r}"


def plain(text: str) -> str:
    """Prose without code, link targets and marks."""
    text = re.sub(r"``.+?``|`[^`]*`", "X", text, flags=re.DOTALL)
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"<!--.*?-->|[*]{1,2}", "", text)


def page_parts(text: str) -> Iterator[tuple[bool, str]]:
    """Paragraphs of a page, and whether they are sentences; headings, captions of columns and cells need not be."""
    text = re.sub(r"^```.*?^```$", "\n", text, flags=re.DOTALL | re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*] |\d+\. |\|))", text):
        block = plain(block.strip())
        if block.startswith("|"):
            yield from ((False, cell.strip()) for cell in block.split("|"))
        elif block.startswith("#"):
            yield False, block
        else:
            yield True, " ".join(re.sub(r"^(?:[-*] |\d+\. |!!! \w+)", "", block).split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_follows_the_rules(page: Path) -> None:
    found = []
    for is_sentence, text in page_parts(page.read_text(encoding="utf-8")):
        if is_sentence:
            found += [*faults(text), *too_long(text)]
        else:
            found += [fault for fault in faults(text) if "begins" not in fault]
    assert not found, "\n".join(found)


def module_parts(text: str) -> Iterator[tuple[int, str]]:
    """Docstrings and comments of a module, with their lines."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            docstring = ast.get_docstring(node)
            if docstring:
                yield node.body[0].lineno, plain(" ".join(ENTRY.sub("", docstring).split()))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not re.match(r"# (?:noqa|type:|pragma|mypy|ruff)", token.string):
            yield token.start[0], plain(token.string.lstrip("# "))


def modules(part: str) -> list[Path]:
    """The Python files of a module or a folder of nc_tf."""
    place = ROOT / "nc_tf" / part
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


@pytest.mark.parametrize("part", PARTS)
def test_docstrings_and_comments_follow_the_rules(part: str) -> None:
    files = modules(part)
    assert files, f"nc_tf/{part} is neither a module nor a folder"
    found = []
    for file in files:
        for line, text in module_parts(file.read_text(encoding="utf-8")):
            found += [f"{file.relative_to(ROOT)}:{line}: {fault}" for fault in faults(text)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hears how a scan goes on.", "is told"),
        ("A search for so many labels.", "the number"),
        ("Norms are judged. Of clean networks, 63 % are accused.", "begins with 'Of'"),
        ("What is left out is named.", "begins with 'What'"),
        ("The rounds of one arm.", "restart"),
        ("Whoever runs it.", "the caller"),
    ],
)
def test_a_fault_is_found(text: str, expected: str) -> None:
    assert any(expected in fault for fault in faults(text))


@pytest.mark.parametrize("text", ["What a scan does not see is listed.", "The parameters of the restart.", "A warm start and an alarm."])
def test_good_prose_has_no_fault(text: str) -> None:
    assert not list(faults(text))


def test_a_long_sentence_is_found() -> None:
    assert list(too_long("Word " * (LONGEST_SENTENCE + 1) + "."))
    assert not list(too_long("Word " * (LONGEST_SENTENCE - 1) + "end. " + "Word " * 20 + "."))


def test_code_is_not_prose() -> None:
    parts = list(page_parts("# Head\n\nSay `so many` here.\n\n```sh\nrun whoever\n```\n\n| Of | `arm` |\n| --- | --- |\n| arms | x |\n"))
    assert (True, "Say X here.") in parts
    assert not any("whoever" in text for _, text in parts)
    assert (False, "arms") in parts


def test_comments_and_docstrings_of_a_module_are_found() -> None:
    parts = dict(module_parts('"""One."""\n\n\ndef two() -> None:\n    """Three."""  # noqa: D100\n    # four\n'))
    assert parts == {1: "One.", 5: "Three.", 6: "four"}


def test_names_of_arguments_are_not_prose() -> None:
    text = '''def one() -> None:
    """Two.

    Args:
        unseen: held-out images, which
            unseen: ones are.
        wants, arm: both.
    """
'''
    assert dict(module_parts(text)) == {2: "Two. Args: held-out images, which unseen: ones are. both."}
