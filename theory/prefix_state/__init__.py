"""Prefix-tuning against initial-state tuning: what each can do on an SSM module, decided exactly. See README.md."""

STATEMENTS = (
    "contained",
    "equivalent",
    "minimal_length",
    "finite_precision",
    "input_independent",
    "decay",
    "selective",
    "softplus_clock",
    "mamba2",
    "behind_in_proj",
    "depth",
    "state_offset",
    "selective_offset",
    "affix",
)
"""The claims in reading order: one folder each, with ``README.md``, ``claim.py`` and its test."""
