"""Which of the paper's assertions stand: every sentence of the scoreboard with its fate, sorted as the scoreboard has them."""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from .. import style
from ..registry import Picture
from ..report import scoreboard as board

LOOKS = {
    board.STANDS: (style.GREEN, "stands"),
    board.CONDITIONS: (style.BLUE, "stands under\nconditions"),
    board.LEVEL: (style.BLACK, "level"),
    board.UNDECIDED: (style.GREY, "undecided"),
    board.REFUTED: (style.VERMILION, "refuted"),
}
"""Colour and words of each fate; the word tells it, the colour only helps."""
LETTERS = 46
"""Letters of a line of a sentence."""
LINE, GAP = 0.118, 0.075
"""Inches of a line, and between two sentences."""


def data() -> dict[str, Any]:
    """Sentences in our words with their fates; the numbers of claims and comparisons behind each."""
    rows = [
        {"short": s.short, "fate": s.fate, "claims": len(s.theory), "comparisons": len(s.parts) - len(s.theory)}
        for s in board.scoreboard()
    ]
    return {"rows": rows}


def says(data: dict[str, Any]) -> str:
    """The fates counted."""
    fates = [row["fate"] for row in data["rows"]]
    counts = [f"{fates.count(fate)} {_of_many(fate, fates.count(fate))}" for fate in board.FATES if fate in fates]
    return f"Of {len(fates)} assertions of the paper, {', '.join(counts)}"


def _of_many(fate: str, count: int) -> str:
    """1 stands, 2 stand; 1 is refuted, 2 are refuted."""
    if fate.startswith(board.STANDS):
        return fate if count == 1 else fate.replace(board.STANDS, "stand", 1)
    return f"{'is' if count == 1 else 'are'} {fate}"


def _lines(row: dict[str, Any]) -> list[str]:
    return textwrap.wrap(row["short"], LETTERS)


def _block(row: dict[str, Any]) -> float:
    return GAP + LINE * max(len(_lines(row)), LOOKS[row["fate"]][1].count("\n") + 1)


def height(data: dict[str, Any]) -> float:
    """By the lines of the sentences."""
    return 0.3 + sum(map(_block, data["rows"]))


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A table without rules: the sentence left, its fate right."""
    axes: Axes = figure.subplots()
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    axes.set_ylim(sum(map(_block, data["rows"])), 0)
    top = 0.0
    for row in data["rows"]:
        colour, words = LOOKS[row["fate"]]
        bottom = top + _block(row)
        axes.axhline(top, color=style.LIGHT, linewidth=0.4)
        axes.plot([0.008, 0.008], [top + GAP / 2, bottom - GAP / 2], color=colour, linewidth=2.4, solid_capstyle="butt")
        axes.text(0.03, (top + bottom) / 2, "\n".join(_lines(row)), va="center", ha="left", linespacing=1.1)
        axes.text(1.0, (top + bottom) / 2, words, va="center", ha="right", color=colour, fontweight="bold", linespacing=1.1)
        top = bottom
    style.note(figure, "sentences in our words; words and evidence: scoreboard.toml")


FIGURE = Picture(
    title="which of the paper's assertions stand, by claims and committed results",
    claims=(),
    sources=("figures/report/scoreboard.toml", "theory/verdicts.json"),
    height=height,
    data=data,
    draw=draw,
    says=says,
)
