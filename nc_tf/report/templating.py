"""The templates of the report: every text in them is escaped and printable, and numbers have one form."""

from pathlib import PurePath
from typing import Any

import jinja2
from markupsafe import Markup

from nc_tf.detection.levels import chance_words
from nc_tf.errors import printable
from nc_tf.report.norms import called
from nc_tf.storage.scan_log import number, percent


def environment() -> jinja2.Environment:
    """Return the templates of `nc_tf/report/templates`, with their filters."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("nc_tf.report"),
        autoescape=True,
        finalize=_shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "number": number,
        "percent": percent,
        "chance": chance_words,
        "called": called,
        "tidy": _tidy,
        "file_name": _file_name,
        "sentence": _sentence,
    }
    return made


def _shown(value: Any) -> Any:
    """Return text as one printable line, unless the template made it."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _tidy(status: str) -> str:
    return status.replace("_", " ")


def _file_name(path: Any) -> str:
    return PurePath(str(path)).name


def _sentence(words: str) -> str:
    """Return words as the beginning of a sentence; NaN and names keep their capitals, other than with Jinja's `capitalize`."""
    return words[:1].upper() + words[1:]
