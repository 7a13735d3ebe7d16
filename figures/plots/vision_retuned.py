"""Sequential digits, second edition: every declared comparison that has been judged."""

from __future__ import annotations

from .. import declared

NAME = "vision_retuned"

FIGURE = declared.picture(
    NAME, "sequential digits, second edition: the declared comparisons at interior learning rates", ("sparse_dims.selection",)
)
