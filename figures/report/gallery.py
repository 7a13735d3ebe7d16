"""The gallery in figures/README.md: every figure with its message, what it shows, its claims and the command that draws it."""

from __future__ import annotations

from pathlib import Path

from ..registry import pictures
from ..sources import ROOT
from ..style import WIDTH
from .content import Figure, figures

COLUMN = 340
"""Pixels that a column is shown at."""


def gallery(root: Path = ROOT) -> str:
    """Markdown, one heading a figure; one that has not been built says what makes its measurements."""
    return "\n" + "\n".join(_entry(found) for found in figures(root)) + "\n"


def _entry(found: Figure) -> str:
    what = f"{found.title[0].upper()}{found.title[1:]}. Drawn by `{found.command}`"
    what += f" from measurements of `{found.needs}`." if found.needs else "."
    claims = ", ".join(f"[{claim}](../theory/{claim.replace('.', '/')}/README.md)" for claim in found.claims)
    lines = [f"## {found.name}", "", f"**{found.says}.**" if found.png else "**Not built yet.**", "", what]
    lines += ["", f"Claims: {claims}."] if claims else []
    if found.png:
        width = round(COLUMN * pictures()[found.name].width / WIDTH)
        lines += ["", f'<img src="out/{found.name}.png" width="{width}" alt="{found.title.replace(chr(34), chr(39))}">']
    return "\n".join([*lines, ""])
