"""A classifier as the search sees it: raw pixels in, float32 logits out, weights frozen, in the precision asked for."""

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from nc_tf.errors import InputError
from nc_tf.models.frozen_copy import copy_up_to_logits
from nc_tf.preprocessing import Preprocessing


def has_bfloat16() -> bool:
    """Whether this machine multiplies bfloat16 in hardware: a GPU since Ampere, or a CPU with AVX-512 BF16 or AMX."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability", (0, 0))
        return bool(capability >= (8, 0))
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.exists() and any(flag in cpuinfo.read_text(errors="replace") for flag in ("avx512_bf16", "amx_bf16"))


def resolve_precision(precision: str) -> str:
    """What a precision comes to on this machine, "float32" or "bfloat16": "auto" is the second where the hardware has it.

    Raises:
        InputError: a precision of another name.
    """
    if precision == "auto":
        return "bfloat16" if has_bfloat16() else "float32"
    if precision not in ("float32", "bfloat16"):
        raise InputError(f"precision {precision!r}: expected auto, float32 or bfloat16; choose one")
    return precision


def are_probabilities(answers: np.ndarray) -> bool:
    """Whether answers (N, K) are non-negative and sum to one: the mark of a softmax, whatever computed it."""
    return bool((answers >= 0).all() and np.allclose(answers.sum(-1), 1.0, atol=1e-3))


def check_finite(answers: np.ndarray) -> np.ndarray:
    """Answers of a model, which must be finite: the largest of NaNs is the first, as if the model had said class 0.

    Raises:
        InputError: they are not.
    """
    if not np.isfinite(answers).all():
        raise InputError("the model answers NaN or infinity: expected finite outputs; check its weights and --intensity-range")
    return answers


class FrozenNetwork:
    """A copy of a Keras classifier, `network(raw images (N, ..., C) float32) -> logits (N, K) float32`.

    A closing softmax or sigmoid is cut off, because the loss is steadier on logits. Where the model cannot be copied (a subclass with its
    own `call`), it is used as it is, in float32, and what it puts out is found by looking at what it answers.

    Attributes:
        output: "softmax", "sigmoid", "logits" or "probabilities" (the last: found by looking): what the model puts out.
        precision: "float32" or "bfloat16".
        num_classes: K.
    """

    def __init__(self, model: keras.Model, preprocess: Preprocessing, precision: str, probe: np.ndarray) -> None:
        """`probe`: a few raw images (N, ..., C), N >= 1, to look at the answers of."""
        self.preprocess, self.precision = preprocess, resolve_precision(precision)
        answers = check_finite(np.asarray(model(preprocess(probe.astype(np.float32)), training=False), np.float32))
        self.num_classes = answers.shape[-1]
        try:
            self.model, self.output = copy_up_to_logits(model, "mixed_bfloat16" if self.precision == "bfloat16" else "float32")
        except (NotImplementedError, TypeError, ValueError):
            if precision == "bfloat16":
                raise InputError(
                    "precision bfloat16: expected a Sequential or functional model, which can be rebuilt in it; "
                    "leave the precision at float32"
                ) from None
            self.model, self.output, self.precision = model, "logits", "float32"
        if self.output == "logits" and are_probabilities(answers):
            self.output = "probabilities"

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        answers = tf.cast(self.model(self.preprocess(images), training=False), tf.float32)
        return tf.math.log(tf.maximum(answers, 1e-7)) if self.output == "probabilities" else answers
