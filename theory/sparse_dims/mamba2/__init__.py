"""sparse_dims.mamba2: see README.md."""
