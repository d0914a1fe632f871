"""The registry of defences: each line NAME is the command `nc-tf NAME`.

The command has the options that all defences share. Each further keyword of the function gives one more, if its type is float, int, str or
Sequence[str] and its default a literal. A defence's module is imported when the defence is used, so that a list of the names loads nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nc_tf.results import Mitigation


@dataclass(frozen=True)
class Defence:
    """A line of the registry.

    Attributes:
        function: "module:name" of a function with the parameters of `nc_tf.mitigation.pruning.prune`, apart from its own keywords. It
            needs triggers unless `triggers` has a default.
        summary: first line of the command's help.
        options: names of options by keyword, where they differ.
        words: "module:name" of a function that returns lines about a `Mitigation`, which the command prints below the table.
    """

    function: str
    summary: str
    options: Mapping[str, str] = field(default_factory=dict)
    words: str | None = None

    def __call__(self, *images: Any, **settings: Any) -> "Mitigation":
        """Repair a model; see the function."""
        mitigation: Mitigation = resolve_name(self.function)(*images, **settings)
        return mitigation

    def in_words(self, mitigation: "Mitigation") -> list[str]:
        """Return the lines that the command prints below the table."""
        words: Callable[[Mitigation], list[str]] | None = resolve_name(self.words) if self.words else None
        return words(mitigation) if words else []


DEFENCES = {
    "unlearn": Defence(
        "nc_tf.mitigation.unlearning:unlearn",
        "Fine-tune the flagged triggers out of a model, and measure the saved file.",
        options={"frozen_layers": "freeze"},
    ),
    "prune": Defence(
        "nc_tf.mitigation.pruning:prune",
        "Switch off the neurons that the flagged triggers excite most, and measure the saved file.",
        words="nc_tf.mitigation.pruning:in_words",
    ),
    "filter": Defence(
        "nc_tf.mitigation.filtering:input_filter",
        "Give a model one more class, for images that look triggered, and measure the saved file.",
        words="nc_tf.mitigation.filtering:in_words",
    ),
    "nft": Defence(
        "nc_tf.mitigation.nft:nft",
        "Purify a model with a handful of clean images, without the trigger, and measure the saved file (NFT).",
    ),
}
