"""prefix_state.minimal_length: see README.md."""
