"""Sparse dimension tuning: which states and channels of an S4 model have to change. See README.md."""

STATEMENTS = (
    "essential",
    "minimal_adjustment",
    "mamba2",
    "additional_scan",
    "exact_match",
    "depth_sharing",
    "published_budget",
    "published_budget_s6",
    "selection",
)
"""The claims in reading order: one folder each, with ``README.md``, ``claim.py`` and its test."""
