"""The synthetic S4 study. The question and the prediction stand in experiment.toml."""
