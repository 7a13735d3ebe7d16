"""prefix_state.mamba2: see README.md."""
