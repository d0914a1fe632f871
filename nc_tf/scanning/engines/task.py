"""Search problem: all that the outcome of a search depends on.

Every engine therefore comes to the same result.
"""

from dataclasses import dataclass
from functools import cached_property

import keras
import numpy as np

from nc_tf.inversion.batches import ResidentImages
from nc_tf.inversion.step import Inversion, SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace
from nc_tf.models.frozen import MOST_LOOKED_AT, FrozenNetwork, evenly_spaced
from nc_tf.preprocessing import Preprocessing


@dataclass(frozen=True, eq=False)
class Task:
    """A model, its images, and the settings of the search for its triggers.

    Attributes:
        model: the classifier.
        preprocess: from raw pixels to the input that the model expects.
        precision: "float32", "bfloat16" or "auto".
        images: (N, H, W, C) raw images, or clips (N, T, H, W, C), in [0, 255].
        settings: settings of the search.
        upsample_size: side of the mask's super-pixels, pixels.
        seed: seed of restarts and minibatches.
        per_frame: whether every frame of a clip has a trigger of its own.
        labels: (N,) classes of the images; needed where the settings exclude images of a restart's own label.
        rows: indices of the images to search on; None searches on all.
    """

    model: keras.Model
    preprocess: Preprocessing
    precision: str
    images: np.ndarray
    settings: SearchSettings
    upsample_size: int
    seed: int
    per_frame: bool = False
    labels: np.ndarray | None = None
    rows: np.ndarray | None = None

    @cached_property
    def network(self) -> FrozenNetwork:
        """Return the model as a search differentiates it."""
        rows = np.arange(len(self.images)) if self.rows is None else self.rows
        return FrozenNetwork(self.model, self.preprocess, self.precision, self.images[evenly_spaced(rows, MOST_LOOKED_AT)])

    @cached_property
    def space(self) -> TriggerSpace:
        """Return the space of its triggers."""
        return TriggerSpace(self.images.shape[1:], self.upsample_size, per_frame=self.per_frame)

    @cached_property
    def inversion(self) -> Inversion:
        """Return the compiled search."""
        return Inversion(self.network, self.space, self.settings)

    @cached_property
    def minibatches(self) -> ResidentImages:
        """Return the minibatches of every round."""
        labels = self.labels if self.settings.exclude_target else None
        return ResidentImages(self.images, self.settings, self.seed, labels, self.rows)
