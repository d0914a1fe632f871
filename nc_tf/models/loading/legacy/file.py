"""Facts of a file of Keras 1 or 2 that its translation needs, and layers as Keras 3 writes them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nc_tf.errors import InputError, quote
from nc_tf.models.loading.containers import RESAVE

Entry = dict[str, Any]


@dataclass(frozen=True)
class File:
    """Where an architecture comes from.

    Attributes:
        path: for the messages.
        version: of the Keras that wrote it, such as "2.10.0"; "1" or "2" where the file does not say.
        trusted: functions and classes of its author may stay.
        model: translates a nested network; `architecture` gives it.
    """

    path: Path
    version: str
    trusted: bool
    model: "Callable[[Entry, File], Entry]"

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers."""
        parts = self.version.split("-")[0].split(".")
        return tuple(int(part) for part in parts if part.isdigit())

    def refuse(self, layer: object, what: str, instead: str) -> InputError:
        """The error for what Keras 3 lacks. `--trust-model` is not mentioned: it does not help."""
        return InputError(
            f"{self.path}: layer {quote(layer)} {what}; the file is of Keras {self.version}; {instead} in the TensorFlow that wrote it, "
            f"or in Keras 3 with the same weights, then {RESAVE}"
        )


def entry(kind: str, config: dict[str, Any], module: str = "keras.layers") -> Entry:
    """A serialized layer as Keras 3 writes it."""
    return {"module": module, "class_name": kind, "config": config, "registered_name": None}


def new_name(name: Any) -> Any:
    """A name that Keras 3 accepts: its weights files are paths made of names."""
    return name.replace("/", "_") if isinstance(name, str) else name
