"""The documentation site builds without a warning, names every file of results, and needs nothing from elsewhere to be read."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MARKS = re.compile(r"<!-- table: (\w+) -->")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a broken link or anchor, or a page outside of the navigation, fails the build."""
    folder = tmp_path_factory.mktemp("site")
    quiet = {"NO_MKDOCS_2_WARNING": "1", "DISABLE_MKDOCS_2_WARNING": "true", "PYTHONWARNINGS": ""}
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | quiet, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_public_name_is_documented(site: Path) -> None:
    import nc_tf

    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    assert not [name for name in nc_tf.__all__ if f'id="nc_tf.{name}"' not in page]


def test_every_option_is_documented(site: Path) -> None:
    from nc_tf.cli import parser

    page = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    for name, command in parser()._subparsers._group_actions[0].choices.items():  # type: ignore[union-attr]
        assert f'id="nc-tf-{name}"' in page
        assert not [option for action in command._actions for option in action.option_strings if f"<code>{option}" not in page]


def test_every_table_is_made(site: Path) -> None:
    marks = [mark for page in (ROOT / "docs").rglob("*.md") for mark in MARKS.findall(page.read_text(encoding="utf-8"))]
    assert len(marks) == len(set(marks)) > 20
    assert not [page.name for page in site.rglob("*.html") if "<!-- table:" in page.read_text(encoding="utf-8")]


def test_every_file_of_results_is_named_on_a_page() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    unnamed = [path.name for path in (ROOT / "benchmarks" / "results").glob("*.json") if path.name not in pages]
    assert not unnamed


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loaded = re.compile(r"<(?:link[^>]+href|script[^>]+src|img[^>]+src)=\"(https?:)?//")
    assert not [page.name for page in site.rglob("*.html") if loaded.search(page.read_text(encoding="utf-8"))]
