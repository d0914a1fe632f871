"""Hardened twins: copies of a suspect network that were trained to ignore triggers and are else the same."""

from collections.abc import Sequence

import keras
import numpy as np

from nc_tf.errors import InputError
from nc_tf.models.adapting import adapted_like, original_form, to_train
from nc_tf.models.footprint import weight_bytes
from nc_tf.models.random_state import random_state_kept
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Unit
from nc_tf.training.checks import check_backdoor
from nc_tf.training.copies import copied
from nc_tf.training.cross_entropy import CrossEntropyOfProbabilities, output_form
from nc_tf.training.stamping import stamped_batches
from nc_tf.training.updates import images_an_update

UPDATES, BATCH_SIZE, LEARNING_RATE = 100, 64, 1e-3
# Half of the images of an update carry a trigger, so that every label's is seen often enough.
STAMPED = 0.5


@random_state_kept()
def harden(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[Backdoor],
    preprocess: Preprocessing,
    *,
    updates: int = UPDATES,
    seed: int = 0,
) -> keras.Model:
    """Return a copy of a network that ignores the triggers.

    The copy is trained on the images with their true classes, half of them stamped. Adam's rate falls to zero along a cosine.

    Args:
        model: a classifier of images as `nc_tf.adapt` makes it, softmax, sigmoid or logits. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255], uint8 or float32.
        labels: (N,) their classes.
        triggers: one or more; a stamped image gets one of them, chosen at random.
        preprocess: from raw pixels to the network's input.
        updates: number of updates.
        seed: of order, choice and dropout.

    Raises:
        InputError: clips, no trigger, one that does not fit, a model that cannot be copied, or an update that exceeds the memory.
    """
    image_shape = images.shape[1:]
    if Unit.of(image_shape) is Unit.CLIP:
        raise InputError(f"clips of shape {image_shape}: expected images (H, W, C), because a network for clips is not hardened")
    if not triggers:
        raise InputError("no trigger to harden against: expected one or more; give those that a scan found")
    for trigger in triggers:
        check_backdoor(trigger, image_shape, model.output_shape[-1])
    probabilities, keeps_logits = output_form(model, images, preprocess)
    keras.utils.set_random_seed(seed)  # before the copy: a Dropout draws its own seed when it is made
    twin = adapted_like(copied(original_form(model)), model)
    batch_size = images_an_update(
        twin, image_shape, min(BATCH_SIZE, len(images)), slots=2, other_weights=weight_bytes(model), kept=images.nbytes
    )
    batches = stamped_batches(
        images, labels, triggers, rate=STAMPED, relabel=False, batch_size=batch_size, seed=seed, preprocess=preprocess
    )
    learner = to_train(twin)
    loss: keras.losses.Loss = keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities)
    if learner is not twin:
        loss = keras.losses.BinaryCrossentropy()
    elif probabilities and not keeps_logits:
        loss = CrossEntropyOfProbabilities()
    learner.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(LEARNING_RATE, updates)), loss)
    learner.fit(batches.repeat(), steps_per_epoch=updates, verbose=0, shuffle=False)
    return twin
