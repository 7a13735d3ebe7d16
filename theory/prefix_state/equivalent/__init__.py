"""prefix_state.equivalent: see README.md."""
