"""A trigger as an `.npz` file, lossless: mask, pattern and label, or a target for each class; a warp has places in their stead."""

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from nc_tf.backdoor import AllToAllTrigger, FoundTrigger, Trigger, Warp
from nc_tf.errors import InputError
from nc_tf.storage.bounds import NUMBERS, TEXT
from nc_tf.storage.files import whole_file
from nc_tf.storage.npz_file import npz_arrays

EXPECTED = "expected an .npz with mask, pattern and label; make it again"


def save_trigger(path: str | Path, trigger: FoundTrigger, **more: ArrayLike) -> None:
    """Write a trigger.

    Args:
        path: the file.
        trigger: its mask is (H, W) float32 and its pattern (H, W, C) float32; both have T first where each frame has its own. The places
            of a warp are (H, W, 2) float32.
        **more: arrays to write beside them.
    """
    arrays: dict[str, ArrayLike]
    if isinstance(trigger, Warp):
        arrays = {"places": trigger.places, "channels": trigger.channels, "label": trigger.label}
    else:
        leads = {"targets": trigger.targets} if isinstance(trigger, AllToAllTrigger) else {"label": trigger.label}
        arrays = {"mask": trigger.mask, "pattern": trigger.pattern, **leads}
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, allow_pickle=False, **arrays, **more)


def trigger_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return every array in a trigger file, numbers and text.

    Raises:
        InputError: the path is a pipe or a device, or the file holds objects, or unpacks to far more than it stores.
        Exception: the file is broken; NumPy and zipfile raise half a dozen kinds.
    """
    with npz_arrays(Path(path), kinds=NUMBERS + TEXT) as (names, load):
        return {name: load(name) for name in names}


def load_trigger(path: str | Path) -> tuple[Trigger, dict[str, np.ndarray]]:
    """Return a trigger, and the other arrays in its file.

    Raises:
        InputError: the file is missing, broken, or holds something else.
    """
    return _trigger(path, _arrays(path))


def load_all_to_all(path: str | Path) -> tuple[AllToAllTrigger, dict[str, np.ndarray]]:
    """Return a trigger with a target for each class, and the other arrays in its file.

    Raises:
        InputError: the file is missing, broken, or holds something else.
    """
    return _all_to_all(path, _arrays(path))


def load_change(path: str | Path) -> tuple[Trigger | Warp, dict[str, np.ndarray]]:
    """Return the trigger of one label, painted or a warp, and the other arrays in its file.

    Raises:
        InputError: the file is missing, broken, or holds something else.
    """
    return _change(path, _arrays(path))


def load_found(path: str | Path) -> FoundTrigger:
    """Return a trigger of any kind.

    Raises:
        InputError: the file is missing, broken, or holds something else.
    """
    arrays = _arrays(path)
    return _all_to_all(path, arrays)[0] if "targets" in arrays else _change(path, arrays)[0]


def _arrays(path: str | Path) -> dict[str, np.ndarray]:
    """Return every array in a trigger file.

    Raises:
        InputError: the file is missing or broken.
    """
    try:
        return trigger_arrays(path)
    except FileNotFoundError:
        raise InputError(f"{path} is missing: expected a trigger file; check the path") from None
    except Exception as error:  # NumPy and zipfile raise half a dozen kinds for a broken file
        raise InputError(f"{path} cannot be read ({error}): {EXPECTED}") from error


def _trigger(path: str | Path, more: dict[str, np.ndarray]) -> tuple[Trigger, dict[str, np.ndarray]]:
    mask, pattern = _painted(path, more)
    try:
        label = int(more.pop("label"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): {EXPECTED}") from error
    return Trigger(label, mask, pattern), more


def _all_to_all(path: str | Path, more: dict[str, np.ndarray]) -> tuple[AllToAllTrigger, dict[str, np.ndarray]]:
    mask, pattern = _painted(path, more)
    targets = more.pop("targets", np.zeros(0))
    if targets.dtype.kind not in "iu" or targets.ndim != 1 or not targets.size or not (0 <= targets.min() <= targets.max() < len(targets)):
        raise InputError(f"{path} holds targets {targets.shape}: expected one label for each class; make it again")
    return AllToAllTrigger(mask, pattern, tuple(targets.tolist())), more


def _change(path: str | Path, more: dict[str, np.ndarray]) -> tuple[Trigger | Warp, dict[str, np.ndarray]]:
    if "places" not in more:
        return _trigger(path, more)
    try:
        places, channels, label = (more.pop(name) for name in ("places", "channels", "label"))
        if places.ndim != 3 or not np.isfinite(places).all():
            raise ValueError(f"places {places.shape}, where finite (H, W, 2) are expected")
        return Warp(int(label), places.astype(np.float32), int(channels)), more
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): expected an .npz with places, channels and label; make it again") from error


def _painted(path: str | Path, more: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Take mask and pattern out of the arrays in a file, and check them."""
    try:
        mask, pattern = more.pop("mask").astype(np.float32), more.pop("pattern").astype(np.float32)
    except (KeyError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}): {EXPECTED}") from error
    whole = mask.size > 0 and mask.ndim in (2, 3) and pattern.ndim == mask.ndim + 1 and pattern.shape[:-1] == mask.shape
    if not whole or not (np.isfinite(mask).all() and np.isfinite(pattern).all()):
        raise InputError(
            f"{path} holds a mask {mask.shape} and a pattern {pattern.shape}: expected finite (H, W) and (H, W, C), or both with T first; "
            "make it again"
        )
    if mask.min() < 0 or mask.max() > 1 or pattern.min() < 0 or pattern.max() > 255:
        raise InputError(
            f"{path} holds a mask from {mask.min():g} to {mask.max():g} and a pattern from {pattern.min():g} to {pattern.max():g}: "
            "expected [0, 1] and raw pixels in [0, 255]; rescale them"
        )
    return mask, pattern
