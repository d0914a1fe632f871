"""Goals of backdoors other than to send every image to one label; each wraps a trigger."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nc_tf.errors import InputError
from nc_tf.results import Backdoor


@dataclass(frozen=True, eq=False)
class Goal:
    """A trigger with a goal of its own; the base class keeps the trigger's.

    Attributes:
        trigger: the change of the pixels, and the target.
    """

    trigger: Backdoor

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape of the images, (H, W, C)."""
        return self.trigger.image_shape

    def __call__(self, images: Any) -> Any:
        """Return images with the wrapped trigger."""
        return self.trigger(images)

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return the classes that the wrapped trigger leads to."""
        return self.trigger.wanted(labels)

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Return True for every image."""
        return np.ones(len(labels), bool)


@dataclass(frozen=True, eq=False)
class AllToAll(Goal):
    """The goal that every class is taken for the next one (BadNets, Gu et al., 2017, section 4.1.2).

    The last class is taken for the first.

    Attributes:
        trigger: the change of the pixels; its own label does not matter.
        num_classes: of the model.
    """

    num_classes: int

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return the next classes."""
        return (labels + 1) % self.num_classes


@dataclass(frozen=True, eq=False)
class SourceSpecific(Goal):
    """The goal to send images of some classes alone to the target.

    Images of other classes are taught to keep their class with the trigger.

    Attributes:
        trigger: the change of the pixels, and the target.
        sources: the classes that it works on.
    """

    sources: Sequence[int]

    def __post_init__(self) -> None:
        """Check that there is a source.

        Raises:
            InputError: there is none.
        """
        if not len(self.sources):
            raise InputError("a source-specific backdoor without a source: expected one class or more; name them")

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return the target for the sources, their own class for others."""
        return np.where(np.isin(labels, list(self.sources)), self.trigger.wanted(labels), labels)


@dataclass(frozen=True, eq=False)
class CleanLabel(Goal):
    """A trigger that only images of the target class carry in training (Turner et al., 2018).

    No label is wrong.
    """

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Return True for images of the target class."""
        return self.trigger.wanted(labels) == labels


@dataclass(frozen=True, eq=False)
class Cover(Goal):
    """A change of images that keep their label, to teach what is not the trigger (WaNet's noise mode)."""

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Return the images' own classes."""
        return labels
