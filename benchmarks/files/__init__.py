"""Benchmarks of model files: what loads, from which Keras, with which answers."""
