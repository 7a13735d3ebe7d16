"""prefix_state.softplus_clock: see README.md."""
