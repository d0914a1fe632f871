"""The optimisation of one trigger (paper section V-A): trigger space, cost schedule, step, loop."""
