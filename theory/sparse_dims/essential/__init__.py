"""sparse_dims.essential: see README.md."""
