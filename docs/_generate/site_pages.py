"""The pages that are made from the code when the site is built: API, commands, verdict.json, layers, and files of the repository's root."""

import ast
import json
import re
import sys
from pathlib import Path
from typing import Any

import mkdocs_gen_files

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

from command_pages import commands_page  # noqa: E402
from layer_picture import layers_page, layers_svg  # noqa: E402

SCHEMA = ROOT / "nc_tf" / "storage" / "verdict.schema.json"
# Public names by what they are for; a name that is not listed here comes last.
GROUPS = {
    "Scanning": ("scan", "scan_to_folder", "ScanOptions", "SearchSettings", "CostSchedule", "ScanCallback", "Visualizer"),
    "Models": ("load_model", "adapt"),
    "Repairs": ("unlearn",),
    "Results": ("ScanResult", "Verdict", "LabelResult", "Status", "Trigger", "Mitigation", "Measurement"),
    "Errors": ("InputError",),
}
# Files outside of docs/ that the site shows, and under which name.
COPIES = {
    "CHANGELOG.md": "project/changelog.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "SECURITY.md": "project/security.md",
    "models/README.md": "project/shipped-models.md",
}


def public_names() -> list[str]:
    """The names that nc_tf exports, read from its `__all__`."""
    tree = ast.parse((ROOT / "nc_tf" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return [str(name) for name in ast.literal_eval(node.value)]
    raise ValueError("nc_tf/__init__.py has no __all__")


def api_page() -> str:
    """The reference of the public names, for mkdocstrings to fill."""
    left, parts = public_names(), ["# Python API", "Every public name of `nc_tf`, from its docstring. Images are raw pixels in [0, 255]."]
    groups = GROUPS | {"More": tuple(sorted(set(left) - {name for names in GROUPS.values() for name in names}))}
    for group, names in groups.items():
        known = [name for name in names if name in left]
        if known:
            parts += [f"## {group}", *(f"::: nc_tf.{name}" for name in known)]
    return "\n\n".join(parts) + "\n"


def verdict_page() -> str:
    """The fields of verdict.json, from its schema."""
    head = (HERE / "verdict_head.md").read_text(encoding="utf-8")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    parts = [head, _fields("Fields", schema, schema)]
    parts += [_fields(f"`{name}`", part, schema) for name, part in schema.get("$defs", {}).items() if part.get("properties")]
    return "\n".join(parts)


def _fields(title: str, part: dict[str, Any], schema: dict[str, Any]) -> str:
    required = set(part.get("required", ()))
    lines = [f"## {title}", "", "| field | type | always there | meaning |", "| --- | --- | --- | --- |"]
    for name, field in part.get("properties", {}).items():
        meaning = str(field.get("description") or field.get("title") or "").replace("|", "\\|").replace("\n", " ")
        lines.append(f"| `{name}` | {_type(field)} | {'yes' if name in required else 'no'} | {meaning} |")
    return "\n".join([*lines, ""])


def _type(field: dict[str, Any]) -> str:
    if "$ref" in field:
        return f"`{field['$ref'].rpartition('/')[2]}`"
    if "anyOf" in field:
        return " or ".join(map(_type, field["anyOf"]))
    if field.get("type") == "array" and isinstance(field.get("items"), dict):
        return f"list of {_type(field['items'])}"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    kinds = field.get("type", "any")
    return " or ".join(kinds) if isinstance(kinds, list) else str(kinds)


def copied(source: str) -> str:
    """A file from outside of docs/, its links made to lead to pages of the site."""
    folder = (ROOT / source).parent

    def moved(link: re.Match[str]) -> str:
        words, target, anchor = link[1], link[2], link[3] or ""
        if re.match(r"[a-z]+:", target):
            return link[0]
        path = (folder / target).resolve().relative_to(ROOT).as_posix()
        if path in COPIES:
            return f"[{words}]({COPIES[path].removeprefix('project/')}{anchor})"
        if path.startswith("docs/"):
            return f"[{words}](../{path.removeprefix('docs/')}{anchor})"
        return words if words.startswith("`") else f"{words} (`{path}`)" if words != path else f"`{path}`"

    return re.sub(r"(?<!!)\[([^]]+)\]\(([^)#\s]+)(#[^)]*)?\)", moved, (ROOT / source).read_text(encoding="utf-8"))


def write(name: str, content: str) -> None:
    """One page or file of the site."""
    with mkdocs_gen_files.open(name, "w", encoding="utf-8") as file:
        file.write(content)


write("reference/api.md", api_page())
write("reference/commands.md", commands_page())
write("reference/verdict-json.md", verdict_page())
write("reference/layers.md", layers_page())
write("reference/layers.svg", layers_svg())
for source, name in COPIES.items():
    write(name, copied(source))
