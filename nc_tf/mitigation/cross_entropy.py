"""The cross-entropy of probabilities, with a gradient for every positive float32."""

import keras
import tensorflow as tf

from nc_tf.models.frozen import SMALLEST


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
