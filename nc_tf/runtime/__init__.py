"""The state of the process: its memory limit, and the random state of its caller."""
