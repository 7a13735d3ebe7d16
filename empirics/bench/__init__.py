"""Measurements of speed and memory against other implementations; results are JSON files in ``results/``."""
