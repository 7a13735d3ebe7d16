"""Experiments: one folder each, with experiment.toml (question, prediction, options) and run.py."""
