"""The usual scale of logits: whoever multiplies them changes no answer, but may leave a search without gradients to follow."""

import math

import numpy as np

# Half of the leads of trained networks lie above this, and half below. Networks within the two bounds are left exactly as they are.
USUAL_LEAD = 16.0
LEAST_LEAD, MOST_LEAD = 0.05, 256.0


def lead(logits: np.ndarray) -> float:
    """Median over images and classes of how far a class lies behind the one that is answered.

    Only classes that are answered for some image count: one that never is, or a copy of another, may lie anywhere.

    Args:
        logits: (N, K), finite.
    """
    answers = logits.argmax(-1)
    answered = np.unique(answers)
    classes = answered if len(answered) > 1 else np.arange(logits.shape[-1])
    behind = logits.max(-1, keepdims=True) - logits[:, classes]
    return float(np.median(behind[classes != answers[:, None]]))


def logit_scale(logits: np.ndarray) -> float:
    """What logits (N, K) of clean images are multiplied by to be of a usual size: 1 for most networks, else a power of two."""
    size = lead(logits)
    if LEAST_LEAD <= size <= MOST_LEAD or not 0.0 < size < math.inf:
        return 1.0
    return 2.0 ** round(math.log2(USUAL_LEAD / size))
