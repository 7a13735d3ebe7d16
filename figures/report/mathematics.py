"""Symbols with indices and exponents, as they stand in the claims' plain text, set as MathML: ``h_0``, ``Σ_{t<K}``, ``a^{−t}``.

The claims' text is Unicode, read in terminals and in this page alike. Only what has an index or an exponent is set; everything
else stays text, and so do names of code such as ``in_proj`` and ``sparse_dims``.
"""

from __future__ import annotations

import html
import re

BASES = ("min", "max", "rank", "span", "dt", "Wc", "Wo")
"""Bases of more than one letter."""
WORDS = ("frozen", "model", "inner", "stored", "obs", "skip", "out", "in", "up", "dn", "log", "dt")
"""Indices that are words, in upright letters; other letters of an index are symbols of their own."""
CODE = ("proj", "dims", "limits", "state", "conv")
"""Indices of names in code, which are left as they are."""

UPRIGHT = "ΓΔΘΛΞΠΣΦΨΩ"
"""Capital Greek letters stand upright."""

_ACCENT = "[\\u0300-\\u036f]"
_ALNUM = "[^\\W_²³¹⁰⁴-⁹ᵀ]"
_LETTER = "[^\\W\\d_²³¹⁰⁴-⁹ᵀ]"
_BASE = rf"(?:(?<![A-Za-z0-9_])(?<![^.]\.)(?:{'|'.join(BASES)}|{_LETTER}{_ACCENT}?|[0-9]+)|[)\]}}‖|])[*′']?"
_TOKEN = rf"[+−-]?(?:{'|'.join(WORDS)}|{_ALNUM}{_ACCENT}?(?:{_ALNUM}{_ACCENT}?)?|\*)"
_SCRIPT = rf"(?:\{{[^{{}}]*\}}|{_TOKEN})(?!{_ALNUM})"
SCRIPTED = re.compile(rf"(?P<base>{_BASE})(?:_(?P<low>{_SCRIPT}))?(?:\^(?P<high>{_SCRIPT}))?(?![_^])")
"""A base with an index, an exponent or both; a base alone also matches and is no mathematics."""
_PARTS = re.compile(
    rf"(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<word>{'|'.join(WORDS)})|(?P<letter>[^\W\d_]{_ACCENT}?)|(?P<space>\s+)|(?P<sign>.)"
)


def set_mathematics(text: str) -> str:
    """Plain text as HTML, escaped, with its indices and exponents set."""
    out, place = [], 0
    for found in SCRIPTED.finditer(text):
        low, high = found["low"], found["high"]
        if (low is None and high is None) or (low or "").strip("{}") in CODE:
            continue
        out += [html.escape(text[place : found.start()]), _element(found["base"], low, high)]
        place = found.end()
    return "".join([*out, html.escape(text[place:])])


def plain(text: str) -> str:
    """What :func:`set_mathematics` leaves as the text of its elements: the same without the marks of indices and exponents."""
    out, place = [], 0
    for found in SCRIPTED.finditer(text):
        low, high = found["low"], found["high"]
        if (low is None and high is None) or (low or "").strip("{}") in CODE:
            continue
        scripts = "".join("".join((part or "").strip("{}").split()) for part in (low, high))
        out += [text[place : found.start()], found["base"], scripts]
        place = found.end()
    return "".join([*out, text[place:]])


def _element(base: str, low: str | None, high: str | None) -> str:
    name = {(True, True): "msubsup", (True, False): "msub", (False, True): "msup"}[low is not None, high is not None]
    parts = [_row(base), *(_row(part.strip("{}")) for part in (low, high) if part is not None)]
    return f"<math><{name}>{''.join(parts)}</{name}></math>"


def _row(text: str) -> str:
    if text in BASES:
        return f"<mi>{html.escape(text)}</mi>"
    found = [_part(part) for part in _PARTS.finditer(text) if not part["space"]]
    return found[0] if len(found) == 1 else f"<mrow>{''.join(found)}</mrow>"


def _part(found: re.Match[str]) -> str:
    tag = "mn" if found["number"] else "mo" if found["sign"] else "mi"
    upright = ' mathvariant="normal"' if found["letter"] and found["letter"] in UPRIGHT else ""
    return f"<{tag}{upright}>{html.escape(found[0])}</{tag}>"
