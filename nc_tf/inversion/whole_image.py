"""Space of triggers that cover the whole image: one opacity for all pixels, and a free pattern (blended injection, Chen et al., 2017).

The norm of a mask is its opacity times the number of pixels, so that a search for the smallest one looks for the faintest picture that
sends images to the label. A search with a mask value a pixel misses such a trigger, because its norm is larger than that of a natural one.
"""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from nc_tf.backdoor import Trigger
from nc_tf.inversion.cost_schedule import CostSchedule
from nc_tf.inversion.loop import trigger_of
from nc_tf.inversion.step import Loss, SearchSettings
from nc_tf.inversion.trigger_space import TriggerSpace, from_tanh

# Mask of a start before the tanh; after it the opacity is .12, which suffices on most networks. From .01 no gradient reaches the pattern.
START = -1.0
# Settings of the search: its cost weighs an opacity of .1 by .1 of the cross-entropy on 32x32 pixels. With a threshold of .9 and 20 rounds
# pictures of two planted blends of .2 had p-values of .067 and .0019, and with 30 rounds moved 76 and 79 % of held-out images. With these
# they have .008 and .0016, and move 98 and 95 %. The smallest p-values of five clean networks are .08 to .54, before .20 to .90.
# Images of the label itself would succeed under any faint picture.
WHOLE_IMAGE = SearchSettings(
    loss=Loss.CROSS_ENTROPY,
    batch_size=8,
    batches_per_round=16,
    max_rounds=30,
    exclude_target=True,
    cost=CostSchedule(init_cost=1e-3, multiplier=2.0, patience=1, threshold=0.95, reset_cost_to_zero=False, early_stop=False),
)


@dataclass(frozen=True)
class WholeImageSpace(TriggerSpace):
    """The space of triggers with a mask that is constant over the image."""

    @property
    def mask_shape(self) -> tuple[int, ...]:
        """Shape of the mask that is searched, (1, 1)."""
        return *self.pattern_shape[:-3], 1, 1

    def grey(self, rng: np.random.Generator, number: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return a start: a mask (1, 1) and a pattern (H, W, C) near mid-grey.

        Args:
            rng: generator of the pattern's noise, so that restarts differ.
            number: number of the start; all begin at the same opacity.
        """
        del number
        return np.full(self.mask_shape, np.tanh(START) / 2.0 + 0.5), 127.5 + rng.normal(0.0, 5.0, self.pattern_shape)

    def encode(self, mask: np.ndarray, pattern: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return unbounded z_mask (1, 1, 1) and z_pattern (H, W, C), float32.

        Args:
            mask: (1, 1) in [0, 1], or a whole mask (H, W), of which the mean counts.
            pattern: (H, W, C) in [0, 255].
        """
        return super().encode(np.mean(mask, axis=(-2, -1), keepdims=True), pattern)

    def masks(self, z_mask: tf.Tensor) -> tf.Tensor:
        """Return masks (A, H, W, 1) in [0, 1].

        Args:
            z_mask: (A, 1, 1, 1), unbounded.
        """
        height, width, _ = self.image_shape[-3:]
        return tf.repeat(tf.repeat(from_tanh(z_mask, self.epsilon), height, axis=-3), width, axis=-2)


def picture_of(label: int, space: TriggerSpace, z: tuple[tf.Tensor, tf.Tensor]) -> tuple[Trigger, float]:
    """Return the picture of a state, and its opacity in [0, 1].

    Args:
        label: the target class.
        space: a `WholeImageSpace`.
        z: mask (1, 1, 1, 1) and pattern (1, H, W, C), unbounded.
    """
    trigger = trigger_of(label, space, z)
    return trigger, float(trigger.mask.mean())
