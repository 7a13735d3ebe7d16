"""prefix_state.selective: see README.md."""
