"""Planted backdoors: triggers, one attack a file, their goals, and the registry of attacks."""
