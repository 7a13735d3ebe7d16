"""Comparisons of a declared protocol: every one that has been judged, with the margin within which two methods are level.

Left: on these tasks, seeds and test rows drawn. Right, where there are two tasks or more: over tasks, tasks drawn too. Hollow:
the declared rule holds the comparison back, because a learning rate stands at the end of its grid or the budgets differ.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import FigureBase

from theory.core.errors import InvalidInput

from . import dots, style
from .registry import Picture
from .report.comparisons import RATIO, WITHOUT_PREDICTION, Comparison, pending, read
from .sources import command, experiment, summary_path

VERDICTS = {"stands": style.GREEN, "level": style.BLACK, "undecided": style.GREY, "refuted": style.VERMILION}
"""Colour of each verdict; its word tells it."""
COLOURS = VERDICTS | {word: VERDICTS[verdict] for verdict, word in WITHOUT_PREDICTION.items()}
"""The same with the words for a comparison of which no side is predicted."""


def data(name: str) -> dict[str, Any]:
    """The judged comparisons of an experiment, the names of those that wait, and the margin; full size only."""
    found = experiment(name, "sweep", accept_quick=False)
    return comparisons(found.summary, name)


def comparisons(summary: dict[str, Any], name: str) -> dict[str, Any]:
    """The same of a summary; InvalidInput for one that has no margin."""
    waiting = pending(summary)
    try:
        margin = float(summary["threshold"]["margin"])
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the results of {name} have no margin ({error!r}); run {command(name, 'sweep')}") from error
    judged = [c for c in read(summary) if c.statements]
    ratios = any(c.kind == RATIO for c in judged)
    return {
        "rows": [_row(c) for c in judged], "margin": math.log(margin) if ratios else margin, "seeds": len(summary["seeds"]),
        "waiting": [w.name for w in waiting if not w.control], "primary": sum(not c.control for c in judged), "ratios": ratios,
    }  # fmt: skip


def _row(c: Comparison) -> dict[str, Any]:
    """A comparison; of a ratio, logarithms."""
    name, _, on = c.name.partition(" (")
    scale = math.log if c.kind == RATIO else float

    def end(value: float | None) -> float | None:
        return None if value is None else scale(value)

    return {
        "pair": name.replace(" / ", " - ").split(" - "), "on": on.rstrip(")"), "control": c.control, "note": c.note,
        "mean": scale(c.numbers.estimate),
        "statements": [{"low": end(s.low), "high": end(s.high), "verdict": s.verdict} for s in c.statements],
    }  # fmt: skip


def says(data: dict[str, Any]) -> str:
    """The primary comparisons by their verdicts on these tasks."""
    primary = [row["statements"][0]["verdict"] for row in data["rows"] if not row["control"]]
    counts = [f"{primary.count(v)} {'stand' if v == 'stands' and primary.count(v) > 1 else v}" for v in VERDICTS if v in primary]
    counts += [f"{len(data['waiting'])} not yet run"] if data["waiting"] else []
    where = " on these tasks" if _panels(data) > 1 else ""
    return f"Of {len(primary) + len(data['waiting'])} declared comparisons{where}: {', '.join(counts)}"


ROW = 0.165
"""Inches of a comparison."""
PANELS = ("on these tasks", "over tasks")


def _panels(data: dict[str, Any]) -> int:
    """How many statements a comparison has at most."""
    return max((len(row["statements"]) for row in data["rows"]), default=1)


def height(data: dict[str, Any]) -> float:
    """By the number of comparisons."""
    return 1.15 + ROW * len(data["rows"])


def draw(figure: FigureBase, data: dict[str, Any]) -> None:
    """A row for each comparison: left on these tasks, right over tasks, each with its verdict."""
    count = _panels(data)
    panels = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    for part, axes in enumerate(panels):
        axes.axvspan(-data["margin"], data["margin"], color=style.LIGHT, alpha=0.6, linewidth=0)
        axes.axvline(0, color=style.BLACK, linewidth=0.8)
        for place, row in enumerate(data["rows"]):
            if part < len(row["statements"]):
                _statement(axes, row, row["statements"][part], place)
        if count > 1:
            axes.set_title(PANELS[part])
        axes.set_xlabel("ratio of errors" if data["ratios"] else "difference in points")
        (_ratio_scale if data["ratios"] else _scale)(axes, data["rows"])
        axes.grid(axis="y")
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(data["rows"])))
    panels[0].set_yticklabels([_name(row, "/" if data["ratios"] else "−") for row in data["rows"]])
    panels[0].set_ylim(len(data["rows"]) - 0.4, -0.6)
    style.note(figure, *_remarks(data))


def _remarks(data: dict[str, Any]) -> list[str]:
    margin, linear = data["margin"], f"; axes linear within ± {LINEAR}, then logarithmic"
    if data["ratios"]:
        side, linear = f"left of 1; band: a ratio of {math.exp(margin):.2g}", ""
    else:
        side = f"right of 0; band: ± {margin:g} point{'' if margin == 1 else 's'}"
    remarks = [f"95 % intervals, paired by {data['seeds']} seeds; predicted: {side}"]
    if any(row["control"] for row in data["rows"]):
        remarks.append(f"(c): beside the primary comparisons, not adjusted for their number{linear}")
    elif linear:
        remarks.append(linear.removeprefix("; "))
    if any(row["note"] for row in data["rows"]):
        remarks.append("hollow: held back by a rate at the end of its grid, or by budgets that differ")
    return remarks


LINEAR = 2
"""Points on either side of 0 within which the axis is linear; a margin of 1 point and differences of 60 share it."""


def _ends(rows: list[dict[str, Any]]) -> list[float]:
    ends = [end for row in rows for said in row["statements"] for end in (said["low"], said["high"]) if end is not None]
    return [*ends, *(row["mean"] for row in rows)]


def _scale(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Linear near 0 and logarithmic beyond, alike on both sides of the figure, with plain numbers."""
    axes.set_xscale("symlog", linthresh=LINEAR, linscale=1)
    low, high = min([*_ends(rows), -LINEAR]), max([*_ends(rows), LINEAR])
    axes.set_xlim(1.3 * low, 1.3 * high)
    axes.set_xticks([sign * tick for sign in (-1, 1) for tick in (1, 5, 20, 100) if low <= sign * tick <= high] + [0])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))


