"""Clipping (AUTHORS, YEAR): cut off the outlying weights of a network, while clean accuracy lasts."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from nc_tf.evaluation import accuracy
from nc_tf.mitigation.repair import Repair
from nc_tf.preprocessing import Preprocessing
from nc_tf.results import Backdoor, Mitigation, Trigger

# Standard deviations from the mean of a kernel, tried from the mildest to the strongest.
LIMITS = (4.0, 3.0, 2.5, 2.0, 1.5)


def clip_weights(
    model: keras.Model,
    images: np.ndarray,
    labels: np.ndarray,
    triggers: Sequence[Trigger] = (),
    *,
    test: tuple[np.ndarray, np.ndarray],
    known_triggers: Mapping[str, Backdoor] | None = None,
    fraction: float = 0.1,
    accuracy_bound: float = 0.02,
    intensity_range: str | Preprocessing = "auto",
    seed: int = 0,
) -> Mitigation:
    """Return a copy of the model whose kernels are clipped.

    Args:
        model: what `nc_tf.adapt` takes. It is not changed.
        images: (N, H, W, C) clean raw images in [0, 255].
        labels: (N,) true classes.
        triggers: what a scan found; they are measured, the method does not need them.
        test: clean images and labels to measure on, before and after.
        known_triggers: further triggers to measure, by name.
        fraction: share of the images used, (0, 1].
        accuracy_bound: accuracy on them that the clipping may cost, [0, 1].
        intensity_range: what the model expects of raw pixels; "auto" finds out, by the test images.
        seed: of every choice.

    Returns:
        The repaired model with both measurements; `details` has the accuracy at each limit.

    Raises:
        InputError: bad images, labels or shares, or a model that cannot be copied.
    """
    repair = Repair.of(model, triggers, test=test, known_triggers=known_triggers, intensity_range=intensity_range, seed=seed)
    images, labels = repair.sample(images, labels, fraction)
    repaired, kept, tried = repair.copy(), repair.copy().get_weights(), []
    least = accuracy(repaired, images, labels, repair.preprocess) - accuracy_bound
    for limit in LIMITS:
        repaired.set_weights([_clipped(weights, limit) for weights in kept])
        reached = accuracy(repaired, images, labels, repair.preprocess)
        tried.append({"limit": limit, "accuracy": reached})
        if reached < least:
            break
        kept = repaired.get_weights()
    repaired.set_weights(kept)
    return repair.done(repaired, "clipping", details={"tried": tried}, images=len(images), accuracy_bound=accuracy_bound)


def _clipped(weights: np.ndarray, limit: float) -> np.ndarray:
    """A kernel without its outliers; biases and averages stay as they are."""
    if weights.ndim < 2:
        return weights
    mean, spread = weights.mean(), limit * weights.std()
    return np.clip(weights, mean - spread, mean + spread)
