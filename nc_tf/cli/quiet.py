"""The import of TensorFlow without its start-up lines, which it writes to stderr at any log level."""

import os


def load_tensorflow() -> None:
    """Import TensorFlow and start its devices, with stderr muted.

    An error of a command is the only line on stderr then. If the import fails, its output is lost, but the exception has the reason.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # Otherwise TensorFlow allocates all memory of a GPU, and leaves none for a worker of `--engine ray` on the same machine.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        import tensorflow as tf
        from absl import logging

        # The classic scripts save in the older .h5 format; Keras warns of it through absl.
        logging.set_verbosity(logging.ERROR)
        tf.zeros([]).numpy()
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)
