"""Benchmarks of the repairs, and pictures of the attacks."""
