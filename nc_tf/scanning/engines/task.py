"""Search problem: all that the outcome of a search depends on.

Every engine therefore comes to the same result.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from nc_tf.inversion.batches import OnDevice, ResidentImages, SourceImages
from nc_tf.inversion.restart import Restart
from nc_tf.inversion.step import Inversion, SearchSettings, SourceInversion, UntargetedInversion
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
        labels: (N,) classes of the images; needed where the settings exclude images of a restart's own label, and for an untargeted search.
        rows: indices of the images to search on; None searches on all.
        search: kind of the search, which decides what a trigger shall do.
        kind: kind of the space of its triggers.
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
    search: type[Inversion] = Inversion
    kind: type[TriggerSpace] = TriggerSpace

    def changed(self, **fields: Any) -> "Task":
        """Return the same problem with other settings, rows, kinds of search or model; nothing that stays is made again."""
        other = replace(self, **fields)
        if "model" not in fields:
            vars(other)["network"] = self.network
        vars(other)["on_device"] = self.on_device
        return other

    @cached_property
    def on_device(self) -> OnDevice:
        """Return the images as all searches of this problem share them."""
        return OnDevice(self.images)

    @cached_property
    def network(self) -> FrozenNetwork:
        """Return the model as a search differentiates it."""
        rows = np.arange(len(self.images)) if self.rows is None else self.rows
        return FrozenNetwork(self.model, self.preprocess, self.precision, self.images[evenly_spaced(rows, MOST_LOOKED_AT)])

    @cached_property
    def space(self) -> TriggerSpace:
        """Return the space of its triggers."""
        return self.kind(self.images.shape[1:], self.upsample_size, per_frame=self.per_frame)

    @cached_property
    def inversion(self) -> Inversion:
        """Return the compiled search."""
        return self.search(self.network, self.space, self.settings)

    @property
    def own_classes(self) -> Callable[[Sequence[Restart], Sequence[int]], tf.Tensor] | None:
        """Return the source of the images' own classes, for an untargeted search; None for others."""
        return self.minibatches.own_classes if issubclass(self.search, UntargetedInversion) else None

    @cached_property
    def minibatches(self) -> ResidentImages:
        """Return the minibatches of every round."""
        kind = SourceImages if issubclass(self.search, SourceInversion) else ResidentImages
        return kind(self.images, self.settings, self.seed, self.labels, self.rows, self.on_device)
