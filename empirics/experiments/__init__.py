"""Experiments: one TOML and one module each."""
