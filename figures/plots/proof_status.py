"""How every part of every claim is decided: a square for each part, with the letter of its verdict, the strongest first.

F is FORMAL: Rocq's kernel has checked theorems that cover the part. P is PROVED: the argument for all sizes is written on the
claim's page. E is EXACT, N is NUMERIC, O is OPEN; X is refuted, or an error. A bar below a square that is not FORMAL says that
Rocq has checked theorems about the part all the same. The number on the right counts the claim's theorems.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from theory.formal import manifest
from theory.verification.verdict import Verdict

from .. import style
from ..registry import Picture
from ..sources import ROOT, committed

LOOKS = {
    Verdict.FORMAL: (style.GREEN, "F", "FORMAL: theorems, checked by Rocq"),
    Verdict.PROVED: (style.BLUE, "P", "PROVED: argument for all sizes"),
    Verdict.EXACT: (style.PURPLE, "E", "EXACT: on the sizes named"),
    Verdict.NUMERIC: (style.ORANGE, "N", "NUMERIC: measured"),
    Verdict.OPEN: (style.GREY, "O", "OPEN"),
    Verdict.REFUTED: (style.VERMILION, "X", "REFUTED"),
    Verdict.ERROR: (style.VERMILION, "X", "ERROR"),
}
"""Colour, letter and words of each verdict, strongest first."""
ROW, HEAD = 0.142, 0.19
"""Inches of a claim's row, and of a family's heading."""
LEFT = 9.6
"""Where the squares begin, in squares from the left edge."""


def data() -> dict[str, Any]:
    """Claims by family; of each part the verdict and the number of theorems about it; the number of different theorems."""
    entries = manifest.fresh(ROOT / "theory" / "formal")
    about = Counter((e.claim, e.part) for e in entries)
    families: dict[str, list[dict[str, Any]]] = {}
    for claim in committed("theory/verdicts.json", "make verify")["claims"]:
        family, _, name = claim["id"].partition(".")
        parts = [{"verdict": p["verdict"], "theorems": about[claim["id"], p["name"]]} for p in claim["parts"]]
        own = len({e.theorem for e in entries if e.claim == claim["id"]})
        families.setdefault(family, []).append({"name": name, "parts": parts, "theorems": own})
    return {"families": families, "theorems": len({e.theorem for e in entries})}


def _claims(data: dict[str, Any]) -> list[dict[str, Any]]:
    return [claim for claims in data["families"].values() for claim in claims]


def _counts(data: dict[str, Any]) -> dict[Verdict, int]:
    """How many parts have each verdict that occurs, strongest first."""
    found = Counter(part["verdict"] for claim in _claims(data) for part in claim["parts"])
    return {verdict: found[verdict] for verdict in LOOKS if found[verdict]}


def says(data: dict[str, Any]) -> str:
    """The parts counted by verdict, and the theorems."""
    counts = _counts(data)
    told = ", ".join(f"{n} {verdict}" for verdict, n in counts.items())
    parts, claims = sum(counts.values()), len(_claims(data))
    return f"Of {parts} parts of {claims} claims {told}; Rocq’s kernel has checked {data['theorems']} theorems"


def _rows(data: dict[str, Any]) -> float:
    return ROW * len(_claims(data)) + HEAD * len(data["families"])


def height(data: dict[str, Any]) -> float:
    """By the number of claims and of verdicts."""
    return 0.42 + _rows(data) + 0.145 * len(_counts(data))


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """Names left, squares in the middle, the number of theorems right."""
    axes: Axes = figure.subplots()
    axes.set_axis_off()
    right = LEFT + max(len(claim["parts"]) for claim in _claims(data)) + 2.2
    axes.set_xlim(0, right)
    axes.set_ylim(_rows(data) / ROW, 0)
    y = 0.0
    for family, claims in data["families"].items():
        y += HEAD / ROW
        axes.text(0, y - 0.45, family, va="center", ha="left", fontweight="bold")
        if family == next(iter(data["families"])):
            axes.text(right, y - 0.45, "theorems", va="center", ha="right", color=style.GREY)
        for claim in claims:
            axes.axhline(y, color=style.LIGHT, linewidth=0.4)
            axes.text(0.3, y + 0.5, claim["name"], va="center", ha="left")
            _squares(axes, y, claim["parts"])
            axes.text(right, y + 0.5, str(claim["theorems"] or "none"), va="center", ha="right", color=style.GREY)
            y += 1
    _legend(figure, _counts(data))
    if any(part["theorems"] and part["verdict"] != Verdict.FORMAL for claim in _claims(data) for part in claim["parts"]):
        style.note(figure, "a square for each part; bar: Rocq has checked theorems about it")
    else:
        style.note(figure, "a square for each part of the claim's statement")


def _squares(axes: Axes, y: float, parts: list[dict[str, Any]]) -> None:
    order = list(LOOKS)
    for i, part in enumerate(sorted(parts, key=lambda p: order.index(p["verdict"]))):
        colour, letter, _ = LOOKS[part["verdict"]]
        x = LEFT + i
        axes.add_patch(Rectangle((x + 0.06, y + 0.1), 0.88, 0.78, fc=colour, ec="none"))
        axes.text(x + 0.5, y + 0.52, letter, va="center", ha="center", color="white", fontweight="bold")
        if part["theorems"] and part["verdict"] != Verdict.FORMAL:
            axes.plot([x + 0.06, x + 0.94], [y + 0.94, y + 0.94], color=style.BLACK, linewidth=1.3, solid_capstyle="butt")


def _legend(figure: FigureBase, counts: dict[Verdict, int]) -> None:
    handles = [
        Line2D([], [], color=LOOKS[verdict][0], marker="s", linestyle="none", label=f"{LOOKS[verdict][1]}   {LOOKS[verdict][2]}")
        for verdict in counts
    ]
    figure.legend(handles=handles, loc="outside upper left")


FIGURE = Picture(
    title="how every part of every claim is decided: by Rocq’s kernel, by an argument, by exact arithmetic or by measurement",
    claims=(),
    sources=("theory/verdicts.json", "theory/formal/manifest.json"),
    height=height,
    data=data,
    draw=draw,
    says=says,
    dpi=200,  # a tall page
)
