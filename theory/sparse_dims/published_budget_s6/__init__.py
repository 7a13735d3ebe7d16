"""sparse_dims.published_budget_s6: see README.md."""
