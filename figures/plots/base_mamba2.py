"""The Mamba-2 twin of the base model: every declared comparison that has been judged."""

from __future__ import annotations

from .. import declared

NAME = "base_mamba2"

FIGURE = declared.picture(NAME, "Mamba-2 twin of the base model: the declared comparisons", ("lora_limits.in_proj_dominates",))
