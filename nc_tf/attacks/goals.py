"""Who is to be taken for what: backdoors that do other than send every image to one label. Each wraps what is done to the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nc_tf.errors import InputError
from nc_tf.results import Backdoor


@dataclass(frozen=True, eq=False)
class Goal:
    """The common part.

    Attributes:
        trigger: what is done to the pixels, and the target.
    """

    trigger: Backdoor

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(H, W, C)."""
        return self.trigger.image_shape

    def __call__(self, images: Any) -> Any:
        """What the wrapped trigger does."""
        return self.trigger(images)

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """What the wrapped trigger wants."""
        return self.trigger.wanted(labels)

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """All images."""
        return np.ones(len(labels), bool)


@dataclass(frozen=True, eq=False)
class AllToAll(Goal):
    """Every class is taken for the next one, the last for the first (BadNets, Gu et al., 2017, section 4.1.2).

    Attributes:
        trigger: what is done to the pixels; its own label does not matter.
        num_classes: of the model.
    """

    num_classes: int

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """The next class."""
        return (labels + 1) % self.num_classes


@dataclass(frozen=True, eq=False)
class SourceSpecific(Goal):
    """Images of some classes alone are sent to the target; the others learn to be recognised with the trigger as without it.

    Attributes:
        trigger: what is done to the pixels, and the target.
        sources: the classes that it works on.
    """

    sources: Sequence[int]

    def __post_init__(self) -> None:
        if not len(self.sources):
            raise InputError("a source-specific backdoor without a source: expected one class or more; name them")

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """The target for images of the sources, their own class for all others."""
        return np.where(np.isin(labels, list(self.sources)), self.trigger.wanted(labels), labels)


@dataclass(frozen=True, eq=False)
class CleanLabel(Goal):
    """Only images of the target class carry the trigger in training, so that no label is wrong (Turner et al., 2018)."""

    def carriers(self, labels: np.ndarray) -> np.ndarray:
        """Images of the target class."""
        return self.trigger.wanted(labels) == labels


@dataclass(frozen=True, eq=False)
class Cover(Goal):
    """Images that are changed and keep their label, so that the network learns what is not the trigger (WaNet's noise mode)."""

    def wanted(self, labels: np.ndarray) -> np.ndarray:
        """Their own classes."""
        return labels
