"""prefix_state.behind_in_proj: see README.md."""
