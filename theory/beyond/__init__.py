"""Mamba-3 and gated DeltaNet: which statements carry over to them, and which provably do not. See README.md."""

STATEMENTS = ("mamba3", "gated_deltanet")
"""The claims in reading order: one folder each, with ``README.md``, ``claim.py`` and its test."""
