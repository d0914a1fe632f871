"""Planting backdoors, to have something to find: triggers, one a file, and the training that injects them."""
