"""Dot plots of fine-tuning methods: a row for each, its mean and 95 % interval, families told apart by colour and marker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from . import style
from .sources import committed

CATALOGUE = "empirics/methods/catalogue.json"
FILES = (CATALOGUE,)
"""Data that count as code of the figures drawn with this module."""
METHODS: dict[str, tuple[str, str]] = {
    name: (entry["label"], entry["family"])
    for name, entry in committed(CATALOGUE, "python -m empirics.methods.catalogue").items()
    if entry["family"] != "frozen"
}
"""Label and family of each method of the experiments; the frozen model is a line, not a row."""

FAMILIES = {
    "full": ("weights as they are", style.BLACK, "P"),
    "state": ("prompts and states", style.PURPLE, "v"),
    "linear": ("low rank, linear projections", style.BLUE, "o"),
    "ssm": ("low rank, state-space module", style.GREEN, "s"),
    "both": ("low rank, both", style.SKY, "h"),
    "sparse": ("chosen dimensions", style.VERMILION, "D"),
}
"""Label, colour and marker of each family."""

ROW = 0.122
"""Inches that a row of 7 pt needs."""


def label(method: str) -> str:
    """What a method is called in figures; one that this table lacks keeps its name."""
    return METHODS[method][0] if method in METHODS else method.replace("_", " ")


def look(method: str) -> tuple[str, str]:
    """(colour, marker) of a method's family."""
    if method not in METHODS:
        return style.GREY, "*"
    _, colour, marker = FAMILIES[METHODS[method][1]]
    return colour, marker


def families(methods: Sequence[str]) -> list[str]:
    """Families that occur among the methods, in their order."""
    present = {METHODS[m][1] for m in methods if m in METHODS}
    return [family for family in FAMILIES if family in present]


def rows(
    axes: Axes,
    order: Sequence[str],
    points: Mapping[str, Mapping[str, Any]],
    hollow: Callable[[Mapping[str, Any]], bool] = lambda point: False,
    name: Callable[[str], str] = label,
    style_of: Callable[[str], tuple[str, str]] = look,
) -> None:
    """One row for each method of ``order``, from the top: ``mean``, and from ``low`` to ``high`` where there is an interval.

    A method without a point has an empty row. ``name`` and ``style_of`` are for methods that :data:`METHODS` does not have.
    """
    for place, method in enumerate(order):
        if method not in points:
            continue
        point, (colour, marker) = points[method], style_of(method)
        if point["low"] is not None:
            axes.plot([point["low"], point["high"]], [place, place], color=colour, linewidth=0.9, solid_capstyle="butt")
        face = "white" if hollow(point) else colour
        axes.plot(point["mean"], place, marker, color=colour, markersize=3.2, mfc=face, mew=0.8)
    axes.set_yticks(range(len(order)))
    axes.set_yticklabels([name(method) for method in order])
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y")


PAPER = {"fc": "white", "ec": "none", "pad": 0.5}
"""Behind a label, so that no line crosses it."""
LABEL = 0.14
"""Inches of the line above a difference that names its two methods."""


def heights(pairs: Sequence[Mapping[str, Any]]) -> float:
    """Inches that :func:`differences` needs."""
    return sum(_block(row) for row in pairs)


def _block(row: Mapping[str, Any]) -> float:
    return LABEL + ROW * (2 if row.get("learned") else 1) + 0.04


def differences(axes: Axes, pairs: Sequence[Mapping[str, Any]]) -> None:
    """A block for each ``pair`` (better, worse): its name, the mean difference with its interval, hollow where ``fair`` is false.

    Where there is one, a second row in grey holds the ``learned`` difference.
    """
    axes.axvline(0, color=style.BLACK, linewidth=0.8)
    top = 0.0
    for row in pairs:
        colour, marker = look(row["pair"][0])
        text = f"{row['name']}{label(row['pair'][0])} − {label(row['pair'][1])}"
        axes.text(0.01, top + LABEL / 2, text, transform=axes.get_yaxis_transform(), ha="left", va="center", bbox=PAPER)
        place = top + LABEL + ROW / 2
        if row["low"] is not None:
            axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=1.0)
        axes.plot(row["mean"], place, marker, color=colour, mfc=colour if row["fair"] else "white", mew=0.8)
        only = row.get("learned")
        if only:
            if only["low"] is not None:
                axes.plot([only["low"], only["high"]], [place + ROW] * 2, color=style.GREY, linewidth=1.0)
            axes.plot(only["points"], place + ROW, "|", color=style.GREY, markersize=5)
        top += _block(row)
        axes.axhline(top, color=style.LIGHT, linewidth=0.4)
    axes.set_yticks([])
    axes.set_ylim(top, 0)
    axes.spines["left"].set_visible(False)


def at_right(axes: Axes, texts: Sequence[str], heading: str) -> None:
    """A column of text right of the rows, with a heading above it."""
    for place, text in enumerate(texts):
        axes.text(1.04, place, text, transform=axes.get_yaxis_transform(), va="center", ha="left", color=style.GREY)
    axes.text(1.04, -1.0, heading, transform=axes.get_yaxis_transform(), va="center", ha="left", color=style.GREY)


def short(count: int) -> str:
    """A number of trained values in at most five characters: 812, 4.1 k, 33 k, 1.2 M."""
    for size, unit in ((1_000_000, " M"), (1_000, " k")):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count / size:.0f}{unit}"
    return str(count)
