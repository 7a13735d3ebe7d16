"""prefix_state.decay: see README.md."""
