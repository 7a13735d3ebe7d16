"""prefix_state.selective_offset: see README.md."""