RATIOS = (0.01, 0.05, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 100.0)
"""Ratios that an axis may name."""


def _ratio_scale(axes: Axes, rows: list[dict[str, Any]]) -> None:
    """Logarithms of ratios, told as ratios."""
    low, high = min([*_ends(rows), math.log(0.5)]), max([*_ends(rows), math.log(2.0)])
    room = 0.05 * (high - low)
    axes.set_xlim(low - room, high + room)
    axes.set_xticks([math.log(ratio) for ratio in RATIOS if low - room <= math.log(ratio) <= high + room])
    axes.xaxis.set_major_formatter(lambda value, _: f"{math.exp(value):.2g}")


def _name(row: dict[str, Any], between: str) -> str:
    """LoRA linear − prompt, with (c) for one that decides nothing, and the task of one that is about a single task."""
    where = f", {row['on'].upper()}" if row["on"] else ""
    better, worse = (dots.label(side) for side in row["pair"])
    return f"{'(c) ' if row['control'] else ''}{better} {between} {worse}{where}"


def _statement(axes: Axes, row: dict[str, Any], said: dict[str, Any], place: int) -> None:
    colour, marker = dots.look(row["pair"][0])
    if said["low"] is not None:
        axes.plot([said["low"], said["high"]], [place, place], color=colour, linewidth=1.0, solid_capstyle="butt")
    axes.plot(row["mean"], place, marker, color=colour, mfc="white" if row["note"] else colour, mew=0.8)
    axes.text(
        1.02, place, said["verdict"], transform=axes.get_yaxis_transform(), ha="left", va="center", fontweight="bold",
        color=COLOURS[said["verdict"]],
    )  # fmt: skip


def picture(name: str, title: str, claims: tuple[str, ...]) -> Picture:
    """The figure of an experiment's declared comparisons."""
    return Picture(
        title=title, claims=claims, sources=(str(summary_path(name)),), height=height, data=partial(data, name), draw=draw,
        says=says, needs=command(name, "sweep"), width=style.WIDE,
    )  # fmt: skip
