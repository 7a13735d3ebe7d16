"""The limits of LoRA on the parameters of an SSM: ranks, spectra, and what in_proj can absorb. See README.md."""

STATEMENTS = (
    "rank_floor",
    "unreachable",
    "cheaper_sparse",
    "spectrum_frozen",
    "selector_absorption",
    "in_proj_dominates",
    "published_in_proj",
    "mamba2",
)
"""The claims in reading order: one folder each, with ``README.md``, ``claim.py`` and its test."""
