"""The process: memory it may take, random state of its caller."""
