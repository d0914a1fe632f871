"""Rules of the repository that no linter checks: one version, module paths of before, no path of one machine."""

import re
import subprocess
from configparser import ConfigParser
from importlib import import_module
from pathlib import Path

import pytest

import nc_tf

ROOT = Path(__file__).resolve().parent.parent

# Absolute paths that exist on one machine only.
MACHINE_PATH = re.compile(r"/(work|root|farm|home|Users)/[a-z]")


def repository_text() -> dict[Path, str]:
    """Every text file of the repository, committed or about to be; a file that is not UTF-8 is no text."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("this copy is no git repository, so nothing says which files belong to it")
    texts = {}
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file():
            try:
                texts[path] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return texts


@pytest.mark.parametrize(("old", "new"), nc_tf._MOVED.items())
def test_a_module_path_of_before_leads_to_the_same_module(old: str, new: str) -> None:
    module = import_module(old)
    assert module is import_module(new)
    assert module.__spec__ is not None
    assert module.__spec__.name == new


def moved_modules() -> list[tuple[str, str]]:
    """The rows of the changelog's table "Moved": the first cell, and a module or a public name that the second cell gives."""
    table = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").partition("### Moved")[2].partition("###")[0]
    found = []
    for row in (line for line in table.splitlines() if line.startswith("| `")):
        before, now = (re.findall(r"`([\w.*/]+)`", cell) for cell in row.split("|")[1:3])
        package = ""
        for name in (name for name in now if "/" not in name and not name[0].isupper()):
            if name.endswith("."):
                found += [(row, name + old.rpartition(".")[2]) for old in before]
            else:
                package = name.rpartition(".")[0] or package
                found.append((row, name if "." in name else f"{package}.{name}".lstrip(".")))
    return found


def test_the_changelog_says_where_modules_are() -> None:
    found = moved_modules()
    assert len(found) > 60
    modules = {path.relative_to(ROOT / "nc_tf").with_suffix("").as_posix().replace("/", ".") for path in (ROOT / "nc_tf").rglob("*.py")}
    modules |= {module.removesuffix(".__init__") for module in modules} | {f"nc_tf.{name}" for name in nc_tf.__all__}
    assert not [(row, now) for row, now in found if now not in modules]


def test_the_citation_gives_the_version_of_the_package() -> None:
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.findall(r"^version: (\S+)$", citation, re.MULTILINE) == [nc_tf.__version__]


def test_the_changelog_has_a_section_for_the_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(rf"^## \[{re.escape(nc_tf.__version__)}\]", changelog, re.MULTILINE)


def test_no_text_file_holds_a_path_of_one_machine() -> None:
    texts = repository_text()
    assert Path(__file__).resolve() in texts, "the listing misses this very file, so it proves nothing"
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:120]}"
        for path, text in texts.items()
        for number, line in enumerate(text.splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found, "\n".join(found)


def test_a_path_of_one_machine_is_recognised() -> None:
    assert MACHINE_PATH.search("/".join(["read ", "home", "someone", "model.keras"]))
    assert not MACHINE_PATH.search("../network/weights.h5, https://example.org/homework/a")


def test_a_wheel_holds_every_file_that_is_no_module() -> None:
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    packed: set[Path] = set()
    for package, patterns in config["options.package_data"].items():
        for pattern in patterns.split():
            packed |= set((ROOT / package.replace(".", "/")).glob(pattern))
    files = {path for path in repository_text() if path.is_relative_to(ROOT / "nc_tf") and path.suffix != ".py"}
    files |= set((ROOT / "nc_tf").rglob("*.keras"))
    assert len(files) > 5
    assert not files - packed
