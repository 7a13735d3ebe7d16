"""sparse_dims.minimal_adjustment: see README.md."""
