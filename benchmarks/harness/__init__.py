"""Shared parts of the benchmarks: records, jobs, timing, tables, and the contenders of the speed measurements."""
