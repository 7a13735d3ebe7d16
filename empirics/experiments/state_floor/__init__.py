"""The floor that no prefix or initial state lowers. The question and the prediction stand in experiment.toml."""
