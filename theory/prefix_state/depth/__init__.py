"""prefix_state.depth: see README.md."""
