"""The rules of the house that a reader cannot check at a glance: which way imports run, one version, no path of one machine."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

import nc_tf

ROOT = Path(__file__).resolve().parent.parent

# From the cellar up. A module may import its own package and anything on a lower floor, never a neighbour on the same one.
FLOORS = [
    {"_version"},
    {"errors", "results", "saved"},
    {"files", "memory", "preprocessing", "pixels", "random_state", "bounds"},
    {"npz_file", "hdf5_file"},
    {"folder_lock", "trigger_file", "verdict_file"},
    {"models", "datasets"},
    {"triggers", "schedule", "outliers", "rates"},
    {"inversion", "evaluation"},
    {"search", "recognition", "probing"},
    {"racing", "engines"},
    {"lanes", "ranking"},
    {"callbacks", "presets", "verdicts", "scan_state", "visualizer"},
    {"limits"},
    {"scan_state_files"},
    {"scanning", "scan_record"},
    {"scan_folder"},
    {"attacks", "mitigation", "report"},
    {"report_file", "clip_training"},
    {"demo"},
    {"cli"},
    {"command"},
]
FLOOR_OF = {module: floor for floor, modules in enumerate(FLOORS) for module in modules}

# Narrower than the floors: what these may know of ours, though more lies below them.
MAY_KNOW = {
    "errors": set(),
    "results": set(),
    "saved": set(),
    "files": {"errors"},
    "memory": {"errors"},
    "pixels": set(),
    "preprocessing": {"errors", "results"},
    "triggers": {"errors", "results", "preprocessing"},
    "schedule": {"errors", "results", "preprocessing"},
    "outliers": {"errors", "results", "preprocessing"},
    "report": {"callbacks", "errors", "inversion", "pixels", "results", "search", "triggers", "verdict_file"},
}

# Absolute paths that exist on one machine only.
MACHINE_PATH = re.compile(r"/(work|root|farm|home|Users)/[a-z]")


def imported_parts(source: str, package: str) -> set[str]:
    """Name the parts of nc_tf (`results`, `models`, ...) that `source` imports anywhere, inside functions too.

    Args:
        source: the text of a module.
        package: the dotted package the module lies in, which relative imports start from.

    A name taken from `nc_tf` itself counts as a part.
    """
    parts = set()
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            names = [f"{base}.{alias.name}" for alias in node.names]
        for name in names:
            first, _, rest = name.partition(".")
            if first == "nc_tf":
                parts.add(rest.split(".")[0])
    return parts


def complaints(part: str, known: set[str]) -> list[str]:
    """Say which imports of `part` the house forbids: `known` are the parts it imports."""
    found = []
    if part not in FLOOR_OF:
        return [f"nc_tf.{part} has no floor: add it to FLOORS in tests/test_house.py"]
    for other in sorted(known - {part}):
        if not other:
            found.append(f"nc_tf.{part} imports the package's front: import the module itself")
        elif other not in FLOOR_OF:
            found.append(f"nc_tf.{part} imports {other}: no module on a floor, so import the module that defines it or give it a floor")
        elif FLOOR_OF[other] >= FLOOR_OF[part]:
            found.append(f"nc_tf.{part} imports nc_tf.{other}, which is not below it")
        elif part in MAY_KNOW and other not in MAY_KNOW[part]:
            found.append(f"nc_tf.{part} imports nc_tf.{other}: it may know only {sorted(MAY_KNOW[part]) or 'nobody of ours'}")
    return found


def modules() -> list[Path]:
    """Every module of the package but its front, `nc_tf/__init__.py`, which shows the public names and so imports upwards."""
    return sorted(path for path in (ROOT / "nc_tf").rglob("*.py") if path != ROOT / "nc_tf" / "__init__.py")


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


def test_imports_run_downwards_only() -> None:
    found = []
    for path in modules():
        place = path.relative_to(ROOT).with_suffix("").parts
        known = imported_parts(path.read_text(encoding="utf-8"), package=".".join(place[:-1]))
        found += [f"{path.relative_to(ROOT)}: {complaint}" for complaint in complaints(place[1], known)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("results", "from nc_tf.errors import InputError"),
        ("files", "from nc_tf import results"),
        ("triggers", "from nc_tf.models.loading import load_model"),
        ("schedule", "import nc_tf.datasets.gtsrb"),
        ("outliers", "def late():\n    from nc_tf.report import figures"),
        ("inversion", "from .scanning import scan"),
        ("scanning", "from nc_tf.scan_folder import ScanFolder"),
        ("presets", "from nc_tf.verdicts import judge"),
        ("mitigation", "from nc_tf.cli import main"),
        ("report", "from nc_tf.scanning import scan"),
        ("demo", "from nc_tf import load_model"),
        ("cli", "import nc_tf"),
        ("attic", "import numpy"),
    ],
)
def test_an_import_against_the_rules_is_found(part: str, source: str) -> None:
    assert len(complaints(part, imported_parts(source, package="nc_tf"))) == 1


@pytest.mark.parametrize(
    ("part", "package", "source"),
    [
        ("files", "nc_tf", "from nc_tf.errors import InputError"),
        ("triggers", "nc_tf", "from .results import Trigger\nimport tensorflow as tf"),
        ("mitigation", "nc_tf.mitigation", "from . import pruning\nfrom ..scanning import scan\nfrom nc_tf.mitigation.nft import nft"),
        ("demo", "nc_tf", "from nc_tf._version import __version__"),
        ("cli", "nc_tf.cli", "from nc_tf.demo import Demo"),
    ],
)
def test_an_import_within_the_rules_passes(part: str, package: str, source: str) -> None:
    assert complaints(part, imported_parts(source, package)) == []


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
