"""Choosing the dimensions of sparse dimension tuning. The question and the prediction stand in experiment.toml."""
