"""Loading TensorFlow without its start-up lines, which it writes to stderr whatever its log level."""

import os


def load_tensorflow() -> None:
    """Import TensorFlow and start its devices with stderr muted, so that an error of ours is the one line there.

    If the import fails, what it wrote is lost but the exception says why.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Otherwise TensorFlow takes all memory of a GPU, and a worker of `--engine ray` on the same machine finds none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow as tf
        from absl import logging

        # Saving in the older .h5 format is what the classic scripts ask for; Keras warns of it through absl.
        logging.set_verbosity(logging.ERROR)
        tf.zeros([]).numpy()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
