"""The command `nc-tf`: parsing and printing, nothing else."""
