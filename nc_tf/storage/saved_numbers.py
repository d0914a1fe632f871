"""Numbers read from saved arrays, each checked: the files may be broken, or a stranger's."""

import math

import numpy as np

from nc_tf.results import HISTORY_COLUMNS

# Three hundred years: no scan has taken longer.
MOST_SECONDS = 1e10
LARGEST_NUMBER = 2**31 - 1


def whole_number(value: np.ndarray) -> int:
    """Return a single whole number from 0, or a truth value.

    Raises:
        ValueError: the array holds something else.
    """
    if value.shape != () or value.dtype.kind not in "bui" or not 0 <= int(value) <= LARGEST_NUMBER:
        raise ValueError(f"{_shown(value)} is no whole number from 0")
    return int(value)


def real_number(value: np.ndarray, *, most: float, nan: bool = False) -> float:
    """Return a single number from 0 to `most`.

    Args:
        value: the array.
        most: the largest number.
        nan: also accept NaN.

    Returns:
        The number.

    Raises:
        ValueError: the array holds something else.
    """
    if value.shape != () or value.dtype.kind not in "uif":
        raise ValueError(f"{_shown(value)} is no number")
    number = float(value)
    if not (0.0 <= number <= most or (nan and math.isnan(number))):
        raise ValueError(f"{number:g} does not lie between 0 and {most:g}")
    return number


def history_of(value: np.ndarray) -> np.ndarray:
    """Return the history of a search, (rounds, 7) float64, columns `HISTORY_COLUMNS`.

    Raises:
        ValueError: the array holds something else.
    """
    if value.ndim != 2 or value.shape[1] != len(HISTORY_COLUMNS) or value.dtype.kind not in "uif":
        raise ValueError(f"a history {value.shape}: expected (rounds, {len(HISTORY_COLUMNS)}) numbers")
    return value.astype(np.float64, copy=False)


def _shown(value: np.ndarray) -> str:
    return f"an array {value.shape}" if value.shape else ascii(value.item())[:40]
