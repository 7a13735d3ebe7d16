"""prefix_state.contained: see README.md."""
