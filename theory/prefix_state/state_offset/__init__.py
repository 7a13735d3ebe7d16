"""prefix_state.state_offset: see README.md."""
