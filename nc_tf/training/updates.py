"""The number of images in an update of a training, within the memory."""

from collections.abc import Sequence

import keras

from nc_tf.errors import InputError
from nc_tf.models.footprint import training_footprint, weight_bytes
from nc_tf.results import Unit
from nc_tf.runtime.memory import BASE, allowed, most_at_once, words


def images_an_update(
    network: keras.Model, image_shape: Sequence[int], batch_size: int, *, slots: int, other_weights: int, kept: int
) -> int:
    """Return the number of images in an update, at most `batch_size`.

    Args:
        network: the model to train.
        image_shape: (H, W, C), of clips (T, H, W, C).
        batch_size: wanted.
        slots: numbers that the optimiser keeps for each trained one.
        other_weights: bytes of the weights of other models in memory.
        kept: bytes of the images in memory.

    Raises:
        InputError: a single one does not fit.
    """
    found = training_footprint(network, image_shape, slots)
    around = BASE + weight_bytes(network) + other_weights + kept
    most = most_at_once(found, allowed() - around)
    if most < 1:
        unit = Unit.of(image_shape)
        raise InputError(
            f"an update with {unit.one} takes {words(around + found.of(1))} of memory, {words(kept)} of it for the {unit.many}: "
            f"expected {words(allowed())} at most; give more with --memory, or fewer {unit.many}"
        )
    return min(batch_size, most)
