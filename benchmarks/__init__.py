"""Measurements of nc_tf and the programs that make them; run as `python -m benchmarks.<folder>.<name>` in the repository root."""
