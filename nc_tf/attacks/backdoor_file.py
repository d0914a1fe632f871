"""Planted backdoors of any kind as a file: `.npz`, lossless, no pickle. A plain `Trigger` is written as scans write theirs."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from nc_tf.attacks.additive import Additive
from nc_tf.attacks.goals import AllToAll, CleanLabel, Goal, SourceSpecific
from nc_tf.attacks.warp import Warp
from nc_tf.errors import InputError
from nc_tf.results import Backdoor, Trigger
from nc_tf.storage.files import whole_file
from nc_tf.storage.trigger_file import load_trigger, save_trigger, trigger_arrays

KINDS: dict[str, dict[str, type]] = {
    "pixels": {kind.__name__: kind for kind in (Trigger, Additive, Warp)},
    "goal": {kind.__name__: kind for kind in (AllToAll, SourceSpecific, CleanLabel)},
}


def save_backdoor(path: str | Path, backdoor: Backdoor) -> None:
    """Write what is done to the pixels, and with which goal.

    Raises:
        InputError: it is of a kind of its own, a `Cover`, or a goal within a goal.
    """
    if isinstance(backdoor, Trigger):
        save_trigger(path, backdoor)
        return
    parts: dict[str, Any] = {"goal": backdoor, "pixels": backdoor.trigger} if isinstance(backdoor, Goal) else {"pixels": backdoor}
    arrays: dict[str, Any] = {}
    for part, content in parts.items():
        if type(content).__name__ not in KINDS[part]:
            known = ", ".join((*KINDS["pixels"], *KINDS["goal"]))
            raise InputError(f"a backdoor of {type(content).__name__}: expected {known}; save what it wraps")
        arrays[part] = type(content).__name__
        arrays |= {f"{part}_{field.name}": getattr(content, field.name) for field in fields(content) if field.name != "trigger"}
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays)


def load_backdoor(path: str | Path) -> Backdoor:
    """Read what `save_backdoor` wrote, or a trigger file.

    Raises:
        InputError: the file is missing, broken, or holds something else.
    """
    try:
        arrays = trigger_arrays(path)
    except Exception:  # no file, or none that can be read: the other reader has the messages for it
        arrays = {}
    if "pixels" not in arrays:
        return load_trigger(path)[0]
    try:
        backdoor = _made("pixels", arrays)
        return _made("goal", arrays, backdoor) if "goal" in arrays else backdoor
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path} cannot be read ({error!r}): expected a backdoor that nc-tf inject wrote; make it again") from error


def _made(part: str, arrays: dict[str, np.ndarray], *first: Backdoor) -> Backdoor:
    kind, values = KINDS[part][str(arrays[part])], {}
    for field in fields(kind):
        if field.name != "trigger":
            value = arrays[f"{part}_{field.name}"]
            values[field.name] = value.item() if value.ndim == 0 else value
    made: Backdoor = kind(*first, **values)
    return made
