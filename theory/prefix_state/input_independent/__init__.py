"""prefix_state.input_independent: see README.md."""
