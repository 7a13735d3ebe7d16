"""sparse_dims.exact_match: see README.md."""
