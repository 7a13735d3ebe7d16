"""sparse_dims.selection: see README.md."""
