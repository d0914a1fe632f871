"""Benchmarks of the scan: speed, memory, verdicts, populations of networks, and interruption."""
