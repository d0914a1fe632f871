"""The names that an untrusted model file may hold, from the list `allowed_names.txt` beside this module."""

import functools
import importlib.resources
import re
import sys
from typing import Any

from nc_tf.models.keras_internals import public_object

ALLOWED = {"model", "layer", "application", "initializer", "regularizer", "constraint", "policy", "activation", "operation"}
# Meaning of a name without a module, as `.h5` files write it: the first that fits, in Keras's own order.
WITHOUT_MODULE = ("model", "layer", "runs-code", "reads-files", "no-layer", "initializer", "regularizer", "constraint", "policy")
# Settings that name something by one word, by the ends of their keys.
SLOTS = {"activation": "activation", "_initializer": "initializer", "_regularizer": "regularizer", "_constraint": "constraint"}
DTYPES = {"bool", "float16", "bfloat16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}
# Quantizations that `quantized` does not undo; Keras takes these words for dtype policies wherever one may stand.
QUANTIZED = re.compile(r"(int4|gptq|awq|int8|float8)\S*_from_\w+")
POLICIES = {"mixed_float16", "mixed_bfloat16"}


@functools.cache
def listed() -> dict[str, str]:
    """The kind of every name in the list."""
    text = importlib.resources.files("nc_tf.models.loading").joinpath("allowed_names.txt").read_text(encoding="utf-8")
    pairs = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return {name: kind for kind, name in pairs}


@functools.cache
def _by_last_part() -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {kind: {} for kind in {*listed().values()}}
    for name, kind in listed().items():
        found[kind].setdefault(name.rpartition(".")[2], name)
    return found


def full_name(module: str, name: str) -> str:
    """The listed name that a file means; `module.name` where none is listed."""
    if module:
        return f"{module}.{name}"
    return next((_by_last_part()[kind][name] for kind in WITHOUT_MODULE if name in _by_last_part()[kind]), name)


def kind_of(module: str, name: str) -> str | None:
    """The kind of a name in the list, None where it is not there."""
    return listed().get(full_name(module, name))


def is_operation(name: str) -> bool:
    """Whether a name without a module is that of an operation."""
    return name in _by_last_part()["operation"]


def with_modules(value: Any) -> Any:
    """A parsed architecture of an `.h5` file in which operations and layers of keras.applications say where they come from.

    Keras 3 writes them into `.h5` files with all their settings and without their module, and cannot read them again. Operations are told
    from layers of the same name, such as Add, by having no dtype.
    """
    if isinstance(value, list):
        return [with_modules(child) for child in value]
    if not isinstance(value, dict):
        return value
    result = {key: with_modules(child) for key, child in value.items()}
    name, settings, nodes = (result.get(key) for key in ("class_name", "config", "inbound_nodes"))
    if isinstance(name, str) and isinstance(settings, dict) and "module" not in result and _by_keras_3(nodes):
        operation = not {"dtype", "trainable"} & settings.keys()
        found = _by_last_part()["operation" if operation else "application"].get(name)
        if found:
            result |= {"module": found.rpartition(".")[0], "registered_name": name}
    return result


def _by_keras_3(nodes: Any) -> bool:
    return isinstance(nodes, list) and any(isinstance(node, dict) and "args" in node for node in nodes)


def keras_has(module: str, name: str) -> bool:
    """Whether the installed Keras has this name; nothing is imported to find out."""
    whole = full_name(module, name)
    module, _, name = whole.rpartition(".")
    found: Any = public_object(whole)
    return found is not None or (module in sys.modules and name in vars(sys.modules[module]))


def allowed_word(key: str, word: str) -> bool:
    """Whether a setting may have this word for its value; settings that name nothing may have any."""
    if QUANTIZED.fullmatch(word):
        return False
    if key == "dtype":
        return word in DTYPES | POLICIES
    for end, kind in SLOTS.items():
        if key.endswith(end):
            return word in _by_last_part()[kind]
    return True
