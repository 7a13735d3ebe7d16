"""Synthetic deep S4 regression, second edition: every declared comparison that has been judged."""

from __future__ import annotations

from .. import declared

NAME = "s4_retuned"

FIGURE = declared.picture(
    NAME,
    "deep S4 regression, second edition: the declared comparisons at interior learning rates",
    ("lora_limits.cheaper_sparse",),
)
