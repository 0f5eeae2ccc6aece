"""Methods for bench by somebody else."""
