"""The usual scale of logits: a factor changes no answer, but may leave a search without gradients to follow."""

import math

import numpy as np

# Half of the leads of trained networks lie above this, and half below. Networks within the two bounds are left exactly as they are.
USUAL_LEAD = 16.0
LEAST_LEAD, MOST_LEAD = 0.05, 256.0
MOST_DOUBLINGS = 120  # a factor beyond these is no number of float32


def lead(logits: np.ndarray, classes: np.ndarray | None = None) -> float:
    """Median over images and classes of how far a class lies behind the one that is answered.

    Args:
        logits: (N, K), finite.
        classes: those that count, (k,) integers, more than one; by default those that are answered for some image, if there are several:
            a class that never is may lie anywhere.
    """
    logits = logits.astype(np.float64)  # the difference of two finite float32 need not be one
    answers, every = logits.argmax(-1), np.arange(logits.shape[-1])
    if classes is None:
        classes = answered if len(answered := np.unique(answers)) > 1 else every
    behind = logits.max(-1, keepdims=True) - logits[:, classes]
    return float(np.median(behind[classes != answers[:, None]]))


def logit_scale(logits: np.ndarray) -> float:
    """Return the factor that brings logits (N, K) of clean images to a usual size: 1, or a power of two.

    They are large only if those of classes that are answered lie far apart, and small only if those of all classes lie close together:
    images of which the network recognises none may be answered with two classes that are as good as equal.
    """
    size = lead(logits)
    if size < MOST_LEAD:
        size = lead(logits, np.arange(logits.shape[-1]))
        if size > LEAST_LEAD or size == 0.0:
            return 1.0
    return 2.0 ** min(MOST_DOUBLINGS, max(-MOST_DOUBLINGS, round(math.log2(USUAL_LEAD / size))))
