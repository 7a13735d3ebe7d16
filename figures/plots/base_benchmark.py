"""The base benchmark: every comparison of its declared protocol that has been judged."""

from __future__ import annotations

from .. import declared

NAME = "base_benchmark"

FIGURE = declared.picture(
    NAME, "base benchmark: the declared comparisons, on these tasks and over tasks", ("lora_limits.in_proj_dominates",)
)
