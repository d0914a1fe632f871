"""Benchmarks of video clips: the five steps on UCF-101, their speed, and the decoding of clips."""
