"""Names that are nearly right: the one helper behind every "did you mean"."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LIKENESS = 0.4
"""Least likeness (difflib's ratio, 0..1) at which a name is suggested."""


def nearest(name: object, known: Iterable[str], most: int = 1) -> list[str]:
    """At most ``most`` known names that look like ``name``, the likest first; capital letters do not matter."""
    by_small: dict[str, str] = {}
    for one in known:
        by_small.setdefault(one.lower(), one)
    found = difflib.get_close_matches(str(name).lower(), by_small, n=most, cutoff=LIKENESS)
    return [by_small[small] for small in found]


def suggestion(name: object, known: Iterable[str], most: int = 2) -> str:
    """``did you mean a or b?``, and where nothing is alike ``known: a, b, c``."""
    known = list(known)
    near = nearest(name, known, most)
    return f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
