"""prefix_state.affix: see README.md."""
