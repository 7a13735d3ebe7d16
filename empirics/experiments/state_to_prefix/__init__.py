"""States turned back into prefixes. The question and the prediction stand in experiment.toml."""
