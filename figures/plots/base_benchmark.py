"""The base benchmark: every comparison of its declared protocol that has been judged, with the margin of level methods.

Left: on these tasks, seeds and test rows drawn. Right: over tasks, tasks drawn too. Hollow: the declared rule holds the
comparison back, because a learning rate stands at the end of its grid or the budgets differ.
"""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput

from .. import dots, style
from ..registry import Picture
from ..report.comparisons import Comparison, pending, read
from ..sources import command, experiment, summary_path

NAME = "base_benchmark"
COMMAND = command(NAME, "sweep")
VERDICTS = {"stands": style.GREEN, "level": style.BLACK, "undecided": style.GREY, "refuted": style.VERMILION}
"""Colour of each verdict; its word tells it."""
WITHOUT_PREDICTION = {"stands": "above", "refuted": "below"}
"""Words for the task at chance, of which no side is predicted."""


def data() -> dict[str, Any]:
    """The judged comparisons, the names of those that wait, and the margin; full size only."""
    found = experiment(NAME, "sweep", accept_quick=False)
    waiting = pending(found.summary)
    try:
        margin = float(found.summary["threshold"]["margin"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the results of {NAME} have no margin ({error!r}); run {COMMAND}") from error
    judged = [c for c in read(found.summary) if c.statements]
    return {
        "rows": [_row(c) for c in judged], "margin": margin, "seeds": len(found.summary["seeds"]),
        "waiting": [w.name for w in waiting if not w.control], "primary": sum(not c.control for c in judged),
    }  # fmt: skip


def _row(c: Comparison) -> dict[str, Any]:
    name, _, on = c.name.partition(" (")
    return {
        "pair": name.split(" - "), "on": on.rstrip(")"), "control": c.control, "mean": c.numbers.estimate, "note": c.note,
        "statements": [{"low": s.low, "high": s.high, "verdict": s.verdict} for s in c.statements],
    }  # fmt: skip


def says(data: dict[str, Any]) -> str:
    """The primary comparisons by their verdicts on these tasks."""
    primary = [row["statements"][0]["verdict"] for row in data["rows"] if not row["control"]]
    counts = [f"{primary.count(verdict)} {verdict}" for verdict in VERDICTS if verdict in primary]
    counts += [f"{len(data['waiting'])} not yet run"] if data["waiting"] else []
    return f"Of {len(primary) + len(data['waiting'])} declared comparisons on these tasks: {', '.join(counts)}"


ROW = 0.165
"""Inches of a comparison."""
PANELS = ("on these tasks", "over tasks")


def height(data: dict[str, Any]) -> float:
    """By the number of comparisons."""
    return 1.15 + ROW * len(data["rows"])


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A row for each comparison: left on these tasks, right over tasks, each with its verdict."""
    panels = figure.subplots(1, 2, sharey=True)
    for axes, title, part in zip(panels, PANELS, (0, 1), strict=True):
        axes.axvspan(-data["margin"], data["margin"], color=style.LIGHT, alpha=0.6, linewidth=0)
        axes.axvline(0, color=style.BLACK, linewidth=0.8)
        for place, row in enumerate(data["rows"]):
            if part < len(row["statements"]):
                _statement(axes, row, row["statements"][part], place)
        axes.set_title(title)
        axes.set_xlabel("difference in points")
        _scale(axes, data["rows"])
        axes.grid(axis="y")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(data["rows"])))
    panels[0].set_yticklabels([_name(row) for row in data["rows"]])
    panels[0].set_ylim(len(data["rows"]) - 0.4, -0.6)
    remarks = [f"95 % intervals, paired by {data['seeds']} seeds; predicted: right of 0; band: ± {data['margin']:g} point"]
    remarks.append(
        f"(c): beside the primary comparisons, not adjusted for their number; axes linear within ± {LINEAR}, then logarithmic"
    )
    if any(row["note"] for row in data["rows"]):
        remarks.append("hollow: held back by a rate at the end of its grid, or by budgets that differ")
    style.note(figure, *remarks)


LINEAR = 2
"""Points on either side of 0 within which the axis is linear; a margin of 1 point and differences of 60 share it."""


def _scale(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Linear near 0 and logarithmic beyond, alike on both sides of the figure, with plain numbers."""
    ends = [end for row in rows for said in row["statements"] for end in (said["low"], said["high"]) if end is not None]
    ends += [row["mean"] for row in rows]
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=1)
    low, high = min([*ends, -LINEAR]), max([*ends, LINEAR])
    axes.set_xlim(1.3 * low, 1.3 * high)
    axes.set_xticks([sign * tick for sign in (-1, 1) for tick in (1, 5, 20, 100) if low <= sign * tick <= high] + [0])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))


def _name(row: dict[str, Any]) -> str:
    """LoRA linear − prompt, with (c) for one that decides nothing, and the task of one that is about a single task."""
    where = f", {row['on'].upper()}" if row["on"] else ""
    return f"{'(c) ' if row['control'] else ''}{dots.label(row['pair'][0])} − {dots.label(row['pair'][1])}{where}"


def _statement(axes: Axes, row: dict[str, Any], said: dict[str, Any], place: int) -> None:
    colour, marker = dots.look(row["pair"][0])
    if said["low"] is not None:
        axes.plot([said["low"], said["high"]], [place, place], color=colour, linewidth=1.0, solid_capstyle="butt")
    axes.plot(row["mean"], place, marker, color=colour, mfc="white" if row["note"] else colour, mew=0.8)
    words = WITHOUT_PREDICTION.get(said["verdict"], said["verdict"]) if row["on"] else said["verdict"]
    axes.text(
        1.02, place, words, transform=axes.get_yaxis_transform(), ha="left", va="center", fontweight="bold",
        color=VERDICTS[said["verdict"]],
    )  # fmt: skip


FIGURE = Picture(
    title="base benchmark: the declared comparisons, on these tasks and over tasks",
    claims=("lora_limits.in_proj_dominates",),
    sources=(str(summary_path(NAME)),),
    height=height,
    data=data,
    draw=draw,
    says=says,
    needs=COMMAND,
    width=style.WIDE,
)
