"""A picture of the package's parts and of who imports whom, drawn from the imports themselves."""

from functools import cache
from html import escape

import grimp

ROOT = "nc_tf"
WIDTH, HEIGHT, GAP, ROW = 150, 30, 14, 78
MOST_A_ROW = 7

Edges = dict[str, set[str]]


@cache
def _parts() -> tuple[tuple[str, ...], frozenset[tuple[str, str]], frozenset[str]]:
    """Top-level parts of the package, the pairs (importer, imported) between them, and which parts are folders."""
    graph = grimp.build_graph(ROOT, exclude_type_checking_imports=True, cache_dir=None)
    parts = tuple(sorted(name.rpartition(".")[2] for name in graph.find_children(ROOT)))
    pairs = set()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            ends = [name.split(".")[1] for name in (module, imported) if "." in name]
            if len(ends) == 2 and ends[0] != ends[1]:
                pairs.add((ends[0], ends[1]))
    folders = frozenset(part for part in parts if graph.find_children(f"{ROOT}.{part}"))
    return parts, frozenset(pairs), folders


def _edges() -> Edges:
    parts, pairs, _ = _parts()
    return {part: {imported for importer, imported in pairs if importer == part} for part in parts}


def _reach(edges: Edges) -> Edges:
    """What each part leads to, directly or not."""
    reach = {part: set(imported) for part, imported in edges.items()}
    for middle in reach:
        for part in reach:
            if middle in reach[part]:
                reach[part] |= reach[middle]
    return reach


def _floors(edges: Edges) -> dict[str, int]:
    """The floor of each part: one above the highest that it imports; parts of one circle share a floor."""
    reach = _reach(edges)
    floors = dict.fromkeys(edges, 0)
    for _ in edges:
        for part, imported in edges.items():
            below = [floors[other] + (part not in reach[other]) for other in imported]
            floors[part] = max([floors[part], *below])
    return floors


def _direct(edges: Edges) -> list[tuple[str, str]]:
    """The imports that are left when those that follow from others are taken away."""
    reach = _reach(edges)
    return [
        (part, other)
        for part, imported in edges.items()
        for other in sorted(imported)
        if not any(other in reach[between] and part not in reach[between] for between in imported - {other})
    ]


def layers_svg() -> str:
    """Boxes on floors, importers above what they import, with a line for each import that does not follow from others."""
    edges = _edges()
    floors, folders = _floors(edges), _parts()[2]
    rows: list[list[str]] = []
    for floor in sorted(set(floors.values()), reverse=True):
        members = sorted(part for part in edges if floors[part] == floor)
        rows += [members[first : first + MOST_A_ROW] for first in range(0, len(members), MOST_A_ROW)]
    width = max(len(row) for row in rows) * (WIDTH + GAP) + GAP
    height = len(rows) * ROW + GAP
    places = {}
    for number, row in enumerate(rows):
        left = (width - len(row) * (WIDTH + GAP) + GAP) / 2
        for column, part in enumerate(row):
            places[part] = (left + column * (WIDTH + GAP), GAP + number * ROW)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for part, other in _direct(edges):
        (x1, y1), (x2, y2) = places[part], places[other]
        ends = f'x1="{x1 + WIDTH / 2:.0f}" y1="{y1 + HEIGHT:.0f}" x2="{x2 + WIDTH / 2:.0f}" y2="{y2:.0f}"'
        lines.append(f'<line {ends} stroke="#9aa5b1" stroke-width="1"/>')
    for part, (x, y) in places.items():
        fill = "#dbe7f5" if part in folders else "#f3f1e8"
        lines.append(f'<rect x="{x:.0f}" y="{y:.0f}" width="{WIDTH}" height="{HEIGHT}" rx="4" fill="{fill}" stroke="#52606d"/>')
        words = escape(f"{part}/" if part in folders else part)
        lines.append(f'<text x="{x + WIDTH / 2:.0f}" y="{y + 20:.0f}" text-anchor="middle" fill="#1f2933">{words}</text>')
    return "\n".join([*lines, "</svg>"]) + "\n"


def layers_page() -> str:
    """The picture, and a table of who imports whom."""
    edges = _edges()
    floors, folders = _floors(edges), _parts()[2]
    rows = []
    for part in sorted(edges, key=lambda name: (-floors[name], name)):
        imported = ", ".join(f"`{other}`" for other in sorted(edges[part])) or "nothing of the package"
        rows.append(f"| `{part}{'/' if part in folders else ''}` | {floors[part]} | {imported} |")
    return "\n".join(
        [
            "# Layers of the package",
            "",
            "The picture is drawn from the imports when the site is built. A part imports only parts on lower floors.",
            "A line that follows from two others is left out. Blue boxes are folders, the others are single modules.",
            "",
            "![Boxes for the parts of nc_tf on floors, with a line for each import](layers.svg)",
            "",
            "| part | floor | imports |",
            "| --- | ---: | --- |",
            *rows,
            "",
        ]
    )
