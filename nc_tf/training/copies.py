"""A copy of a network, to be trained in its place."""

import keras

from nc_tf.errors import InputError
from nc_tf.models.folding import finalize_normalization


def copied(model: keras.Model) -> keras.Model:
    """Return a copy of a network with the same weights.

    Args:
        model: Sequential or functional, also compiled. It is not changed.

    Raises:
        InputError: Keras cannot copy it.
    """
    try:
        copy = keras.models.clone_model(model)
    except (NotImplementedError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"the model cannot be copied ({reason}): expected a Sequential or functional one; use keras.Model") from error
    copy.set_weights(model.get_weights())
    finalize_normalization(copy)
    return copy
