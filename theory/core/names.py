"""Names that are nearly right: the one helper behind every "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .brief import outline

LIKENESS = 0.5
"""Least likeness (difflib's ratio, 0..1) at which a name is suggested."""
BEHIND = 0.2
"""A name that is less like it than the likest one by more than this is not suggested beside it."""
LISTED = 40
"""Known names that are listed where nothing is alike."""


def nearest(name: object, known: Iterable[str], most: int = 1) -> list[str]:
    """At most ``most`` known names that look like ``name``, the likest first; capital letters do not matter."""
    by_small: dict[str, str] = {}
    for one in known:
        by_small.setdefault(one.lower(), one)
    asked = (name if isinstance(name, str) else outline(name)).lower()
    found = difflib.get_close_matches(asked, by_small, n=most, cutoff=LIKENESS)
    likeness = [difflib.SequenceMatcher(None, small, asked).ratio() for small in found]
    return [by_small[small] for small, ratio in zip(found, likeness, strict=True) if ratio >= likeness[0] - BEHIND]


def suggestion(name: object, known: Iterable[str], most: int = 2) -> str:
    """``did you mean a or b?``, and where nothing is alike ``known: a, b, c``, or the first of many."""
    known = list(known)
    near = nearest(name, known, most)
    more = f" and {len(known) - LISTED} more" if len(known) > LISTED else ""
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known[:LISTED])}{more}"
