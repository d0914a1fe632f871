"""Options of a command, read from the source of a function; its module, which may load TensorFlow, is not imported."""

import argparse
import ast
import inspect
import re
from collections.abc import Collection, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

# Further arguments of `add_argument` by annotation; a parameter with another annotation has no option.
TYPES: dict[str, dict[str, Any]] = {
    "float": {"type": float},
    "int": {"type": int},
    "str": {"type": str},
    "float | None": {"type": float},
    "int | None": {"type": int},
    "str | None": {"type": str},
    "Sequence[str]": {"nargs": "+"},
}


class Parameter(NamedTuple):
    """A parameter with a literal default.

    Attributes:
        annotation: as the source has it.
        default: its value.
        help: from the docstring.
    """

    annotation: str
    default: Any
    help: str


def parameters(function: str) -> dict[str, Parameter]:
    """Return the parameters of a function that have literal defaults.

    Args:
        function: "module:name".

    Raises:
        LookupError: there is no such function.
    """
    module, _, name = function.partition(":")
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"{function}: expected a module with a source file")
    body = ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
    node = next((part for part in body if isinstance(part, ast.FunctionDef) and part.name == name), None)
    if node is None:
        raise LookupError(f"{function}: expected a function of that name in {spec.origin}")
    helps = _helps(ast.get_docstring(node) or "")
    places, keywords = node.args.args, node.args.kwonlyargs
    defaults: list[ast.expr | None] = [None] * (len(places) - len(node.args.defaults))
    found = {}
    for argument, default in zip([*places, *keywords], [*defaults, *node.args.defaults, *node.args.kw_defaults], strict=True):
        try:
            value = ast.literal_eval(default) if default is not None else inspect.Parameter.empty
        except ValueError:  # a name
            continue
        if value is not inspect.Parameter.empty and argument.annotation is not None:
            found[argument.arg] = Parameter(ast.unparse(argument.annotation), value, helps.get(argument.arg, ""))
    return found


def _helps(docstring: str) -> dict[str, str]:
    """Return the descriptions in a Google-style docstring, by parameter."""
    section = re.search(r"^Args:\n((?: .*\n|\n)*)", docstring + "\n", re.MULTILINE)
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1], re.MULTILINE) if section else []
    return {name: " ".join(text.split()) for name, text in entries}


def add_options(
    parser: argparse.ArgumentParser, found: Mapping[str, Parameter], *, skipped: Collection[str], names: Mapping[str, str]
) -> list[str]:
    """Declare an option for each plain parameter; returns their names.

    Args:
        parser: to declare them with.
        found: from `parameters`.
        skipped: parameters that get none.
        names: of options by parameter, where they differ.
    """
    declared = [name for name, parameter in found.items() if name not in skipped and parameter.annotation in TYPES]
    for name in declared:
        default, words = found[name].default, found[name].help.rstrip(".").replace("%", "%%")
        shown = f"{words} (default: {default})" if default not in (None, ()) else words
        option = f"--{names.get(name, name).replace('_', '-')}"
        parser.add_argument(option, dest=name, default=default, help=shown, **TYPES[found[name].annotation])
    return declared
