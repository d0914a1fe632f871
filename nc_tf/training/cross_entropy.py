"""The cross-entropy of probabilities, with a gradient for every positive float32."""

import keras
import numpy as np
import tensorflow as tf

from nc_tf.models.frozen import (
    MOST_LOOKED_AT,
    SMALLEST,
    answering,
    as_input,
    check_finite,
    evenly_spaced,
    in_parts,
    puts_out_probabilities,
)
from nc_tf.models.keras_internals import finds_logits
from nc_tf.preprocessing import Preprocessing


class CrossEntropyOfProbabilities(keras.losses.Loss):
    """-log p of the true class.

    Keras's own loss clips p at 1e-7, below which its gradient is zero, unless the softmax is the very last operation of the network. A
    backdoor sends the true class of a stamped image far below that.
    """

    def call(self, truth: tf.Tensor, answers: tf.Tensor) -> tf.Tensor:
        """Return the loss of each image.

        Args:
            truth: classes (B,) or (B, 1), or their weights (B, K).
            answers: (B, K) probabilities.

        Returns:
            (B,) values.
        """
        num_classes = answers.shape[-1]
        if truth.shape[-1:] != answers.shape[-1:]:
            truth = tf.one_hot(tf.reshape(tf.cast(truth, tf.int32), [-1]), num_classes, dtype=answers.dtype)
        shares = answers / tf.reduce_sum(answers, axis=-1, keepdims=True)
        return -tf.reduce_sum(tf.cast(truth, answers.dtype) * tf.math.log(tf.maximum(shares, SMALLEST)), axis=-1)


def output_form(model: keras.Model, images: np.ndarray, preprocess: Preprocessing) -> tuple[bool, bool]:
    """Return whether answers are probabilities, and whether losses find their logits.

    Args:
        model: the classifier.
        images: (N, H, W, C) clean raw images, N >= 1; a few of them are looked at.
        preprocess: from raw pixels to the network's input.

    Raises:
        InputError: the model answers NaN or infinity.
    """
    looked_at = evenly_spaced(images, MOST_LOOKED_AT).astype(np.float32)
    with answering(looked_at):
        answers = in_parts(lambda part: model(as_input(model, preprocess(part)), training=False), looked_at)
    probabilities = puts_out_probabilities(model, check_finite(answers))
    first = model(as_input(model, preprocess(tf.constant(looked_at[:1]))), training=False)
    # Keras's losses take these in place of a softmax that comes last.
    return probabilities, finds_logits(first)
