"""prefix_state.finite_precision: see README.md."""
