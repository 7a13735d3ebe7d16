"""Models whose parameter names are those of mamba-ssm checkpoints, with the scan chosen by name."""
