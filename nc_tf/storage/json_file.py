"""JSON within bounds: no NaN, no endless number, no endless nesting.

Python's own reader and writer let NaN and infinity through, which are no JSON. In the files of this package null stands for a number that
does not exist.
"""

import json
import math
from collections.abc import Callable
from typing import Any

# Arithmetic with larger numbers overflows to infinity.
LARGEST = 1e300
# The settings of a scan are three levels deep. Deeper content would exhaust the stack of the functions that walk through it.
DEEPEST = 32


def finite(value: Any) -> Any:
    """Return a value with None for NaN and infinity, at any depth."""
    if isinstance(value, dict):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def json_text(content: Any) -> str:
    """Return the text of a JSON file, with null for NaN and infinity."""
    return json.dumps(finite(content), indent=1, allow_nan=False) + "\n"


def parse_json(text: str) -> Any:
    """Return the content of a JSON text, with None for NaN and infinity.

    Raises:
        ValueError: the text is no JSON, holds a number beyond `LARGEST`, or is nested more than `DEEPEST` deep.
    """
    try:
        content = json.loads(text, parse_constant=lambda _: None, parse_float=_limited(float), parse_int=_limited(int))
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} deep") from None
    _check_depth(content, DEEPEST)
    return content


def _limited(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        number = kind(text)
        if abs(number) > LARGEST:
            raise ValueError(f"a number {text[:20]} beyond {LARGEST:g}")
        return number

    return parse


def _check_depth(value: Any, left: int) -> None:
    if isinstance(value, dict | list):
        if left == 0:
            raise ValueError(f"nested more than {DEEPEST} deep")
        for part in value.values() if isinstance(value, dict) else value:
            _check_depth(part, left - 1)
