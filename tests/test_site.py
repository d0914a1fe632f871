"""The documentation site builds without a warning, names every file of results, and needs nothing from elsewhere to be read."""

import os
import re
import shlex
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


@pytest.mark.slow
def test_every_public_name_is_documented(site: Path) -> None:
    import nc_tf

    page = (site / "reference" / "api.html").read_text(encoding="utf-8")
    assert not [name for name in nc_tf.__all__ if f'id="nc_tf.{name}"' not in page]
    more = re.findall(r'id="nc_tf\.(\w+)"', page.partition('<h2 id="more">')[2])
    assert set(more) <= {"__version__"}, "a public name belongs to no group"


def test_every_option_is_documented(site: Path) -> None:
    from nc_tf.cli.main import parser

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


def blocks(kind: str) -> list[str]:
    """The code blocks of one kind on all pages."""
    pages = [*sorted((ROOT / "docs").rglob("*.md")), *ROOT.glob("*.md")]
    return [block for page in pages for block in re.findall(rf"```{kind}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)]


def test_every_command_of_the_pages_is_one() -> None:
    from nc_tf.cli.main import parser

    lines = [line.strip() for block in blocks("sh") for line in block.splitlines()]
    commands = [line.split("||")[0] for line in lines if line.startswith("nc-tf ")]
    assert len(commands) > 20
    for command in commands:
        known = command.replace("--poison-type border", "--poison-type patch")  # the attack that the page itself adds
        parser().parse_args(shlex.split(known, comments=True)[1:])  # leaves with a message where it is none
    scripts = [line.split()[1] for line in lines if line.startswith("python ")]
    assert not [script for script in scripts if not (ROOT / script).exists()]


def test_every_python_block_is_python() -> None:
    assert len(blocks("python")) > 8
    for block in blocks("python"):
        compile(block, "page", "exec")


def test_every_command_that_makes_results_is_there() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs").rglob("*.md"))
    named = set(re.findall(r"python -m (benchmarks[\w.]+\w)", text))
    assert len(named) > 10
    assert not [script for script in named if not (ROOT / f"{script.replace('.', '/')}.py").exists()]
