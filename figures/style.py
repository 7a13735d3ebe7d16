"""One look for all figures: column width, fonts of at least 7 pt, colours that colour-blind readers can tell apart.

Colours are Okabe and Ito's (Color Universal Design, 2008); what differs in colour differs in marker or line as well. A hollow
marker has one meaning in every figure: the point was made under other conditions than the filled ones beside it (another number
of trained values, or published by others). The step size is written dt, as in the theory and on the command line.
"""

from __future__ import annotations

import textwrap
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, FigureBase

WIDTH = 3.4
"""Width of a column in inches."""

WIDE = 7.0
"""Width of both columns."""

SMALL = 7.0
"""Smallest font size in points."""

BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000", "#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7",
)  # fmt: skip
GREY, LIGHT = "#6E6E6E", "#D9D9D9"

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
    "font.size": SMALL,
    "axes.titlesize": 8.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": SMALL,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.labelpad": 2.0,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.handlelength": 1.8,
    "legend.handletextpad": 0.5,
    "legend.columnspacing": 1.0,
    "legend.borderaxespad": 0.2,
    "legend.labelspacing": 0.3,
    "lines.linewidth": 1.1,
    "lines.markersize": 3.5,
    "errorbar.capsize": 1.5,
    "grid.color": LIGHT,
    "grid.linewidth": 0.4,
    "hatch.linewidth": 0.5,
    "mathtext.fontset": "dejavusans",
    "mathtext.default": "regular",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.03,
    "figure.constrained_layout.w_pad": 0.03,
    "figure.dpi": 100,
    "pdf.fonttype": 42,  # text stays text
    "pdf.compression": 9,
    "svg.hashsalt": "ssmproof",
}

INITIALISATIONS = {
    "mamba": ("Mamba, A = −1…−16", VERMILION, "-"),
    "s4d_lin": ("S4D-Lin", BLUE, "--"),
    "s4d_inv": ("S4D-Inv", GREEN, "-."),
    "s4d_legs": ("S4D-LegS", PURPLE, ":"),
}
"""Label, colour and line of each initialisation in :mod:`theory.core.initialisations`."""


def page(height: float, width: float = WIDTH) -> Figure:
    """An empty figure, one column wide and ``height`` inches tall, that belongs to no window system."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


HEADLINE = 8.5
"""Font size of the message in points."""


def headline(text: str, width: float = WIDTH) -> list[str]:
    """The message of a figure in lines that fit its width; a bold letter is about 0.6 of its size wide."""
    return textwrap.wrap(text, int(72 * (width - 0.1) / (0.605 * HEADLINE)), break_long_words=False)


def headline_height(lines: list[str]) -> float:
    """Inches that the message needs above a figure."""
    return 0.145 * len(lines) + 0.07


def note(figure: FigureBase, *lines: str) -> None:
    """Grey remarks below a figure, one line each."""
    figure.supxlabel("\n".join(lines), fontsize=SMALL, color=GREY, x=0.02, ha="left", linespacing=1.15)


def tag(axes: Axes, text: str, *, x: float = 0.98, y: float = 0.96, ha: str = "right", va: str = "top") -> None:
    """A grey remark inside a panel, in axes coordinates."""
    axes.text(x, y, text, transform=axes.transAxes, ha=ha, va=va, color=GREY, fontsize=SMALL)
