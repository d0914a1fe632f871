"""Images with their true classes, and the account of what their source held besides."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from nc_tf.errors import InputError, printable
from nc_tf.results import Unit

Subset = Literal["test", "train"]
FoundSubset = Literal["test", "train", "only"]
ImageShape = tuple[int | None, ...]

NAMED, LONGEST_NAME = 5, 80  # of what was left out: how many are named, and letters of each


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their true classes.

    Attributes:
        images: (N, H, W, C), for clips (N, T, H, W, C); uint8 or float32, raw pixels in [0, 255].
        labels: (N,) int64, class numbers from 0.
        class_names: the name of each class by its number, or None where the source has numbers only.
        subset: which set this is: "test", "train", or "only" where the source makes no such distinction.
        left_out: what the source held and was not read, a phrase with a count for each reason.
        available: how many images the set held, those that cannot be read included; None where these are all of them.
        label_order: how the labels came from the source's class numbers, one of `label_order.LABEL_ORDERS`.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] | None = None
    subset: FoundSubset = "only"
    left_out: tuple[str, ...] = ()
    available: int | None = None
    label_order: str = "number"

    def sample(self, count: int | None, seed: int) -> "LabelledImages":
        """Return `count` of the images, chosen by the seed; all with None.

        Raises:
            InputError: more are wanted than there are, or fewer than one.
        """
        return self if count is None else self.take(sample_rows(len(self.images), count, seed, Unit.of(self.images.shape[1:])))

    def take(self, rows: np.ndarray) -> "LabelledImages":
        """Return the images at these rows, in their own order."""
        rows = np.sort(rows)
        return replace(self, images=self.images[rows], labels=self.labels[rows], available=self.available or len(self.images))

    def account(self) -> str | None:
        """Return a line on what was left out; None where nothing was."""
        if not self.left_out:
            return None
        count, many = len(self.images), Unit.of(self.images.shape[1:]).many
        of = f" of {self.available:,}" if self.available not in (None, count) else ""
        return f"read {count:,}{of} {many} of {len(np.unique(self.labels)):,} classes; left out: {', '.join(self.left_out)}"


class Loaded(NamedTuple):
    """Images of one set, unchecked.

    Attributes:
        images: (N, ...).
        labels: (N, ...).
        rows: (N,) their places in the set, ascending; fewer than were asked for where some cannot be read.
        left_out: see `LabelledImages`.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    left_out: tuple[str, ...] = ()


class Found(NamedTuple):
    """One set of a source, not yet read.

    Attributes:
        labels: of the whole set, (N, ...), unchecked.
        load: reads those at these rows, (n,) ascending; all with None.
        class_names: see `LabelledImages`.
        subset: which set it is.
    """

    labels: np.ndarray
    load: Callable[[np.ndarray | None], Loaded]
    class_names: tuple[str, ...] | None
    subset: FoundSubset

    @property
    def number(self) -> int:
        """Return the number of images; 0 where the labels are no list."""
        return len(self.labels) if np.ndim(self.labels) else 0


def sample_rows(number: int, count: int, seed: int, unit: Unit) -> np.ndarray:
    """Draw `count` of `number` rows by the seed; ascending.

    Raises:
        InputError: more are wanted than there are, or fewer than one.
    """
    if not 1 <= count <= number:
        raise InputError(f"{count} {unit.many} wanted: expected 1 to {number}, what the data holds; choose fewer, or leave it out")
    return np.sort(np.random.default_rng(seed).permutation(number)[:count])


class LeftOut:
    """The account of what is found and not read, by reason."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], tuple[int, list[str]]] = {}

    def add(self, one: str, many: str, *names: str, count: int = 1) -> None:
        """Count `count` more for a reason, which is said as `one` or `many`.

        The same name is mentioned once.
        """
        before, known = self._found.setdefault((one, many), (0, []))
        known += [name for name in dict.fromkeys(names) if name not in known][: NAMED + 1 - len(known)]
        self._found[one, many] = before + count, known

    def phrases(self) -> tuple[str, ...]:
        """Return one phrase for each reason: `3 links (a, b, c)`."""
        return tuple(f"{count:,} {one if count == 1 else many}{_listed(names)}" for (one, many), (count, names) in self._found.items())


def _listed(names: list[str]) -> str:
    shown = [printable(name) for name in names[:NAMED]]
    shown = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in shown]
    return f" ({', '.join(shown)}{', ...' if len(names) > NAMED else ''})" if names else ""
