"""Images with their true classes, and the account of files that were left out."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from nc_tf.errors import InputError, printable
from nc_tf.results import Unit

Subset = Literal["test", "train"]
FoundSubset = Literal["test", "train", "only"]
ImageShape = tuple[int | None, ...]

NAMED, LONGEST_NAME = 5, 80  # files left out that are named for a reason, and letters of each name


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images with their true classes.

    Attributes:
        images: (N, H, W, C), for clips (N, T, H, W, C); uint8 or float32, raw pixels in [0, 255].
        labels: (N,) int64, class numbers from 0.
        class_names: the name of each class by its number, or None where the source has numbers only.
        subset: the set of the source: "test", "train", or "only" where the source makes no such distinction.
        left_out: one phrase with a count for each reason to leave out files of the source.
        available: number of images of the set, with those that cannot be read; None if all of them are here.
        label_order: the relation of the labels to the source's class numbers, one of `label_order.LABEL_ORDERS`.
    """

    images: np.ndarray
    labels: np.ndarray
    class_names: tuple[str, ...] | None = None
    subset: FoundSubset = "only"
    left_out: tuple[str, ...] = ()
    available: int | None = None
    label_order: str = "number"

    def sample(self, count: int | None, seed: int) -> "LabelledImages":
        """Return a random sample of `count` images; all for None.

        Raises:
            InputError: `count` exceeds the number of images, or is below 1.
        """
        return self if count is None else self.take(sample_rows(len(self.images), count, seed, Unit.of(self.images.shape[1:])))

    def take(self, rows: np.ndarray) -> "LabelledImages":
        """Return the images at these rows, in ascending order."""
        rows = np.sort(rows)
        return replace(self, images=self.images[rows], labels=self.labels[rows], available=self.available or len(self.images))

    def names_for(self, num_classes: int) -> tuple[str, ...] | None:
        """Return the names of a model's classes, if all are known."""
        return self.class_names if self.class_names and len(self.class_names) == num_classes else None

    def account(self) -> str | None:
        """Return one line on the files left out, or None."""
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
        rows: (N,) their places in the set, ascending; those of unreadable images are missing.
        left_out: see `LabelledImages`.
    """

    images: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    left_out: tuple[str, ...] = ()


class Found(NamedTuple):
    """One set of a source, not yet read.

    Attributes:
        labels: labels of the whole set, (N, ...), unchecked.
        load: function that reads the images at rows (n,), ascending; all images for None.
        class_names: see `LabelledImages`.
        subset: see `LabelledImages`.
    """

    labels: np.ndarray
    load: Callable[[np.ndarray | None], Loaded]
    class_names: tuple[str, ...] | None
    subset: FoundSubset

    @property
    def number(self) -> int:
        """The number of images; 0 if the labels have no axis."""
        return len(self.labels) if np.ndim(self.labels) else 0


def sample_rows(number: int, count: int, seed: int, unit: Unit) -> np.ndarray:
    """Return a random sample of `count` of `number` rows, ascending.

    Raises:
        InputError: `count` exceeds `number`, or is below 1.
    """
    if not 1 <= count <= number:
        raise InputError(f"{count} {unit.many} wanted: expected 1 to {number}, what the data holds; choose fewer, or leave it out")
    return np.sort(np.random.default_rng(seed).permutation(number)[:count])


class LeftOut:
    """The account of files that are found and not read, by reason."""

    def __init__(self) -> None:
        self._by_reason: dict[tuple[str, str], tuple[int, list[str]]] = {}

    def add(self, one: str, many: str, *names: str, count: int = 1) -> None:
        """Add files to a reason.

        Args:
            one: the reason in words, for a single file.
            many: the reason in words, for several files.
            *names: names to mention, each once.
            count: number of files.
        """
        before, listed = self._by_reason.setdefault((one, many), (0, []))
        listed += [name for name in dict.fromkeys(names) if name not in listed][: NAMED + 1 - len(listed)]
        self._by_reason[one, many] = before + count, listed

    def phrases(self) -> tuple[str, ...]:
        """Return one phrase for each reason: `3 links (a, b, c)`."""
        return tuple(f"{count:,} {one if count == 1 else many}{_listed(names)}" for (one, many), (count, names) in self._by_reason.items())


def _listed(names: list[str]) -> str:
    shown = [printable(name) for name in names[:NAMED]]
    shown = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in shown]
    return f" ({', '.join(shown)}{', ...' if len(names) > NAMED else ''})" if names else ""
