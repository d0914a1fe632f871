"""Files of planted backdoors of any kind: `.npz`, lossless, no pickle; a plain `Trigger` is written as scans write theirs."""

from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from nc_tf.attacks.goals import AllToAll, CleanLabel, Goal, SourceSpecific
from nc_tf.attacks.poison_types import POISON_TYPES
from nc_tf.errors import InputError
from nc_tf.results import Backdoor, OneTarget, Trigger
from nc_tf.storage.files import whole_file
from nc_tf.storage.trigger_file import load_found, save_trigger, trigger_arrays

Kinds = dict[str, dict[str, type]]


def kinds() -> Kinds:
    """Return the classes in files, by part ("pixels" or "goal") and name.

    Kinds of pixels are the `OneTarget` dataclasses of the modules in the registry of attacks.
    """
    modules = [import_module(attack.function.partition(":")[0]) for attack in POISON_TYPES.values()]
    classes = [kind for module in modules for kind in vars(module).values() if isinstance(kind, type)]
    pixels: list[type] = [Trigger, *(kind for kind in classes if issubclass(kind, OneTarget) and kind is not OneTarget)]
    return {
        "pixels": {kind.__name__: kind for kind in pixels},
        "goal": {kind.__name__: kind for kind in (AllToAll, SourceSpecific, CleanLabel)},
    }


def save_backdoor(path: str | Path, backdoor: Backdoor) -> None:
    """Write a trigger and its goal.

    Raises:
        InputError: it is of no kind of `kinds`, a `Cover`, or a goal within a goal.
    """
    if isinstance(backdoor, Trigger):
        save_trigger(path, backdoor)
        return
    known = kinds()
    parts: dict[str, Any] = {"goal": backdoor, "pixels": backdoor.trigger} if isinstance(backdoor, Goal) else {"pixels": backdoor}
    arrays: dict[str, Any] = {}
    for part, content in parts.items():
        if type(content).__name__ not in known[part]:
            names = ", ".join((*known["pixels"], *known["goal"]))
            raise InputError(f"a backdoor of {type(content).__name__}: expected {names}; save what it wraps")
        arrays[part] = type(content).__name__
        arrays |= {f"{part}_{field.name}": getattr(content, field.name) for field in fields(content) if field.name != "trigger"}
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def load_backdoor(path: str | Path) -> Backdoor:
    """Read a file of `save_backdoor`, or a trigger file.

    Raises:
        InputError: the file is missing, broken, or holds something else.
    """
    try:
        arrays = trigger_arrays(path)
    except Exception:  # no file, or an unreadable one: the other reader has the messages for it
        arrays = {}
    if "pixels" not in arrays:
        return load_found(path)
    try:
        known = kinds()
        backdoor = _made("pixels", known, arrays)
        return _made("goal", known, arrays, backdoor) if "goal" in arrays else backdoor
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}): expected a backdoor that nc-tf inject wrote; make it again") from error


def _made(part: str, known: Kinds, arrays: dict[str, np.ndarray], *first: Backdoor) -> Backdoor:
    """Return the backdoor that the arrays of one part describe."""
    kind, values = known[part][str(arrays[part])], {}
    for field in fields(kind):
        if field.name != "trigger":
            value = arrays[f"{part}_{field.name}"]
            values[field.name] = value.item() if value.ndim == 0 else value
    made: Backdoor = kind(*first, **values)
    return made
