"""Symbols with indices and exponents, as they stand in the claims' plain text, set as MathML: ``h_0``, ``Σ_{t<K}``, ``a^{−t}``.

The claims' text is Unicode, read in terminals and in this page alike. Only what has an index or an exponent is set; everything
else stays text, and so do names of code such as ``in_proj`` and ``sparse_dims``.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

BASES = ("min", "max", "rank", "span", "dt", "Wc", "Wo")
"""Bases of more than one letter."""
WORDS = ("frozen", "model", "inner", "stored", "obs", "skip", "out", "max", "in", "up", "dn", "log", "dt")
"""Indices that are words, in upright letters; other letters of an index are symbols of their own."""
CODE = ("proj", "dims", "limits", "state", "conv")
"""Indices of names in code, which are left as they are."""

UPRIGHT = "ΓΔΘΛΞΠΣΦΨΩ"
"""Capital Greek letters stand upright."""
MARKS = "*′'"
"""Signs that belong to the letter before them, as in ``K*_e``: no space around."""

_ACCENT = "[\\u0300-\\u036f]"
_ALNUM = "[^\\W_²³¹⁰⁴-⁹ᵀ]"
_LETTER = "[^\\W\\d_²³¹⁰⁴-⁹ᵀ]"
_ALONE = rf"(?:(?<![A-Za-z0-9_])|(?<!{_ALNUM}{_LETTER}_[0-9])(?<={_LETTER}_[0-9])|(?<=\^{_LETTER}))"
"""In front of a base: no name goes on there, though the index or the exponent of another base may end there (``x_0b_0``)."""
_BASE = rf"(?:{_ALONE}(?<![^.]\.)(?:{'|'.join(BASES)}|{_LETTER}{_ACCENT}?|[0-9]+)|[)\]}}‖|])[*′']?"
_TOKEN = rf"[+−-]?(?:{'|'.join(WORDS)}|{_ALNUM}{_ACCENT}?(?:{_ALNUM}{_ACCENT}?)?|\*)"
_PAIR = rf"\({_ALNUM}(?:, ?{_ALNUM})+\)"
"""An index that is a pair, or more, in round brackets: ``B_(d,n)``."""
_SCRIPT = rf"(?:\{{[^{{}}]*\}}|{_PAIR}|{_TOKEN})(?!{_ALNUM}(?![_^]))"
SCRIPTED = re.compile(rf"(?P<base>{_BASE})(?:_(?P<low>{_SCRIPT}))?(?:\^(?P<high>{_SCRIPT}))?(?![_^])")
"""A base with an index, an exponent or both; a base alone also matches and is no mathematics."""
_PARTS = re.compile(
    rf"(?P<number>[0-9]+(?:\.[0-9]+)?)|(?P<word>{'|'.join(WORDS)})|(?P<letter>[^\W\d_]{_ACCENT}?)|(?P<space>\s+)|(?P<sign>.)"
)


def set_mathematics(text: str) -> str:
    """Plain text as HTML, escaped, with its indices and exponents set."""
    return "".join(_element(piece) if isinstance(piece, re.Match) else html.escape(piece) for piece in _pieces(text))


def plain(text: str) -> str:
    """What :func:`set_mathematics` leaves as the text of its elements: the same without the marks of indices and exponents."""

    def said(piece: str | re.Match[str]) -> str:
        if isinstance(piece, str):
            return piece
        scripts = (plain(part.strip("{}")) for part in (piece["low"], piece["high"]) if part is not None)
        return piece["base"] + "".join("".join(part.split()) for part in scripts)

    return "".join(map(said, _pieces(text)))


def _pieces(text: str) -> Iterator[str | re.Match[str]]:
    """Text, and the bases with an index or an exponent in it."""
    place = 0
    for found in SCRIPTED.finditer(text):
        low, high = found["low"], found["high"]
        if (low is None and high is None) or (low or "").strip("{}") in CODE:
            continue
        yield text[place : found.start()]
        yield found
        place = found.end()
    yield text[place:]


def _element(found: re.Match[str]) -> str:
    return f"<math>{_scripted(found)}</math>"


def _scripted(found: re.Match[str]) -> str:
    low, high = found["low"], found["high"]
    name = {(True, True): "msubsup", (True, False): "msub", (False, True): "msup"}[low is not None, high is not None]
    parts = [_row(_symbols(found["base"])), *(_row(_inside(part.strip("{}"))) for part in (low, high) if part is not None)]
    return f"<{name}>{''.join(parts)}</{name}>"


def _inside(text: str) -> list[str]:
    """Elements of an index or an exponent, which may have indices of its own."""
    return [e for piece in _pieces(text) for e in (_symbols(piece) if isinstance(piece, str) else [_scripted(piece)])]


def _symbols(text: str) -> list[str]:
    if text in BASES:
        return [f"<mi>{html.escape(text)}</mi>"]
    return [_part(part) for part in _PARTS.finditer(text) if not part["space"]]


def _row(elements: list[str]) -> str:
    return elements[0] if len(elements) == 1 else f"<mrow>{''.join(elements)}</mrow>"


def _part(found: re.Match[str]) -> str:
    if found["letter"]:
        upright = ' mathvariant="normal"' if found[0] in UPRIGHT else ""
        return f"<mi{upright}>{html.escape(found[0])}</mi>"
    if found["sign"]:
        space = ' lspace="0" rspace="0"' if found[0] in MARKS else ""
        return f'<mo stretchy="false"{space}>{html.escape(found[0])}</mo>'
    tag = "mn" if found["number"] else "mi"
    return f"<{tag}>{html.escape(found[0])}</{tag}>"
