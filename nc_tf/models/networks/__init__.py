"""Architectures that the examples and benchmarks train."""
