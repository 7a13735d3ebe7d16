"""sparse_dims.published_budget: see README.md."""
