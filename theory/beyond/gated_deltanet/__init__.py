"""beyond.gated_deltanet: see README.md."""
