"""Model files of Keras 1 and 2, rewritten for Keras 3."""
